"""Cascades: a cheap judge decides what it is sure of, and only the rest goes up to a stronger one.

Notable: cases go through the tiers in blocks, so results stream out of a long run, and every tier
still gets batches. A case that fails at its tier fails alone. What a tier worked is measured around
it, opening pictures included; an answer from the cache took and cost nothing now.
"""

from __future__ import annotations

import time
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from itertools import islice

import numpy as np

from polymodal.errors import InvalidAnswer, ItemsFailed, PolymodalError, UsageError
from polymodal.media.pictures import picture_name
from polymodal.results import ItemError
from polymodal.results_cascades import CascadeFit, CascadeReport, Decision, TierReport
from polymodal.runtime.judging import Judge, Judged
from polymodal.tasks.cascade_cases import Labelled
from polymodal.tasks.cascade_file import Cascade, Tier
from polymodal.tasks.cascade_fit import Measured, choose, fit_report

__all__ = ["CascadeRun", "Fitted", "fit_cascade"]

BLOCK = 256
FEWEST = 40
"""Labelled cases below which no threshold can be sure of anything."""


@dataclass
class _Tally:
    """What one tier did so far."""

    asked: int = 0
    decided: int = 0
    failed: int = 0
    first_failure: str = ""
    cached: int = 0
    seconds: float = 0.0
    usual_seconds: float = 0.0
    """That it takes when nothing is cached."""
    cost_usd: float = 0.0
    usual_cost_usd: float = 0.0
    unpriced: int = 0

    def count(self, outcome: Judged | PolymodalError, seconds: float) -> None:
        """Add one case that was judged."""
        self.asked += 1
        self.seconds += seconds
        if not isinstance(outcome, Judged):
            self.failed += 1
            self.first_failure = self.first_failure or str(outcome)
            self.usual_seconds += seconds
            if isinstance(outcome, InvalidAnswer):  # of no use, and paid for
                self.cost_usd += outcome.cost_usd or 0.0
            return
        self.cached += outcome.cached
        self.usual_seconds += outcome.seconds if outcome.cached else seconds
        self.unpriced += outcome.cost_usd is None
        self.usual_cost_usd += outcome.cost_usd or 0.0
        if not outcome.cached:
            self.cost_usd += outcome.cost_usd or 0.0

    @property
    def seconds_each(self) -> float | None:
        """That a case takes; None where none was judged."""
        return self.usual_seconds / self.asked if self.asked else None

    @property
    def cost_each_usd(self) -> float | None:
        """That a case costs; None where that is not known."""
        judged = self.asked - self.failed
        return self.usual_cost_usd / judged if judged and not self.unpriced else None


def _timed(
    judge: Judge, cases: Sequence[Labelled], tally: _Tally
) -> Iterator[Judged | PolymodalError]:
    """What a judge says of every case, counted."""
    stream = judge.judge(cases)
    while True:
        started = time.perf_counter()
        try:
            _, outcome = next(stream)
        except StopIteration:
            return
        tally.count(outcome, time.perf_counter() - started)
        yield outcome


@dataclass
class CascadeRun:
    """Decisions, one a case, in order, lazily; and what they took, once they are there.

    Attributes:
        judges: one for each tier of the cascade.
    """

    cascade: Cascade
    judges: Sequence[Judge]
    cases: Iterable[Labelled]
    _tallies: list[_Tally] = field(init=False)
    _right: int = 0
    _labelled: int = 0

    def __post_init__(self) -> None:
        self._tallies = [_Tally() for _ in self.judges]

    def __iter__(self) -> Iterator[Decision | ItemError]:
        cases = iter(self.cases)
        while block := list(islice(cases, BLOCK)):
            yield from self._block(block)

    def _block(self, block: Sequence[Labelled]) -> list[Decision | ItemError]:
        outcomes: dict[int, Decision | ItemError] = {}
        scores: list[dict[str, float]] = [{} for _ in block]
        waiting = list(range(len(block)))
        steps = list(zip(self.cascade.tiers, self.judges, self._tallies, strict=True))
        for tier, judge, tally in steps:
            undecided = []
            found = _timed(judge, [block[place] for place in waiting], tally)
            for place, judged in zip(waiting, found, strict=True):
                case, name = block[place], picture_name(block[place].image)
                if isinstance(judged, PolymodalError):
                    outcomes[place] = ItemError.of(name, judged)
                    continue
                scores[place][tier.name] = judged.score
                yes = tier.decide(judged.score, last=tier is self.cascade.tiers[-1])
                if yes is None:
                    undecided.append(place)
                    continue
                tally.decided += 1
                outcomes[place] = self._decision(case, tier, judge, yes=yes, scores=scores[place])
            waiting = undecided
            if not waiting:
                break
        return [outcomes[place] for place in range(len(block))]

    def _decision(
        self, case: Labelled, tier: Tier, judge: Judge, *, yes: bool, scores: dict[str, float]
    ) -> Decision:
        if case.label is not None:
            self._labelled += 1
            self._right += yes == case.label
        return Decision(
            input=picture_name(case.image),
            text=case.text,
            yes=yes,
            tier=tier.name,
            score=scores[tier.name],
            scores=scores,
            provenance=judge.provenance,
            label=case.label,
        )

    @property
    def report(self) -> CascadeReport:
        """What was decided where so far, and what it took."""
        tiers = [
            TierReport(
                name=tier.name,
                asked=tally.asked,
                decided=tally.decided,
                failed=tally.failed,
                cached=tally.cached,
                seconds=tally.seconds,
                cost_usd=None if tally.unpriced else tally.cost_usd,
            )
            for tier, tally in zip(self.cascade.tiers, self._tallies, strict=True)
        ]
        top, last = self.cascade.tiers[-1], self._tallies[-1]
        cost_usd = last.cost_each_usd if top.cost_usd is None else top.cost_usd
        cases = sum(tier.decided + tier.failed for tier in tiers)
        return CascadeReport(
            cases=cases,
            tiers=tuple(tiers),
            top_seconds=self._top_seconds(cases),
            top_cost_usd=None if cost_usd is None else cost_usd * cases,
            right=self._right,
            labelled=self._labelled,
        )

    def _top_seconds(self, cases: int) -> float | None:
        """What all cases would take at the top, loading its model included as it was here.

        What a case takes at each tier comes from fitting where that was measured for all of them:
        a short run measures how long models load.
        """
        each = [tier.seconds for tier in self.cascade.tiers]
        if None in each:
            each = [tally.seconds_each for tally in self._tallies]
        if not each[-1]:
            return None
        taken = sum(tally.asked * (s or 0.0) for tally, s in zip(self._tallies, each, strict=True))
        seconds = sum(tally.seconds for tally in self._tallies)
        return seconds * cases * each[-1] / taken if taken else None


@dataclass(frozen=True)
class Fitted:
    """A cascade with thresholds, how good it is, and the cases that could not be used."""

    cascade: Cascade
    report: CascadeFit
    errors: tuple[ItemError, ...] = ()


def fit_cascade(
    cascade: Cascade,
    judges: Sequence[Judge],
    cases: Sequence[Labelled],
    target: float,
    *,
    source: str = "",
) -> Fitted:
    """Choose the thresholds of a cascade on labelled cases; every tier judges every case.

    Args:
        target: share of what a tier below the top decides that is to be right, for yes and for no.
        source: what the cases are called in the cascade's `fitted`.

    Raises:
        UsageError: too few cases, only one kind, or a target that is no share above a half.
        ItemsFailed: too few cases are left that every tier judged; it names the tiers.
    """
    if not 0.5 < target < 1.0:
        raise UsageError(f"the target precision is a share from 0.5 to 1, such as 0.95: {target}.")
    _require_enough(cases)
    tallies = [_Tally() for _ in judges]
    columns: list[list[float | None]] = []
    errors: dict[int, ItemError] = {}
    for tier, judge, tally in zip(cascade.tiers, judges, tallies, strict=True):
        if tier.by != "generator":  # loading a model is not what a case takes
            list(judge.judge(cases[:1]))
        column: list[float | None] = []
        for case, judged in zip(cases, _timed(judge, cases, tally), strict=True):
            if isinstance(judged, PolymodalError):
                errors.setdefault(len(column), ItemError.of(picture_name(case.image), judged))
            column.append(judged.score if isinstance(judged, Judged) else None)
        columns.append(column)
    used = [place for place in range(len(cases)) if place not in errors]
    if errors and (lacking := _lacking([cases[place] for place in used])):
        raise ItemsFailed(f"{lacking} {_failing(cascade, tallies)}")
    measured = _measured(cascade, tallies, columns, [cases[place] for place in used], used)
    cuts = choose(measured.scores, measured.labels, target)
    found = fit_report(measured, cuts, target)
    tiers = tuple(
        tier.model_copy(
            update={
                "accept": cut.accept,
                "reject": cut.reject,
                "seconds": seconds,
                "cost_usd": cost_usd,
            }
        )
        for tier, cut, seconds, cost_usd in zip(
            cascade.tiers, cuts, measured.seconds, measured.costs_usd, strict=True
        )
    )
    words = f"{len(used):,} cases{f' of {source}' if source else ''}, target precision {target:g}"
    fitted = cascade.model_copy(update={"tiers": tiers, "fitted": words})
    return Fitted(fitted, found, tuple(errors[place] for place in sorted(errors)))


def _measured(
    cascade: Cascade,
    tallies: Sequence[_Tally],
    columns: Sequence[Sequence[float | None]],
    cases: Sequence[Labelled],
    used: Sequence[int],
) -> Measured:
    groups: dict[str, int] = {}
    for case in cases:
        groups.setdefault(_group(case), len(groups))
    return Measured(
        names=tuple(tier.name for tier in cascade.tiers),
        scores=np.array([[column[place] for column in columns] for place in used], np.float64),
        labels=np.array([bool(case.label) for case in cases]),
        groups=np.array([groups[_group(case)] for case in cases]),
        seconds=tuple(tally.seconds_each or 0.0 for tally in tallies),
        costs_usd=tuple(tally.cost_each_usd for tally in tallies),
    )


def _group(case: Labelled) -> str:
    """A picture that is there twice is one group."""
    return case.image if isinstance(case.image, str) else str(id(case.image))


def _require_enough(cases: Sequence[Labelled]) -> None:
    if any(case.label is None for case in cases):
        raise UsageError("fitting needs to know what is true of every case: give it a label.")
    if lacking := _lacking(cases):
        raise UsageError(lacking)


def _lacking(cases: Sequence[Labelled]) -> str:
    """What these cases lack to be fitted on; "" for nothing."""
    yes = sum(bool(case.label) for case in cases)
    if len(cases) >= FEWEST and 0 < yes < len(cases):
        return ""
    return (
        f"fitting needs {FEWEST} cases or more that every tier judges, some true and some not;"
        f" these are {len(cases)}, {yes} of them true."
    )


def _failing(cascade: Cascade, tallies: Sequence[_Tally]) -> str:
    """Which tiers failed, how often, why at first, and what to do."""
    told = [
        f"The tier {tier.name!r} failed on {tally.failed} of {tally.asked} cases, at first with:"
        f" {tally.first_failure.rstrip('.')}."
        for tier, tally in zip(cascade.tiers, tallies, strict=True)
        if tally.failed
    ]
    return " ".join([*told, "Mend that and fit again, or fit without that tier."])
