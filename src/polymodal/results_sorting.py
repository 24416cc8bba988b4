"""What `classify`, `match`, `moderate` and `probe` return."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from polymodal.results_core import ItemError, Provenance

__all__ = ["Classification", "Finding", "Match", "ProbeReport", "Verdict"]


@dataclass(frozen=True)
class Classification:
    """The label of a picture; `label` is None where nothing reached the `unknown` threshold."""

    input: str
    label: str | None
    score: float
    scores: Mapping[str, float]
    provenance: Provenance
    labels: tuple[str, ...] = ()
    """Multi-label mode: every label over the threshold, best first."""


@dataclass(frozen=True)
class Match:
    """Probability that a text fits a picture; `matches` is set when a threshold was given."""

    input: str
    text: str
    probability: float
    cosine: float
    provenance: Provenance
    matches: bool | None = None


@dataclass(frozen=True)
class Finding:
    """What one criterion of a policy found: a score in 0..1 against its threshold."""

    criterion: str
    score: float
    threshold: float
    passed: bool
    explanation: str


@dataclass(frozen=True)
class Verdict:
    """A moderation result.

    Attributes:
        criterion: the criterion that decided.
        margin: how far its score lies from its threshold; positive when approved.
    """

    input: str
    approved: bool
    criterion: str
    margin: float
    findings: tuple[Finding, ...]
    policy: str
    provenance: Provenance

    @property
    def scores(self) -> dict[str, float]:
        """Score of every criterion, 0..1."""
        return {finding.criterion: finding.score for finding in self.findings}


@dataclass(frozen=True)
class ProbeReport:
    """What training a linear probe found."""

    labels: tuple[str, ...]
    images: Mapping[str, int]
    accuracy: float
    """Cross-validated; by a recipe, on the pictures that chose the strength, so a little high."""
    interval: tuple[float, float]
    """95 % interval of the accuracy."""
    errors: tuple[ItemError, ...]
    provenance: Provenance
