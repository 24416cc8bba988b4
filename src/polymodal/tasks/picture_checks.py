"""What an answer would make true, compared with a picture or with the frames of a video.

Notable: an answer is held against the others that it could have been ("a brown dog" beside "a black
dog"). In a video several can be true at different times, so each frame is asked, and the odds are
taken together; the evidence names the moment that shows the answer best.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np

from polymodal.results import Vector
from polymodal.results_answers import Evidence
from polymodal.runtime.texts import TextVectors
from polymodal.tasks.calibration import Doubles, calibration_of, softmax
from polymodal.tasks.grounding import anywhere, margins, moved
from polymodal.tasks.questions import Question
from polymodal.tasks.statements import alternatives, others, statement

if TYPE_CHECKING:
    from PIL import Image

__all__ = [
    "BLANK",
    "DIGITS",
    "NEEDS_THINGS",
    "is_blank",
    "moved_by_picture",
    "picture_evidence",
    "seen_in",
    "shares_of",
]

DIGITS = 4
"""Of the probabilities that results show."""
NEEDS_THINGS = {"object", "count", "place"}
"""Kinds of questions to which a blank picture has no answer."""
BLANK = Evidence("picture", "the picture is blank: it has one flat color", supports=False)
FLAT = 4
"""Levels of 255 by which a channel of a blank picture varies at most."""


def is_blank(image: Image.Image) -> bool:
    """Whether a picture is of one flat color, as an empty page is."""
    pixels = np.asarray(image.convert("RGB"))
    return bool((np.ptp(pixels, axis=(0, 1)) <= FLAT).all())


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
