"""What a cascade returns: decisions, what each tier did and cost, and how well it was fitted."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from polymodal.results import Provenance

__all__ = ["CascadeFit", "CascadeReport", "CurvePoint", "Decision", "TierFit", "TierReport"]


@dataclass(frozen=True)
class Decision:
    """Yes or no to one case.

    Attributes:
        text: what the picture was held against; "" where a policy decides.
        yes: the picture fits its text, or is approved.
        tier: name of the tier that decided.
        score: of that tier, 0..1.
        scores: of every tier that was asked, by name.
        provenance: of the tier that decided.
        label: what is true, where the input says it.
    """

    input: str
    text: str
    yes: bool
    tier: str
    score: float
    scores: Mapping[str, float]
    provenance: Provenance
    label: bool | None = None


@dataclass(frozen=True)
class TierReport:
    """What one tier did in a run.

    Attributes:
        asked: cases that reached it; `decided` of them stopped here, `failed` have no decision.
        cached: of those asked, answered from an earlier run.
        seconds: that it worked, opening pictures and loading its model included.
        cost_usd: that was spent now; None where a price is not known.
    """

    name: str
    asked: int
    decided: int
    failed: int
    cached: int
    seconds: float
    cost_usd: float | None


@dataclass(frozen=True)
class CascadeReport:
    """What a run did and cost.

    Attributes:
        top_seconds, top_cost_usd: what sending every case to the top tier would have taken, by
            what the tier takes a case; None where nobody knows.
        right, labelled: of the decisions whose truth the input gives.
    """

    cases: int
    tiers: tuple[TierReport, ...]
    top_seconds: float | None
    top_cost_usd: float | None
    right: int = 0
    labelled: int = 0

    @property
    def seconds(self) -> float:
        """That all tiers worked."""
        return sum(tier.seconds for tier in self.tiers)

    @property
    def cost_usd(self) -> float | None:
        """That was spent now; None where a price is not known."""
        known = [tier.cost_usd for tier in self.tiers]
        return None if any(each is None for each in known) else sum(each or 0.0 for each in known)

    def to_dict(self) -> dict[str, Any]:
        """As the last JSON line of `polymodal cascade run` gives it."""
        saved_usd = None
        if self.top_cost_usd is not None and self.cost_usd is not None:
            saved_usd = round(self.top_cost_usd - self.cost_usd, 6)
        saved_s = None if self.top_seconds is None else round(self.top_seconds - self.seconds, 3)
        return {
            "cases": self.cases,
            "tiers": [
                {
                    "tier": tier.name,
                    "asked": tier.asked,
                    "decided": tier.decided,
                    "failed": tier.failed,
                    "cached": tier.cached,
                    "seconds": round(tier.seconds, 3),
                    "cost_usd": tier.cost_usd,
                }
                for tier in self.tiers
            ],
            "seconds": round(self.seconds, 3),
            "saved_s": saved_s,
            "cost_usd": self.cost_usd,
            "saved_usd": saved_usd,
            **({"right": self.right, "labelled": self.labelled} if self.labelled else {}),
        }


@dataclass(frozen=True)
class TierFit:
    """What fitting found of one tier.

    Attributes:
        accept, reject: its thresholds; None decides nothing on that side.
        decided: share of all cases that stop here, on cases the thresholds were not chosen on.
        alone: share of all cases that it would have right if it decided every one.
        seconds, cost_usd: that it takes a case; None where a price is not known.
    """

    name: str
    accept: float | None
    reject: float | None
    decided: float
    alone: float
    seconds: float
    cost_usd: float | None


@dataclass(frozen=True)
class CurvePoint:
    """One way to decide all cases: its cost a case and the share it has right."""

    name: str
    right: float
    seconds: float
    cost_usd: float | None
    target: float | None = None
    """Of the points of the cascade: the precision it was fitted for."""


@dataclass(frozen=True)
class CascadeFit:
    """How good a fitted cascade is, on cases that its thresholds were not chosen on.

    Every half of the cases is decided by thresholds that were chosen on the other half. Counts are
    pairs: how many are right, of how many.

    Attributes:
        cases: that have a label and that every tier could judge.
        target: the precision asked for.
        right, top_right: decisions of the cascade, and of the top tier asked about every case.
        yes, no: the cascade's decisions of either kind.
        early: those that were made below the top tier.
        points: the curve: every tier alone, and the cascade at several targets.
    """

    cases: int
    target: float
    tiers: tuple[TierFit, ...]
    right: tuple[int, int]
    top_right: tuple[int, int]
    yes: tuple[int, int]
    no: tuple[int, int]
    early: tuple[int, int]
    points: tuple[CurvePoint, ...]

    @property
    def seconds(self) -> float:
        """A case, with the cascade."""
        return self._chosen.seconds

    @property
    def cost_usd(self) -> float | None:
        """A case, with the cascade."""
        return self._chosen.cost_usd

    @property
    def priced(self) -> bool:
        """Whether money is what the top tier costs; else it is time."""
        return bool(self.tiers[-1].cost_usd)

    @property
    def cost_share(self) -> float:
        """What the cascade costs, of what the top tier costs: in money where it has a price."""
        top = self.tiers[-1]
        if self.priced:
            return (self.cost_usd or 0.0) / (top.cost_usd or 1.0)
        return self.seconds / top.seconds if top.seconds else 1.0

    @property
    def _chosen(self) -> CurvePoint:
        return next(point for point in self.points if point.target == self.target)
