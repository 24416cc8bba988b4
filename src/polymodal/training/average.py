"""A moving average of the trained weights (Polyak and Juditsky 1992)."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import nn

__all__ = ["Average"]


class Average:
    """Exponential: after each step the average moves by 1 - rate towards the weights.

    Early on the rate is smaller, so that the start is forgotten: (1 + step) / (10 + step).
    """

    def __init__(self, parameters: Sequence[nn.Parameter], rate: float) -> None:
        self._parameters, self._rate = list(parameters), rate
        self._values = [each.detach().clone() for each in self._parameters]

    @torch.no_grad()
    def update(self, step: int) -> None:
        """Take in the weights after `step` steps."""
        rate = min(self._rate, (1 + step) / (10 + step))
        for value, parameter in zip(self._values, self._parameters, strict=True):
            value.lerp_(parameter.detach(), 1 - rate)

    @torch.no_grad()
    def swap(self) -> None:
        """Exchange average and weights; a second call puts them back."""
        for value, parameter in zip(self._values, self._parameters, strict=True):
            live = parameter.detach().clone()
            parameter.copy_(value)
            value.copy_(live)

    @torch.no_grad()
    def take(self) -> None:
        """The weights as they are become the average."""
        for value, parameter in zip(self._values, self._parameters, strict=True):
            value.copy_(parameter)
