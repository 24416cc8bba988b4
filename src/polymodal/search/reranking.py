"""The first hits of a search, ordered anew by a judge that looks at each picture with the words.

Notable: a hit that the judge cannot judge (its file is gone, its request failed) stands behind
those that it can, in the order of the search; a note says how many, and why the first.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from polymodal.errors import MediaError, PolymodalError
from polymodal.media.moments import moment_of, picture_of_moment
from polymodal.results import Hit
from polymodal.runtime.judging import Case, Judge, Judged

__all__ = ["rerank"]


def rerank(
    judge: Judge, text: str, hits: Sequence[Hit], top: int
) -> tuple[list[Hit], tuple[str, ...]]:
    """The hits with the first `top` in the judge's order, and what to tell of it."""
    first = hits[:top]
    scores, failures = _scores(judge, text, first)
    order = sorted(scores, key=lambda place: -scores[place])  # stable: ties keep their order
    judged = [
        replace(first[place], score=scores[place], first_score=first[place].score)
        for place in order
    ]
    left = [first[place] for place in range(len(first)) if place not in scores]
    made_by = judge.provenance
    notes = [f"the first {len(first)} hits are ordered by {made_by.model}@{made_by.revision}"]
    if failures:
        notes.append(
            f"{len(failures)} of them could not be judged and stand behind the others;"
            f" {failures[0]}"
        )
    return [*judged, *left, *hits[top:]], tuple(notes) if first else ()


def _scores(judge: Judge, text: str, hits: Sequence[Hit]) -> tuple[dict[int, float], list[str]]:
    """Scores by place, and reasons where there is none."""
    scores: dict[int, float] = {}
    failures: list[str] = []
    places, cases = [], []
    for place, hit in enumerate(hits):
        try:
            image = picture_of_moment(hit.path) if moment_of(hit.path) else hit.path
        except MediaError as error:
            failures.append(str(error))
            continue
        places.append(place)
        cases.append(Case(image, text))
    for place, (_, outcome) in zip(places, judge.judge(cases), strict=True):
        if isinstance(outcome, Judged):
            scores[place] = outcome.score
        else:
            failures.append(_named(outcome, hits[place]))
    return scores, failures


def _named(error: PolymodalError, hit: Hit) -> str:
    words = str(error)
    return words if hit.path in words else f"{hit.path}: {words}"
