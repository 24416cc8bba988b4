"""Training of the captioner, stage one: cross-entropy on captions and answers.

Notable: one decoder does every task, told apart by its prompt; the weights that count are a moving
average. Stage two is `captioncritic`.

A prompt is `<caption>`, `<short>` or `<detailed>` (told by the caption's length), `<about>` words
`<caption>`, or `<question>` words `<answer>`.
"""

from __future__ import annotations

import math
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Tensor

from recipes.starter import captiongrids, captionwords, data, questions
from recipes.starter.captionnet import Captioner
from recipes.starter.captionwords import ABOUT, ANSWER, CAPTION, DETAILED, EOS, PAD, QUESTION, SHORT

MOST_WORDS = 20
SHORT_WORDS, DETAILED_WORDS = 8, 14
FILLING = {
    "a",
    "an",
    "the",
    "in",
    "on",
    "is",
    "and",
    "with",
    "of",
    "are",
    "to",
    "at",
    "his",
    "her",
    "it",
    "its",
    "their",
    "while",
    "as",
    "by",
    "for",
    "from",
    "into",
    "this",
    "that",
    "there",
    "some",
    "one",
    "two",
    "three",
    "other",
    "another",
    "near",
    "through",
    "over",
    "up",
    "down",
    "out",
    "off",
}

Sequence_ = tuple[list[int], list[int]]
"""Prompt and target, as token numbers."""


@dataclass(frozen=True)
class Plan:
    """What training does.

    Attributes:
        photographs: a step.
        mean_over: share of the moving average of the weights that a step leaves.
        questions: of each photograph a step.
        samples: captions drawn of each photograph in stage two.
        bleu_weight: of sentence BLEU-4 (0..1) beside CIDEr-D (0..10) in the reward.
    """

    photographs: int = 32
    passes: int = 10
    rate: float = 1.2e-3
    warm_up: int = 200
    decay: float = 0.05
    smoothing: float = 0.1
    mean_over: float = 0.998
    questions: int = 1
    seed: int = 0
    critic_passes: float = 3.0
    critic_rate: float = 8e-5
    samples: int = 5
    bleu_weight: float = 2.0


class Examples:
    """Captions and questions of training photographs as token sequences."""

    def __init__(self, root: Path) -> None:
        train = data.flickr(root, "train")
        self.captions = [[captionwords.words(text) for text in row] for row in train.captions]
        asked = questions.derive(train.captions)
        said = [word for item in asked for word in [*item.question.split(), item.answer]]
        flat = [caption for row in self.captions for caption in row]
        self.vocabulary = captionwords.vocabulary(flat, always=said)
        self.asked: list[list[Sequence_]] = [[] for _ in self.captions]
        for item in asked:
            self.asked[item.photograph].append(self.answered(item))

    def answered(self, item: questions.Asked) -> Sequence_:
        """A question as prompt, its answer as target."""
        ids = self.vocabulary.ids
        return [QUESTION, *ids(item.question.split()), ANSWER], [*ids([item.answer]), EOS]

    def captioned(self, caption: list[str], rng: np.random.Generator) -> Sequence_:
        """A caption under one of the prompts that fit it."""
        ids = self.vocabulary.ids
        target = [*ids(caption[:MOST_WORDS]), EOS]
        chance = rng.random()
        if len(caption) <= SHORT_WORDS and chance < 0.3:
            return [SHORT], target
        if len(caption) >= DETAILED_WORDS and chance < 0.5:
            return [DETAILED], target
        if chance > 0.92:
            words = [word for word in caption if word not in FILLING]
            if words:
                picked = sorted(rng.permutation(len(words))[: rng.integers(1, 3)])
                return [ABOUT, *ids([words[i] for i in picked]), CAPTION], target
        return [CAPTION], target

    def of(self, photograph: int, questions_: int, rng: np.random.Generator) -> list[Sequence_]:
        """All captions of a photograph and some of its questions."""
        found = [self.captioned(caption, rng) for caption in self.captions[photograph]]
        asked = self.asked[photograph]
        return found + [asked[i] for i in rng.permutation(len(asked))[:questions_]]


@dataclass(frozen=True)
class Batch:
    """Sequences of several photographs, padded: [B, S, T], and where real tokens are."""

    ids: Tensor
    real: Tensor
    targets: Tensor
    """For each real token the next one, or -100 in prompts."""


def batch(rows: list[list[Sequence_]]) -> Batch:
    """Sequences of photographs as one batch."""
    most = max(map(len, rows))
    longest = max(len(p) + len(t) - 1 for row in rows for p, t in row)
    ids = np.full((len(rows), most, longest), PAD)
    targets = np.full(ids.shape, -100)
    for b, row in enumerate(rows):
        for s, (prompt, target) in enumerate(row):
            whole = prompt + target
            ids[b, s, : len(whole) - 1] = whole[:-1]
            targets[b, s, len(prompt) - 1 : len(whole) - 1] = target
    real = np.flatnonzero(ids.ravel() != PAD)
    return Batch(
        torch.from_numpy(ids), torch.from_numpy(real), torch.from_numpy(targets.ravel()[real])
    )


class Mean:
    """An exponential moving average of a network's weights."""

    def __init__(self, network: Captioner, share: float) -> None:
        self.share = share
        self.steps = 0
        self.state = {name: value.clone() for name, value in network.state_dict().items()}

    def update(self, network: Captioner) -> None:
        """Take in the weights of one more step."""
        self.steps += 1
        share = min(self.share, (1 + self.steps) / (10 + self.steps))
        for name, value in network.state_dict().items():
            self.state[name].lerp_(value, 1 - share)


def optimizer(network: Captioner, rate: float, decay: float) -> torch.optim.AdamW:
    """AdamW; biases, norms and embeddings of places do not decay."""
    matrices = [p for p in network.parameters() if p.ndim > 1]
    others = [p for p in network.parameters() if p.ndim <= 1]
    groups = [{"params": matrices, "weight_decay": decay}, {"params": others, "weight_decay": 0.0}]
    return torch.optim.AdamW(groups, lr=rate, betas=(0.9, 0.98), fused=True)


class Sights:
    """Reduced grids of both views of the training photographs."""

    def __init__(self, cache: Path) -> None:
        self.views = [captiongrids.grids(cache, "train", view) for view in (0, 1)]

    def of(self, photographs: NDArray[np.int64], rng: np.random.Generator) -> Tensor:
        """Grids [B, P, K] of photographs, each from one of its views."""
        views = rng.integers(0, 2, len(photographs))
        picked = [self.views[v][i] for v, i in zip(views, photographs, strict=True)]
        return torch.from_numpy(np.stack(picked).astype(np.float32))


def orders(count: int, size: int, seed: int) -> Iterator[NDArray[np.int64]]:
    """Batches of photographs, in a new order every pass, for ever."""
    rng = np.random.default_rng(seed)
    while True:
        order = rng.permutation(count)
        for start in range(0, count - size + 1, size):
            yield order[start : start + size]


def cross_entropy(network: Captioner, grids: Tensor, part: Batch, smoothing: float) -> Tensor:
    """Mean loss over target tokens."""
    logits = network(network.look(grids), part.ids, part.real)
    kept = part.targets >= 0
    return F.cross_entropy(logits[kept], part.targets[kept], label_smoothing=smoothing)


def fit(
    network: Captioner, examples: Examples, sights: Sights, plan: Plan, out: Path
) -> dict[str, Tensor]:
    """Stage one; returns the averaged weights, and keeps them in `out` after every pass."""
    rng = np.random.default_rng(plan.seed)
    steps_a_pass = len(examples.captions) // plan.photographs
    total = plan.passes * steps_a_pass
    adam = optimizer(network, plan.rate, plan.decay)
    mean = Mean(network, plan.mean_over)
    began, losses = time.monotonic(), []
    for step, order in enumerate(orders(len(examples.captions), plan.photographs, plan.seed)):
        if step == total:
            break
        share = min(1.0, (step + 1) / plan.warm_up)
        share *= 0.02 + 0.98 * 0.5 * (1 + math.cos(math.pi * step / total))
        for group in adam.param_groups:
            group["lr"] = plan.rate * share
        network.train()
        part = batch([examples.of(int(i), plan.questions, rng) for i in order])
        loss = cross_entropy(network, sights.of(order, rng), part, plan.smoothing)
        adam.zero_grad()
        loss.backward()  # type: ignore[no-untyped-call]
        torch.nn.utils.clip_grad_norm_(network.parameters(), 1.0)
        adam.step()
        mean.update(network)
        losses.append(float(loss.detach()))
        if (step + 1) % 50 == 0:
            took_s = time.monotonic() - began
            left_s = took_s * (total / (step + 1) - 1)
            print(
                f"step {step + 1}/{total} loss {np.mean(losses[-50:]):.3f} {took_s:.0f} s,"
                f" {left_s:.0f} s left", file=sys.stderr, flush=True,
            )  # fmt: skip
        if (step + 1) % steps_a_pass == 0:
            keep(mean.state, out)
    return mean.state


def keep(state: dict[str, Tensor], path: Path) -> None:
    """Save weights, whole or not at all."""
    part = path.with_suffix(".part")
    torch.save(state, part)
    part.rename(path)
