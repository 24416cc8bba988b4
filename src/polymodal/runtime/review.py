"""Draw answers for a person to look at, and say from the labels how often the model is right.

Notable: half of a sample is what the model was least sure of, where mistakes are found; the other
half is drawn at random from everything, and only labels of these say how often answers are right.
The order of random draws depends on the seed and the call's number alone, so the same seed draws
the same again until it is labelled, and then what comes next.
"""

from __future__ import annotations

import hashlib
from collections.abc import Container, Iterable, Mapping
from dataclasses import dataclass
from typing import Literal

from polymodal.errors import UsageError
from polymodal.runtime.intervals import wilson
from polymodal.runtime.journal import Call, Journal

__all__ = ["Accuracy", "Drawn", "accuracy", "sample"]

By = Literal["both", "uncertain", "random"]


@dataclass(frozen=True)
class Drawn:
    """A call to review, and why it was drawn: "uncertain" or "random"."""

    call: Call
    how: str


@dataclass(frozen=True)
class Accuracy:
    """How often one model was right at one verb, by what people said.

    Attributes:
        labelled, correct: of calls that were drawn at random, a fair sample.
        others, others_correct: of all other labelled calls, which is not.
    """

    verb: str
    model: str
    revision: str
    labelled: int
    correct: int
    others: int
    others_correct: int

    @property
    def share(self) -> float | None:
        """Of answers that are right, over the fair sample; None where that is empty."""
        return self.correct / self.labelled if self.labelled else None

    @property
    def interval(self) -> tuple[float, float]:
        """95 % (Wilson, 1927)."""
        return wilson(self.correct, self.labelled)


def sample(
    journal: Journal,
    count: int,
    *,
    seed: int = 0,
    by: By = "both",
    verb: str | None = None,
    model: str | None = None,
) -> list[Drawn]:
    """Draw calls that no one has labelled, and note in the journal how they were drawn.

    Args:
        count: how many; "both" draws the larger half for uncertainty.
        by: "uncertain" (the lowest confidence first; calls without one are not drawn), "random",
            or "both".
        verb, model: only calls of these.

    Raises:
        UsageError: `count` is below 1, or `by` is something else.
        StorageError: the journal cannot be read or written.
    """
    if count < 1 or by not in ("both", "uncertain", "random"):
        raise UsageError("a sample has one call or more, by uncertain, random or both.")
    calls = journal.answered(verb=verb, model=model)
    labelled = journal.labels().keys()
    wanted = {"both": count - count // 2, "uncertain": count, "random": 0}[by]
    unsure = [call for call in _by_confidence(calls) if call not in labelled][:wanted]
    # Calls already labelled that come up on the way belong to the fair sample as well, and so does
    # one that was drawn for uncertainty: to pass over them would leave the easy ones.
    shown = {*labelled, *unsure}
    wanted = count - len(unsure) if by != "uncertain" else 0
    fair = _until(wanted, sorted(calls, key=lambda call: _rank(seed, call)), shown)
    journal.draw(unsure, "uncertain")
    journal.draw(fair, "random")
    new = [call for call in fair if call not in shown]
    found = {call.id: call for call in journal.calls(ids=[*unsure, *new])}
    return [
        Drawn(found[call], how)
        for how, drawn in (("uncertain", unsure), ("random", new))
        for call in drawn
    ]


def _until(count: int, calls: Iterable[int], shown: Container[int]) -> list[int]:
    """The beginning of `calls` that has `count` which are not shown yet."""
    taken: list[int] = []
    for call in calls:
        if count <= 0:
            break
        taken.append(call)
        count -= call not in shown
    return taken


def _by_confidence(calls: Mapping[int, float | None]) -> list[int]:
    known = [(confidence, call) for call, confidence in calls.items() if confidence is not None]
    return [call for _, call in sorted(known)]


def _rank(seed: int, call: int) -> bytes:
    return hashlib.sha256(f"{seed}:{call}".encode()).digest()


def accuracy(
    journal: Journal, *, verb: str | None = None, model: str | None = None
) -> list[Accuracy]:
    """The observed accuracy of every verb and model that has labels, in order of name."""
    labels, fair = journal.labels(), journal.drawn("random")
    counts: dict[tuple[str, str, str], list[int]] = {}
    for call in journal.calls(verb=verb, model=model, ids=list(labels)):
        group = counts.setdefault((call.verb, call.model, call.revision), [0, 0, 0, 0])
        first = 0 if call.id in fair else 2
        group[first] += 1
        group[first + 1] += labels[call.id].correct
    return [Accuracy(*group, *counts[group]) for group in sorted(counts)]
