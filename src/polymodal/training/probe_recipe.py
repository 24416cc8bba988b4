"""The recipe of a linear probe: how good features are, by the protocol of CLIP's paper."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass

from polymodal.training.settings import Values

__all__ = ["PROBES", "LinearProbeRecipe", "linear_probe"]

PROTOCOL = "Radford et al. 2021 (CLIP), appendix A.3"
OURS = "ours"


@dataclass(frozen=True, kw_only=True)
class LinearProbeRecipe(Values):
    """Logistic regression by L-BFGS (scikit-learn's), its strength chosen on held-out pictures.

    Attributes:
        iterations: of L-BFGS at most.
        decades: the strength C is looked for from ten to the minus this to ten to this;
            scikit-learn's C is one over the weight of the penalty.
        coarse: powers of ten between the strengths that are tried first; the distance around the
            best is then halved until it is at most one over `per_decade`.
        held_out: the share of each class's pictures that the strength is chosen on, and the
            accuracy counted; the head is then fitted to all.
        seed: which pictures these are.
    """

    iterations: int
    decades: int
    coarse: int
    per_decade: int
    held_out: float
    seed: int = 0


def linear_probe() -> LinearProbeRecipe:
    """The evaluation of representations that CLIP's paper reports."""
    return LinearProbeRecipe(
        name="linear_probe",
        sources={
            "iterations, decades, coarse, per_decade": PROTOCOL,
            "held_out, seed": f"{OURS}: the paper takes each data set's own validation split",
        },
        iterations=1000,
        decades=6,
        coarse=2,
        per_decade=8,
        held_out=0.2,
    )


PROBES: Mapping[str, Callable[[], LinearProbeRecipe]] = {"linear_probe": linear_probe}
