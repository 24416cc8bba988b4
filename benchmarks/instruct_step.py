"""The step of `train instruct` against a plain transformers loop; what grouping by length saves.

    python -m benchmarks.instruct_step [--rounds 7]

Tokens a second, forward, backward and optimiser, of one small LLaVA (a CLIP ViT of 6 layers, a
Llama of 4 and a vocabulary of 32,000, random weights) on batches of conversations whose lengths are
drawn as in LLaVA's data (log-normal). Rounds alternate; medians; one thread.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable
from types import SimpleNamespace
from typing import Any

import numpy as np
import torch
import transformers as hf

from benchmarks.tables import conditions, markdown, median
from polymodal.training.chat import Turn
from polymodal.training.conversations import Dialogue, Dialogues
from polymodal.training.llava_data import IGNORED, Collator, Learnt, grouped_order
from polymodal.training.llava_pictures import Eyes
from polymodal.training.llava_recipes import llava15_stage2
from polymodal.training.llava_task import AnswerLoss, LlavaTask
from polymodal.training.loading import Batch
from polymodal.training.settings import overridden

BATCH, ITEMS, VISUAL, SIDE, VOCABULARY = 8, 1600, 16, 64, 32_000
IMAGE_ID = 3
ANSWERED = 0.4
"""Of a conversation's words that are answers."""


def small_llava() -> Any:
    """From one seed."""
    torch.manual_seed(0)
    vision = hf.CLIPVisionConfig(
        hidden_size=192,
        intermediate_size=768,
        num_hidden_layers=6,
        num_attention_heads=3,
        image_size=SIDE,
        patch_size=16,
    )
    text = hf.LlamaConfig(
        hidden_size=256,
        intermediate_size=704,
        num_hidden_layers=4,
        num_attention_heads=4,
        vocab_size=VOCABULARY,
    )
    config = hf.LlavaConfig(vision_config=vision, text_config=text, image_token_index=IMAGE_ID)
    model = hf.LlavaForConditionalGeneration(config)
    model.model.vision_tower.requires_grad_(False)
    return model.train()


def lengths(count: int) -> Any:
    """Tokens of conversations, pictures left out."""
    drawn = np.random.default_rng(0).lognormal(np.log(90), 0.7, count)
    return np.clip(drawn, 16, 480).astype(int)


def sample(length: int, seed: int) -> Learnt:
    """Ids, labels, pixels: a picture, a question, an answer."""
    random = torch.Generator().manual_seed(seed)
    words = torch.randint(10, VOCABULARY, (length,), generator=random)
    ids = torch.cat([torch.full((VISUAL,), IMAGE_ID), words])
    labels = torch.full_like(ids, IGNORED)
    answer = int(length * ANSWERED)
    labels[-answer:] = ids[-answer:]
    return Learnt(ids, labels, torch.randn(1, 3, SIDE, SIDE, generator=random))


def batches(order: Any, found: Any, count: int) -> list[dict[str, Any]]:
    """The first batches of an order."""
    collate = Collator(0)
    rows = [order[at * BATCH : (at + 1) * BATCH] for at in range(count)]
    return [collate([sample(int(found[n]), int(n)) for n in row]) for row in rows]


def ours() -> Callable[[dict[str, Any]], None]:
    """A function that takes one of our steps."""
    model = small_llava()
    recipe = overridden(llava15_stage2(), ["precision=float32", f"batch={BATCH}"])
    loader: Any = SimpleNamespace(batch=BATCH)
    whole = AnswerLoss(model, Eyes(None, SIDE, VISUAL)).train()
    task = LlavaTask(whole, loader, torch.device("cpu"), recipe, 1, None)
    optimiser = torch.optim.AdamW([p for p in model.parameters() if p.requires_grad], lr=1e-5)
    names = tuple(map(str, range(BATCH)))

    def step(inputs: dict[str, Any]) -> None:
        optimiser.zero_grad(set_to_none=True)
        task.step(Batch(inputs, names), 1.0)
        optimiser.step()

    return step


def plain() -> Callable[[dict[str, Any]], None]:
    """The same with transformers' own loss."""
    model = small_llava()
    optimiser = torch.optim.AdamW([p for p in model.parameters() if p.requires_grad], lr=1e-5)

    def step(inputs: dict[str, Any]) -> None:
        optimiser.zero_grad(set_to_none=True)
        model(
            **{name: value for name, value in inputs.items() if name != "pictures"}
        ).loss.backward()
        optimiser.step()

    return step


def tokens_per_s(step: Callable[[dict[str, Any]], None], given: list[dict[str, Any]]) -> float:
    """Tokens that are no padding."""
    began = time.perf_counter()
    for inputs in given:
        step(inputs)
    spent = time.perf_counter() - began
    return sum(int(inputs["attention_mask"].sum()) for inputs in given) / spent


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=7)
    rounds = parser.parse_args().rounds
    torch.set_num_threads(1)
    found = lengths(ITEMS)
    items = tuple(
        Dialogue(str(n), (), (Turn("user", "w " * int(length)),)) for n, length in enumerate(found)
    )
    grouped = grouped_order(Dialogues("", items, (), captions=False), BATCH, 0)(0)
    shuffled = np.random.default_rng(1).permutation(ITEMS)
    given = {
        "grouped": batches(grouped, found, rounds * 3),
        "shuffled": batches(shuffled, found, rounds * 3),
    }
    steps = {"ours": ours(), "plain": plain()}
    wanted = {
        "transformers loop, shuffled": ("plain", "shuffled"),
        "polymodal, shuffled": ("ours", "shuffled"),
        "polymodal, grouped by length": ("ours", "grouped"),
    }
    for step in steps.values():
        tokens_per_s(step, given["shuffled"][:1])
    speeds: dict[str, list[float]] = {name: [] for name in wanted}
    for turn in range(rounds):
        for name, (which, order) in wanted.items():
            part = given[order][turn * 3 : turn * 3 + 3]
            speeds[name].append(tokens_per_s(steps[which], part))
    base = median(speeds["transformers loop, shuffled"])
    rows = [[n, f"{median(s):,.0f}", f"{median(s) / base:.2f}"] for n, s in speeds.items()]
    print(markdown(["step", "tokens/s", "of the first"], rows))
    share = {
        name: 1
        - sum(int(b["attention_mask"].sum()) for b in each)
        / sum(b["attention_mask"].numel() for b in each)
        for name, each in given.items()
    }
    print(f"\nPadding: {share['shuffled']:.0%} shuffled, {share['grouped']:.0%} grouped.")
    print(f"\n{conditions('torch', 'transformers')}")


if __name__ == "__main__":
    main()
