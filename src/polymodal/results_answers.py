"""What `ask` returns: an answer, how sure it is, and what speaks for and against it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Literal

from polymodal.results import Provenance

__all__ = ["NOT_SURE", "Answer", "AnswerCandidate", "Evidence"]

NOT_SURE = "not sure"
"""The text of an answer that abstains."""


@dataclass(frozen=True)
class Evidence:
    """One thing that an answer rests on, or why there is none.

    Attributes:
        source: "model": what the model says by itself; "picture": the statement compared with the
            picture, or with frames of a video; "text": a line that was read from it; "question":
            how the question was understood; "missing": what could not be checked, and what would
            make it possible.
        text: for a person.
        score: probability in 0..1; of a line how sure the reader is.
        supports: whether it speaks for the answer; None where it does neither.
        box: of a line: left, top, right, bottom in pixels of the page; `page` counts from 1.
        time_s: of the frame of a video that fits best, from its start.
    """

    source: Literal["model", "picture", "text", "question", "missing"]
    text: str
    score: float | None = None
    supports: bool | None = None
    box: tuple[float, float, float, float] | None = None
    page: int | None = None
    time_s: float | None = None

    def to_dict(self) -> dict[str, Any]:
        """JSON values; what is not known is left out."""
        names = ("score", "supports", "box", "page", "time_s")
        values = {name: getattr(self, name) for name in names}
        known = {name: value for name, value in values.items() if value is not None}
        if self.box is not None:
            known["box"] = list(self.box)
        return {"source": self.source, "text": self.text, **known}

    @classmethod
    def from_dict(cls, values: dict[str, Any]) -> Evidence:
        """The inverse of `to_dict`."""
        box = values.get("box")
        return cls(**{**values, "box": None if box is None else tuple(box)})


@dataclass(frozen=True)
class AnswerCandidate:
    """An answer that was considered, and its share of the probability."""

    text: str
    probability: float


@dataclass(frozen=True)
class Answer:
    """The answer to a question about a picture.

    Attributes:
        text: "not sure" where it abstains.
        confidence: probability that the best candidate is right, 0..1; 0 where there is none.
        evidence: reasons, for and against.
        abstained: the confidence is under the threshold, or there is nothing to answer from.
        candidates: best first; the first is the answer, or what it would have been.
        data: of an answer to a question with a schema: what `text` says, as JSON values; None
            without a schema, or where it abstains.
        value: the same as an instance of the schema's pydantic class, where it is one.
        failure: why it abstains, where the model's answer was none: "truncated" at its limit of
            tokens, or "refused"; None else.
    """

    input: str
    question: str
    text: str
    confidence: float
    evidence: tuple[Evidence, ...]
    abstained: bool
    provenance: Provenance
    candidates: tuple[AnswerCandidate, ...] = ()
    data: Any = None
    value: Any = None
    failure: Literal["truncated", "refused"] | None = None

    @property
    def guess(self) -> str:
        """What it would say if it had to; "" where there is nothing to say."""
        return self.candidates[0].text if self.candidates else ""
