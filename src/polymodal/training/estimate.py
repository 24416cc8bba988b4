"""What a run will take, before it starts: parameters, memory and time, from one part really run."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

__all__ = ["Estimate", "estimate"]

OPTIMISER_COPIES = 3
"""Of a trained parameter beside itself: its gradient and AdamW's two moments."""


@dataclass(frozen=True)
class Estimate:
    """See `estimate`.

    Attributes:
        state_bytes: weights, gradients and the optimiser's moments, on one rank without sharding.
        activation_bytes: what the backward pass of one part keeps.
        step_s: seconds a step of this rank.
    """

    trained: int
    frozen: int
    state_bytes: int
    activation_bytes: int
    steps: int
    step_s: float

    @property
    def lines(self) -> list[str]:
        """For a person."""
        total_s = self.steps * self.step_s
        return [
            f"parameters: {self.trained:,} trained, {self.frozen:,} frozen",
            f"memory: {self.state_bytes / 1e9:.2f} GB of weights, gradients and optimiser,"
            f" {self.activation_bytes / 1e9:.2f} GB of activations",
            f"time: {self.steps:,} steps of {self.step_s:.2f} s, {_duration(total_s)} in all",
        ]


def estimate(
    model: nn.Module,
    part: Sequence[Any],
    groups: Sequence[dict[str, Any]],
    *,
    steps: int,
    passes: float,
    ema: bool,
    others: Mapping[str, Any] | None = None,
) -> Estimate:
    """Run the model forward and backward on one part of a batch, twice, and measure the second.

    Args:
        part, others: what the model is called with.
        groups: of the optimiser: what is trained.
        passes: parts a step, a second forward pass counted as a third of one.
    """
    trained = [p for group in groups for p in group["params"]]
    ids = {id(each) for each in trained}
    frozen = [p for p in model.parameters() if id(p) not in ids]
    kept: dict[int, int] = {}

    def note(tensor: Tensor) -> Tensor:
        if not isinstance(tensor, nn.Parameter):
            storage = tensor.untyped_storage()
            kept[storage.data_ptr()] = storage.nbytes()
        return tensor

    spent = 0.0
    for _ in range(2):
        kept.clear()
        began = time.perf_counter()
        with torch.autograd.graph.saved_tensors_hooks(note, lambda tensor: tensor):
            made = model(*part, **(others or {}))
        sum(each.float().sum() for each in made).backward()
        if next(model.parameters()).is_cuda:
            torch.cuda.synchronize()
        spent = time.perf_counter() - began
        model.zero_grad(set_to_none=True)
    copies = 1 + OPTIMISER_COPIES + int(ema)
    state = sum(p.numel() * p.element_size() for p in trained) * copies
    state += sum(p.numel() * p.element_size() for p in frozen)
    return Estimate(
        sum(p.numel() for p in trained),
        sum(p.numel() for p in frozen),
        state,
        sum(kept.values()),
        steps,
        spent * passes,
    )


def _duration(seconds: float) -> str:
    if seconds < 120:
        return f"{seconds:.0f} s"
    minutes, hours = seconds / 60, seconds / 3600
    return f"{minutes:.0f} min" if minutes < 120 else f"{hours:.1f} h"
