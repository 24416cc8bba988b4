"""The seam between what asks yes or no of pictures and what answers: cases in, scores out.

Notable: a judge is any object that fits; the tiers of a cascade are judges, and so is what orders
the hits of a search anew.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Protocol, runtime_checkable

from polymodal.errors import PolymodalError
from polymodal.media.pictures import ImageInput
from polymodal.results import Provenance

__all__ = ["Case", "Judge", "Judged"]


@dataclass(frozen=True, eq=False)
class Case:
    """A picture, and the text it is held against; "" where a policy is asked, not a text."""

    image: ImageInput
    text: str = ""


@dataclass(frozen=True)
class Judged:
    """What a judge says of one case.

    Attributes:
        score: from 0, surely no, to 1, surely yes; a probability where the judge is calibrated.
        cost_usd: what it cost when it was computed; None where that is not known.
        seconds: what it took when it was computed, where `cached`.
        cached: it was computed in an earlier run; nothing was spent now.
    """

    score: float
    cost_usd: float | None = 0.0
    seconds: float = 0.0
    cached: bool = False


@runtime_checkable
class Judge(Protocol):
    """Cases to scores, in order."""

    @property
    def provenance(self) -> Provenance:
        """Which model judges."""
        ...

    def judge(self, cases: Sequence[Case]) -> Iterator[tuple[Case, Judged | PolymodalError]]:
        """Yield every case with its score, or with why it has none, in order, lazily.

        Raises:
            ModelUnavailable: the model cannot be reached at all.
        """
        ...
