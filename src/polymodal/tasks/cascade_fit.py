"""Thresholds from labelled scores: how sure a tier must be before it may decide by itself.

Notable: a threshold holds its target with 95 % confidence, not just on the cases it was chosen on.
Of at most `SIZES` candidates a side, each is tested exactly (Clopper and Pearson, 1934) at a
sixteenth of 5 % (Bonferroni), as in "Learn then Test" (Angelopoulos et al., 2021); the most
permissive one that passes is taken. How good the whole is, is counted across two halves: each is
decided by thresholds that were chosen on the other.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from polymodal.results_cascades import CascadeFit, CurvePoint, TierFit
from polymodal.runtime.intervals import binomial_tail

__all__ = ["Cut", "Measured", "choose", "fit_report", "replay"]

Doubles = NDArray[np.float64]
Bools = NDArray[np.bool_]
Ints = NDArray[np.int64]
DOUBT = 0.05
SIZES = 16
TARGETS = (0.6, 0.7, 0.8, 0.85, 0.9, 0.93, 0.95, 0.97, 0.98, 0.99, 0.995)
"""That the curve is drawn through."""


@dataclass(frozen=True)
class Cut:
    """The thresholds of one tier; see `Tier`."""

    accept: float | None = None
    reject: float | None = None


@dataclass(frozen=True)
class Measured:
    """Labelled cases as every tier judged them.

    Attributes:
        names: of the tiers, cheap to strong.
        scores: shape (cases, tiers).
        labels: shape (cases,).
        groups: shape (cases,); cases of one group, such as of one picture, stay in one half.
        seconds, costs_usd: a case, by tier; a cost is None where a price is not known.
    """

    names: tuple[str, ...]
    scores: Doubles
    labels: Bools
    groups: Ints
    seconds: tuple[float, ...]
    costs_usd: tuple[float | None, ...]


def choose(scores: Doubles, labels: Bools, target: float) -> list[Cut]:
    """Thresholds for every tier.

    A tier below the top says yes, or no, where at least a share `target` of what it says is right.
    The top tier decides everything; its threshold is the one with which it has most right.

    Args:
        scores: shape (cases, tiers); labels: shape (cases,).
    """
    cuts = []
    left = np.ones(len(labels), bool)
    for tier in range(scores.shape[1] - 1):
        cut = _sure(scores[left, tier], labels[left], target)
        cuts.append(cut)
        left &= _undecided(scores[:, tier], cut)
    return [*cuts, Cut(accept=_best(scores[:, -1], labels))]


def replay(scores: Doubles, cuts: Sequence[Cut]) -> tuple[Bools, Ints]:
    """What a cascade decides, and the tier that decides it: shapes (cases,)."""
    yes = np.zeros(len(scores), bool)
    tiers = np.full(len(scores), len(cuts) - 1)
    left = np.ones(len(scores), bool)
    for tier, cut in enumerate(cuts[:-1]):
        stops = left & ~_undecided(scores[:, tier], cut)
        tiers[stops] = tier
        yes[stops] = scores[stops, tier] >= (math.inf if cut.accept is None else cut.accept)
        left &= ~stops
    top = cuts[-1].accept
    yes[left] = scores[left, -1] >= (0.5 if top is None else top)
    return yes, tiers


def _undecided(scores: Doubles, cut: Cut) -> Bools:
    accept = math.inf if cut.accept is None else cut.accept
    reject = -math.inf if cut.reject is None else cut.reject
    return (scores < accept) & (scores > reject)


def _sure(scores: Doubles, labels: Bools, target: float) -> Cut:
    accept = _least(scores, labels, target)
    reject = _least(-scores, ~labels, target)
    reject = None if reject is None else -reject
    if accept is not None and reject is not None and reject >= accept:
        # Either side could have what lies between; halfway, both are stricter than they need be.
        accept = (accept + reject) / 2
        reject = float(np.nextafter(accept, -math.inf))
    return Cut(accept, reject)


def _least(scores: Doubles, labels: Bools, target: float) -> float | None:
    """The lowest score from which at least `target` of the labels hold; None where none is sure."""
    fewest = math.ceil(math.log(DOUBT / SIZES) / math.log(target))
    if len(scores) < fewest:
        return None
    ranked = np.sort(scores)[::-1]
    sizes = np.unique(np.geomspace(fewest, len(scores), SIZES).round().astype(int))
    for size in sizes[::-1]:
        threshold = float(ranked[size - 1])
        among = labels[scores >= threshold]
        if binomial_tail(int(among.sum()), len(among), target) <= DOUBT / SIZES:
            return threshold
    return None


def _best(scores: Doubles, labels: Bools) -> float:
    """The threshold with most right: between two scores, in the middle of the best stretch."""
    order = np.argsort(scores, kind="stable")
    ordered = scores[order]
    below = np.concatenate([[0], np.cumsum(~labels[order])])
    above = np.concatenate([[0], np.cumsum(labels[order])])
    right = below + (above[-1] - above)
    edges = np.concatenate([[0.0], (ordered[1:] + ordered[:-1]) / 2, [1.0]])
    apart = np.concatenate([[True], ordered[1:] > ordered[:-1], [True]])
    tied = np.flatnonzero(apart & (right == right[apart].max()))
    return float(np.clip(edges[tied[len(tied) // 2]], 0.0, 1.0))


def fit_report(measured: Measured, cuts: Sequence[Cut], target: float) -> CascadeFit:
    """How good the cascade is, and the curve, across the two halves of the cases.

    Args:
        cuts: chosen on all cases; what the report tells of thresholds.
    """
    labels, scores = measured.labels, measured.scores
    yes, tiers = _across(measured, target)
    top = _across_top(measured)
    right, early = yes == labels, tiers < len(cuts) - 1
    alone = [_across_top(measured, tier) == labels for tier in range(scores.shape[1])]
    found = tuple(
        TierFit(
            name=name,
            accept=cut.accept,
            reject=cut.reject,
            decided=float((tiers == place).mean()),
            alone=float(alone[place].mean()),
            seconds=measured.seconds[place],
            cost_usd=measured.costs_usd[place],
        )
        for place, (name, cut) in enumerate(zip(measured.names, cuts, strict=True))
    )
    each = [
        CurvePoint(f"{tier.name} alone", tier.alone, tier.seconds, tier.cost_usd) for tier in found
    ]
    return CascadeFit(
        cases=len(labels),
        target=target,
        tiers=found,
        right=_count(right),
        top_right=_count(top == labels),
        yes=_count(right[yes]),
        no=_count(right[~yes]),
        early=_count(right[early]),
        points=(*each, *_curve(measured, target)),
    )


def _count(right: Bools) -> tuple[int, int]:
    return int(right.sum()), len(right)


def _curve(measured: Measured, target: float) -> list[CurvePoint]:
    points = []
    for each in sorted({*TARGETS, target}):
        yes, tiers = _across(measured, each)
        seconds, cost_usd = _cost(measured, tiers)
        right = float((yes == measured.labels).mean())
        points.append(CurvePoint(f"cascade, target {each:g}", right, seconds, cost_usd, each))
    return points


def _cost(measured: Measured, tiers: Ints) -> tuple[float, float | None]:
    """What a case takes on average where it goes up to its tier in `tiers`."""
    asked = [float((tiers >= place).mean()) for place in range(len(measured.names))]
    seconds = sum(share * each for share, each in zip(asked, measured.seconds, strict=True))
    if any(share and cost is None for share, cost in zip(asked, measured.costs_usd, strict=True)):
        return seconds, None
    usd = sum(share * (each or 0.0) for share, each in zip(asked, measured.costs_usd, strict=True))
    return seconds, usd


def _halves(measured: Measured) -> list[tuple[Bools, Bools]]:
    """Where to choose and where to count: one half and the other, then the other way round."""
    groups = np.unique(measured.groups)
    first = np.random.default_rng(0).permutation(groups)[: len(groups) // 2]
    half = np.isin(measured.groups, first)
    return [(half, ~half), (~half, half)]


def _across(measured: Measured, target: float) -> tuple[Bools, Ints]:
    yes = np.zeros(len(measured.labels), bool)
    tiers = np.zeros(len(measured.labels), np.int64)
    for there, here in _halves(measured):
        cuts = choose(measured.scores[there], measured.labels[there], target)
        yes[here], tiers[here] = replay(measured.scores[here], cuts)
    return yes, tiers


def _across_top(measured: Measured, tier: int = -1) -> Bools:
    """What one tier alone decides."""
    yes = np.zeros(len(measured.labels), bool)
    for there, here in _halves(measured):
        threshold = _best(measured.scores[there, tier], measured.labels[there])
        yes[here] = measured.scores[here, tier] >= threshold
    return yes
