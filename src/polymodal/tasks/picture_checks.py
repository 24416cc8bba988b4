"""What an answer would make true, compared with a picture or with the frames of a video.

Notable: an answer is held against the others that it could have been ("a brown dog" beside "a black
dog"). In a video several can be true at different times, so each frame is asked, and the odds are
taken together; the evidence names the moment that shows the answer best.
"""

from __future__ import annotations

import re
from collections.abc import Sequence

import numpy as np

from polymodal.results import Vector
from polymodal.results_answers import Evidence
from polymodal.runtime.texts import TextVectors
from polymodal.tasks.calibration import Doubles, calibration_of, softmax
from polymodal.tasks.grounding import anywhere, margins, moved
from polymodal.tasks.questions import Question
from polymodal.tasks.statements import alternatives, others, statement

__all__ = [
    "DIGITS",
    "asks_of_things",
    "blank_evidence",
    "moved_by_picture",
    "picture_evidence",
    "seen_in",
    "shares_of",
]

DIGITS = 4
"""Of the probabilities that results show."""
ITSELF = frozenset({
    "background", "blank", "frame", "image", "page", "paper", "photo", "photograph", "picture",
    "scene", "screen", "sheet",
})  # fmt: skip
"""What a question about the picture itself names, not about what is in it."""
_COLOR_OF_IT = re.compile(
    r"^(?:what|which) (?:is )?(?:the )?(?:main |dominant |overall )?color(?: is)?"
    r"(?: it| this| that)?$"
)
_IN_IT = re.compile(r"\b(?:in|on) (?:the|this|that|a) \w+")


def asks_of_things(question: Question) -> bool:
    """Whether a blank picture has no answer: all but its own color, and whether it is blank.

    Nor is there a "no" to "Is there a dog?": a black frame or a failed scan does not show that.
    """
    if question.kind == "color":
        return question.subject not in ITSELF
    if question.kind == "other":
        if _COLOR_OF_IT.search(question.wording):
            return False
        return ITSELF.isdisjoint(_IN_IT.sub("", question.wording).split())
    return True


def blank_evidence(colors: Sequence[str], kind: str = "picture") -> Evidence:
    """Why there is no answer; `colors` as `#rrggbb`, of a picture or of frames or pages."""
    which = "pictures are" if kind == "pictures" else f"{kind} is"
    told = ", ".join(dict.fromkeys(colors))
    return Evidence("picture", f"the {which} blank: one even color, {told}", supports=False)


def seen_in(
    texts: TextVectors, question: Question, pool: Sequence[str], embedding: Vector
) -> Doubles:
    """`margins` of the answers of `pool` in one picture, shape (len(pool),)."""
    vectors = texts.embed([statement(question, answer) for answer in pool])
    beside = texts.embed(others(question)) if question.kind == "yesno" else vectors[:0]
    cosines, other = vectors @ embedding, beside @ embedding
    return margins(question.kind, [float(c) for c in cosines], [float(c) for c in other])


def shares_of(texts: TextVectors, seen: Doubles) -> Doubles:
    """What an embedder gives each candidate, by its own temperature; they add up to 1.

    Args:
        seen: `margins` in each picture, shape (pictures, candidates).
    """
    return softmax(anywhere(seen / calibration_of(texts.embedder).classify_temperature))


def moved_by_picture(
    texts: TextVectors,
    question: Question,
    answer: str,
    prior: float,
    embeddings: Vector,
    *,
    times_s: Sequence[float] = (),
) -> tuple[float, Evidence]:
    """How the picture moves the probability that an answer of another model is right.

    Of a video, all frames together do; the evidence is of the one that shows the answer best.

    Args:
        embeddings: of the picture, or of a video's frames, shape (pictures, dimension).
        times_s: of the frames.
    """
    pool = alternatives(question)
    if answer not in pool:
        pool = (*pool, answer)
    seen = np.stack([seen_in(texts, question, pool, each) for each in embeddings])
    shares = shares_of(texts, seen)
    chosen = pool.index(answer)
    confidence = moved(prior, shares, chosen)
    time_s = None
    # Where "no" is right there is no moment at which that is to be seen.
    if times_s and (question.kind, answer) != ("yesno", "no"):
        alone = np.stack([shares_of(texts, each[None]) for each in seen])
        best = int(alone[:, chosen].argmax())
        shares, time_s = alone[best], times_s[best]
    given = list(map(float, shares))
    where = "the video" if times_s else "the picture"
    evidence = picture_evidence(question, answer, pool, given, where=where, time_s=time_s)
    return confidence, evidence


def picture_evidence(
    question: Question,
    answer: str,
    pool: Sequence[str],
    shares: Sequence[float],
    *,
    where: str = "the picture",
    time_s: float | None = None,
) -> Evidence:
    """The statement compared with the picture, and what it was held against."""
    when = "" if time_s is None else f" at {time_s:.1f} s"
    chosen = list(pool).index(answer)
    rivals = [i for i in range(len(pool)) if i != chosen]
    rival = max(rivals, key=lambda i: shares[i]) if rivals else chosen
    supports = shares[chosen] >= shares[rival]
    if question.kind == "yesno":
        there = supports == (answer == "yes")
        verb = "looks" if there else "does not look"
        text = (
            f"beside other things, {statement(question, answer)!r} {verb} like what is there{when}"
        )
    else:
        beside = statement(question, pool[rival])
        better = "better" if supports else "worse"
        text = f"{statement(question, answer)!r} fits {where}{when} {better} than {beside!r}"
    score = round(float(shares[chosen]), DIGITS)
    return Evidence("picture", text, score, supports, time_s=time_s)
