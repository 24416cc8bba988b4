"""Train, export and measure the starter embedder: `python -m recipes.starter.embedder --data DIR`.

Everything from nothing, in the order below; each finished step stays in the cache folder, so a
run that was stopped goes on where it was.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from recipes.starter import (
    backbones,
    cache,
    card,
    classes,
    data,
    evaluate,
    everyday,
    export,
    manifest,
    texts,
    towers,
    train,
)


def kept(path: Path, make: Callable[[], Any]) -> Any:
    """What `make` gives, from `path` if it was made before."""
    if not path.exists():
        part = path.with_suffix(".part")
        torch.save(make(), part)
        part.rename(path)
    return torch.load(path, weights_only=True)


@dataclass(frozen=True)
class Trained:
    """All trained parts, and the dev vectors that choosing among them needs."""

    encoder: towers.Encoder
    pairs: list[train.Pair]
    class_head: towers.ClassHead
    classifier: nn.Linear
    train_ME: Tensor
    dev_ME: Tensor


def kept_state(path: Path, make: Callable[[], nn.Module]) -> dict[str, Tensor]:
    """The weights of what `make` gives, kept likewise."""
    state: dict[str, Tensor] = kept(path, lambda: dict(make().state_dict()))
    return state


def mean_state(states: list[dict[str, Tensor]]) -> dict[str, Tensor]:
    """The mean of several runs' weights: tuned from one start, they average well (a soup)."""
    return {name: torch.stack([state[name] for state in states]).mean(0) for name in states[0]}


def trained(folder: Path, root: Path, plan: train.Plan) -> Trained:
    """Run, or take from the cache, every training step."""
    states = {
        split: texts.compute(data.flickr(root, split).flat, folder, split)
        for split in ("train", "dev")
    }
    encoder = towers.load_encoder()
    runs = [
        kept_state(
            folder / f"text-stage-{seed}.pt",
            partial(train.tune_text, folder, plan, states["train"], states["dev"], seed),
        )
        for seed in plan.text_seeds
    ]
    encoder.load_state_dict(mean_state(runs))
    sides = kept(
        folder / "text-pooled.pt",
        lambda: {name: train.text_pooled(encoder, part) for name, part in states.items()},
    )
    pairs = []
    for seed in plan.head_seeds:
        pair = train.Pair(plan, plan.head_size)
        fit = partial(train.fit_heads, folder, plan, sides["train"], sides["dev"], seed)
        pair.load_state_dict(kept_state(folder / f"heads-{seed}.pt", fit))
        pairs.append(pair.eval())
    _, classifier = backbones.load(plan.class_backbone)
    class_head = fit_class_head(folder, plan, encoder, classifier, sides["train"])
    return Trained(encoder, pairs, class_head, classifier, sides["train"], sides["dev"])


def fit_class_head(
    folder: Path,
    plan: train.Plan,
    encoder: towers.Encoder,
    classifier: nn.Linear,
    caption_ME: Tensor,
) -> towers.ClassHead:
    """The class head on the tuned encoder's outputs."""
    about = classes.class_texts()
    features = torch.from_numpy(
        cache.summaries(folder, plan.class_backbone, "train")[:, : backbones.FEATURES]
    )
    chances_NC = classes.chances(classifier, features)
    basis_CK = classes.basis(about.target_TC, chances_NC, plan.class_dimension)

    def make() -> towers.ClassHead:
        text_TE = train.text_pooled(encoder, texts.compute(about.texts, folder, "classes"))
        return classes.fit(about, text_TE, caption_ME, chances_NC, basis_CK)

    head = towers.ClassHead(
        towers.Head(towers.WIDTH, 1024, backbones.CLASSES, 0.3),
        nn.Linear(towers.WIDTH, 1),
        basis_CK,
    )
    head.load_state_dict(kept_state(folder / "class-head.pt", make))
    return head.eval()


def joined(parts: Trained, folder: Path, plan: train.Plan) -> tuple[towers.Heads, towers.Heads]:
    """Both sides' heads, with the shared basis found on the training split."""
    image = towers.Heads([pair.image_head for pair in parts.pairs]).eval()
    text = towers.Heads([pair.text_head for pair in parts.pairs]).eval()
    with torch.no_grad():
        image_ND = image.joined(train.described(folder, plan, "train"))
        text_MD = text.joined(parts.train_ME)
    basis = towers.joint_basis(image_ND, text_MD, plan.contrastive_dimension)
    image.basis, text.basis = basis, basis
    return image, text


def assembled(
    parts: Trained, folder: Path, plan: train.Plan
) -> tuple[towers.ImageTower, towers.TextTower]:
    """The two towers as exported."""
    image_heads, text_heads = joined(parts, folder, plan)
    networks: list[nn.Module] = [backbones.load(name)[0] for name in plan.backbones]
    image = towers.ImageTower(
        networks,
        image_heads,
        parts.classifier,
        plan.backbones.index(plan.class_backbone),
        parts.class_head.basis,
        plan.class_weight,
    )
    kept_TE = parts.encoder.positions.weight[: towers.MAX_TOKENS].detach()
    parts.encoder.positions = nn.Embedding.from_pretrained(kept_TE)  # the rest is never reached
    text = towers.TextTower(
        parts.encoder, text_heads, parts.class_head, plan.caption_weight, plan.name_weight
    )
    return image.eval(), text.eval()


def build(out: Path, root: Path, image: towers.ImageTower, text: towers.TextTower) -> None:
    """Write both ONNX files and the tokenizer, and compare them with the torch towers."""
    dev = data.flickr(root, "dev")
    export.image_tower(image, cache.calibration_pixels(root), out / "image.onnx")
    export.text_tower(text, out / "text.onnx")
    tokenizer = texts.tokenizer()
    tokenizer.save(str(out / "tokenizer.json"), pretty=False)
    pixels = np.stack([data.load_square(path, cache.SIZE) for path in dev.paths[:48]])
    ids, mask = texts.padded([e.ids for e in tokenizer.encode_batch(dev.flat[:200])])
    for tower, name, inputs, lowest in (
        (image, "image.onnx", {"pixels": torch.from_numpy(pixels)}, export.LOWEST_IMAGE_COSINE),
        (
            text,
            "text.onnx",
            {"input_ids": ids, "attention_mask": mask},
            export.LOWEST_TEXT_COSINE,
        ),
    ):
        cosine = export.check(tower, out / name, inputs, lowest)
        print(f"{name}: lowest cosine to the torch tower {cosine:.4f}", file=sys.stderr)


def main() -> None:
    """Command line."""
    parser = argparse.ArgumentParser(description="Train and export the starter embedder.")
    parser.add_argument("--data", type=Path, required=True, help="folder with flickr8k/, clothing/")
    parser.add_argument("--cache", type=Path, default=Path("build/starter-embedder"))
    parser.add_argument("--out", type=Path, default=manifest.WEIGHTS)
    parser.add_argument("--threads", type=int, default=2)
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    options.cache.mkdir(parents=True, exist_ok=True)
    plan = train.Plan()
    cache.fill(options.data, options.cache, plan.backbones)
    parts = trained(options.cache, options.data, plan)
    image, text = assembled(parts, options.cache, plan)
    with tempfile.TemporaryDirectory() as folder:
        built = Path(folder)
        build(built, options.data, image, text)
        card.write(built, plan, None, {})
        embedder = evaluate.Embedder.open(built, options.threads)
        things_ED = everyday.write(built, embedder)
        embedded = evaluate.embed(embedder, options.data)
        unknown = everyday.fit(everyday.collected(embedder, options.data, dev=True), things_ED)
        fitted = card.calibrate(embedded, unknown)
        table = evaluate.scores(embedded, fitted["classify_temperature"])
        card.write(built, plan, fitted, table)
        revision = manifest.install(built, options.out, "embedder")
    for name, value in table.items():
        print(f"{name} = {value}")
    print(f"revision {revision}", file=sys.stderr)


if __name__ == "__main__":
    main()
