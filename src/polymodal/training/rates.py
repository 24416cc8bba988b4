"""Which parameters train, and how fast: one list of (pattern, rate), the first that fits counts.

Notable: a parameter that no pattern covers is an error, so nothing trains or stays frozen by
accident (as in big_vision). Vectors and scales (norms, biases, the logit scale) are not decayed.
"""

from __future__ import annotations

from collections.abc import Sequence
from fnmatch import fnmatchcase
from typing import Any

from torch import nn

from polymodal.errors import UsageError

__all__ = ["Rates", "parameter_groups"]

Rates = Sequence[tuple[str, float | None]]
"""Patterns (`*` stands for anything) with a learning rate; None freezes."""


def parameter_groups(model: nn.Module, rates: Rates, decay: float) -> list[dict[str, Any]]:
    """Groups for the optimiser; what is frozen gets `requires_grad = False` and is in none.

    A group carries `peak`, the rate before the schedule.

    Raises:
        UsageError: a parameter that no pattern covers, a pattern that covers nothing, nothing to
            train.
    """
    used: set[str] = set()
    groups: dict[tuple[float, bool, str], dict[str, Any]] = {}
    for full, parameter in model.named_parameters():
        name = ".".join(part for part in full.split(".") if part != "module")  # DDP's wrapper
        found = next((each for each in rates if fnmatchcase(name, each[0])), None)
        if found is None:
            patterns = ", ".join(pattern for pattern, _ in rates)
            raise UsageError(
                f"no pattern in `rates` covers the parameter {name} (patterns: {patterns}): give it"
                " a rate, or null to freeze it."
            )
        pattern, rate = found
        used.add(pattern)
        parameter.requires_grad_(rate is not None)
        if rate is None:
            continue
        decayed = parameter.ndim >= 2
        # The parts of a model may be sharded differently, and an optimiser's group may not.
        key = (rate, decayed, name.partition(".")[0])
        group = groups.setdefault(
            key,
            {"params": [], "lr": rate, "peak": rate, "weight_decay": decay if decayed else 0.0},
        )
        group["params"].append(parameter)
    idle = [pattern for pattern, _ in rates if pattern not in used]
    if idle:
        raise UsageError(
            f"the pattern {idle[0]!r} in `rates` covers no parameter that an earlier one leaves"
            f" over; parameters are named like {next(iter(model.named_parameters()))[0]}."
        )
    if not groups:
        raise UsageError("every parameter is frozen by `rates`: there is nothing to train.")
    return list(groups.values())
