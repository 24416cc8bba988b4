"""Training in two stages, both contrastive (InfoNCE), both on cached activations.

1. `tune_text`: the upper layers of MiniLM with a pair of heads, on frozen pooled image features.
2. `fit_heads`: fresh pairs of heads on the now frozen towers, one for each seed. Fresh heads beat
   those that grew up with the text tower, and two seeds together beat either.

One caption of an image is drawn per pass, so an image's own captions never count as negatives of
each other. What is kept is an exponential average of the weights. Dev is looked at, never fitted.
"""

from __future__ import annotations

import math
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Tensor, nn

from recipes.starter import backbones, cache, metrics, texts, towers

CAPTIONS = 5


@dataclass(frozen=True)
class Plan:
    """All choices of the final run; rates are AdamW learning rates at their peak."""

    backbones: tuple[str, ...] = ("lite2", "lite1")
    views: int = cache.VIEWS
    dropout: float = 0.5
    smoothing: float = 0.05
    logit_scale: float = 25.0
    average: float = 0.98
    # Stage one; the encoders of these seeds are averaged.
    text_seeds: tuple[int, ...] = (0,)
    text_passes: int = 12
    text_batch: int = 750
    text_rate: float = 1e-4
    text_layer_decay: float = 0.85
    text_head_rate: float = 1e-3
    text_head_decay: float = 0.3
    text_head_size: tuple[int, int] = (2048, 512)
    # Stage two.
    head_passes: int = 16
    head_batch: int = 1000
    head_rate: float = 2e-3
    head_decay: float = 0.5
    head_size: tuple[int, int] = (512, 256)
    head_noise: float = 0.2
    head_seeds: tuple[int, ...] = (1, 2, 3, 4)
    # The joint space.
    contrastive_dimension: int = 320
    class_dimension: int = 192
    class_backbone: str = "lite2"
    class_weight: float = 0.5
    caption_weight: float = 0.3
    name_weight: float = 2.0

    @property
    def features(self) -> int:
        """Width of what the image heads see."""
        return sum(backbones.WIDTHS[name] for name in self.backbones)


class Pair(nn.Module):
    """An image head, a text head and the logit scale between them."""

    def __init__(self, plan: Plan, size: tuple[int, int]) -> None:
        super().__init__()
        self.image_head = towers.Head(plan.features, *size, plan.dropout)
        self.text_head = towers.Head(towers.WIDTH, *size, plan.dropout)
        self.log_scale = nn.Parameter(torch.tensor(math.log(plan.logit_scale)))


class Joint(Pair):
    """Stage one: a pair of heads and the text encoder under it."""

    def __init__(self, plan: Plan) -> None:
        super().__init__(plan, plan.text_head_size)
        self.encoder = towers.load_encoder()
        for parameter in self.encoder.parameters():
            parameter.requires_grad = False


Groups = list[tuple[str, float, float]]


def optimiser(model: Pair, groups: Groups) -> torch.optim.AdamW:
    """AdamW over the parameters each (prefix, rate, decay) covers; the rest stays frozen."""
    out = []
    for prefix, rate, decay in groups:
        chosen = [p for name, p in model.named_parameters() if name.startswith(prefix)]
        if not chosen:
            raise ValueError(f"no parameter begins with {prefix!r}")
        for parameter in chosen:
            parameter.requires_grad = True
        out.append({"params": chosen, "lr": rate, "weight_decay": decay, "peak": rate})
    return torch.optim.AdamW(out, betas=(0.9, 0.98))


def contrast(image_BD: Tensor, text_BD: Tensor, scale: Tensor, smoothing: float) -> Tensor:
    """Symmetric cross-entropy of matching rows, with label smoothing."""
    logits_BB = scale * F.normalize(image_BD, dim=1) @ F.normalize(text_BD, dim=1).T
    target = torch.arange(len(logits_BB))
    forth = F.cross_entropy(logits_BB, target, label_smoothing=smoothing)
    back = F.cross_entropy(logits_BB.T, target, label_smoothing=smoothing)
    return (forth + back) / 2


class Average:
    """Exponential moving average of the trained parameters."""

    def __init__(self, model: Pair, rate: float) -> None:
        self.rate, self.steps, self.model = rate, 0, model
        self.values = {
            name: p.detach().clone() for name, p in model.named_parameters() if p.requires_grad
        }

    @torch.no_grad()
    def update(self) -> None:
        self.steps += 1
        rate = min(self.rate, self.steps / (self.steps + 10))
        for name, parameter in self.model.named_parameters():
            if name in self.values:
                self.values[name].lerp_(parameter, 1 - rate)

    @torch.no_grad()
    def swap(self) -> None:
        """Exchange the average and the live weights; a second call restores them."""
        for name, parameter in self.model.named_parameters():
            if name in self.values:
                live = parameter.detach().clone()
                parameter.copy_(self.values[name])
                self.values[name] = live


def loop(
    model: Pair,
    groups: Groups,
    count: int,
    passes: int,
    batch: int,
    plan: Plan,
    embed: Callable[[NDArray[np.int64], np.random.Generator], tuple[Tensor, Tensor]],
    report: Callable[[], str],
    name: str,
    seed: int,
) -> None:
    """Run one stage: `embed` gives both sides of a batch of image numbers."""
    rng = np.random.default_rng(seed)
    optimise = optimiser(model, groups)
    average, began = Average(model, plan.average), time.monotonic()
    steps, step = passes * (count // batch), 0
    for number in range(passes):
        model.train()
        order, total = rng.permutation(count), 0.0
        for start in range(0, count - batch + 1, batch):
            factor = min(1.0, step / (0.1 * steps)) * (1 + math.cos(math.pi * step / steps)) / 2
            for group in optimise.param_groups:
                group["lr"] = group["peak"] * factor
            image_BD, text_BD = embed(order[start : start + batch], rng)
            loss = contrast(image_BD, text_BD, model.log_scale.exp(), plan.smoothing)
            optimise.zero_grad()
            loss.backward()
            nn.utils.clip_grad_norm_([p for g in optimise.param_groups for p in g["params"]], 5.0)
            optimise.step()
            average.update()
            step, total = step + 1, total + loss.item()
        left_s = (time.monotonic() - began) * (passes / (number + 1) - 1)
        line = f"{name} {number + 1}/{passes}: loss {total / (count // batch):.3f}"
        if number % 4 == 3 or number == passes - 1:
            average.swap()
            line += f", {report()}"
            if number < passes - 1:
                average.swap()
        print(f"{line}, {left_s:.0f} s left", file=sys.stderr, flush=True)
    for parameter in model.parameters():
        parameter.requires_grad = False


def described(folder: Path, plan: Plan, split: str, view: int = 0) -> Tensor:
    """What the heads see of the photographs: summaries of all backbones side by side [image, F]."""
    parts = [
        backbones.rooted(torch.from_numpy(cache.summaries(folder, name, split, view)))
        for name in plan.backbones
    ]
    return torch.cat(parts, 1)


def text_pooled(encoder: nn.Module, states: texts.States) -> Tensor:
    """Encoder output [text, E] of all texts, in inference mode."""
    encoder.eval()
    with torch.no_grad():
        return texts.encode(encoder, states, np.arange(len(states.lengths)))


def dev_line(model: Pair, features_NF: Tensor, text_ME: Tensor) -> str:
    """Recall on dev, as one short line."""
    model.eval()
    with torch.no_grad():
        image = F.normalize(model.image_head(features_NF), dim=1).numpy()
        text = F.normalize(model.text_head(text_ME), dim=1).numpy()
    found = metrics.retrieval(image, text)
    return " ".join(f"{key} {value:.1f}" for key, value in found.items())


def tune_text(
    folder: Path, plan: Plan, train: texts.States, dev: texts.States, seed: int
) -> towers.Encoder:
    """Stage one: upper text layers and heads on frozen image features; gives the encoder."""
    torch.manual_seed(seed)
    model = Joint(plan)
    views = torch.stack([described(folder, plan, "train", view) for view in range(plan.views)])
    model.image_head.standardise(views[0])
    model.text_head.standardise(torch.from_numpy(train.pooled))
    dev_NF = described(folder, plan, "dev")
    groups: Groups = [
        ("image_head", plan.text_head_rate, plan.text_head_decay),
        ("text_head", plan.text_head_rate, plan.text_head_decay),
        ("log_scale", 1e-3, 0.0),
    ]
    for layer in range(texts.FROZEN, towers.LAYERS):
        rate = plan.text_rate * plan.text_layer_decay ** (towers.LAYERS - 1 - layer)
        groups.append((f"encoder.layers.{layer}.", rate, 0.05))

    def embed(rows: NDArray[np.int64], rng: np.random.Generator) -> tuple[Tensor, Tensor]:
        view = torch.from_numpy(rng.integers(plan.views, size=len(rows)))
        captions = rows * CAPTIONS + rng.integers(CAPTIONS, size=len(rows))
        text_BE = texts.encode(model.encoder, train, captions)
        return model.image_head(views[view, torch.from_numpy(rows)]), model.text_head(text_BE)

    def report() -> str:
        return dev_line(model, dev_NF, text_pooled(model.encoder, dev))

    loop(
        model,
        groups,
        views.shape[1],
        plan.text_passes,
        plan.text_batch,
        plan,
        embed,
        report,
        f"text stage {seed}",
        seed,
    )
    return model.encoder


def fit_heads(folder: Path, plan: Plan, train_ME: Tensor, dev_ME: Tensor, seed: int) -> Pair:
    """Stage two: a fresh pair of heads on frozen towers, with noise on the text side."""
    torch.manual_seed(seed)
    model = Pair(plan, plan.head_size)
    views = torch.stack([described(folder, plan, "train", view) for view in range(plan.views)])
    model.image_head.standardise(views[0])
    model.text_head.standardise(train_ME)
    noise_E, dev_NF = plan.head_noise / model.text_head.scale, described(folder, plan, "dev")
    groups: Groups = [
        ("image_head", plan.head_rate, plan.head_decay),
        ("text_head", plan.head_rate, plan.head_decay),
        ("log_scale", 1e-3, 0.0),
    ]

    def embed(rows: NDArray[np.int64], rng: np.random.Generator) -> tuple[Tensor, Tensor]:
        view = torch.from_numpy(rng.integers(plan.views, size=len(rows)))
        captions = torch.from_numpy(rows * CAPTIONS + rng.integers(CAPTIONS, size=len(rows)))
        text_BE = train_ME[captions]
        text_BE = text_BE + noise_E * torch.randn_like(text_BE)
        return model.image_head(views[view, torch.from_numpy(rows)]), model.text_head(text_BE)

    loop(
        model,
        groups,
        views.shape[1],
        plan.head_passes,
        plan.head_batch,
        plan,
        embed,
        lambda: dev_line(model, dev_NF, dev_ME),
        f"heads {seed}",
        seed,
    )
    return model.eval()
