"""How a generator's answer is held against what it was shown: a picture, frames, lines of text.

Notable: an answer about a video may rest on what is seen or on what is said. Frames are compared
with it as a picture is, and the moment that fits best is named; what somebody says in the video is
not made less likely by frames that do not show it.
"""

from __future__ import annotations

import re
from collections.abc import Sequence

import numpy as np

from polymodal.models.wording import split_words
from polymodal.results_answers import Evidence
from polymodal.tasks.answering import Asking, line_evidence
from polymodal.tasks.calibration import calibration_of, fits, sigmoid
from polymodal.tasks.grounding import MOST_MOVED, anywhere, log_odds, moved
from polymodal.tasks.picture_checks import moved_by_picture
from polymodal.tasks.questions import Question
from polymodal.tasks.showing import Shown
from polymodal.tasks.statements import alternatives
from polymodal.tasks.text_answers import TextLine, supported

__all__ = ["SENTENCE", "check"]

SENTENCE = 3
"""Words from which an answer is a statement of its own."""
NUMBERS = dict(zip("123456", ("one", "two", "three", "four", "five", "six"), strict=True))
Checked = tuple[float, list[Evidence]]


def check(
    asking: Asking,
    shown: Shown,
    said: tuple[Question, str],
    lines: Sequence[TextLine],
    prior: float,
) -> Checked:
    """The confidence after the check of an answer, and what it found.

    Args:
        said: the question and the answer.
        lines: that were read from it, or heard in it.
        prior: the confidence before.
    """
    question, text = said
    if shown.kind == "video" and question.kind != "text" and shown.embeddings is not None:
        return _by_frames(asking, shown, said, lines, prior)
    if shown.kind in {"video", "pictures"} or (shown.kind != "picture" and question.kind != "text"):
        if held := supported(text, lines):
            return prior, line_evidence(held)
        why = f"nothing in the {shown.kind} was compared with the answer"
        return prior, [Evidence("missing", why)]
    if question.kind == "text":
        held = supported(text, lines)
        share = 1 / (1 + np.exp(-MOST_MOVED if held else MOST_MOVED))
        confidence = moved(prior, np.array([share, 1 - share]), 0)
        said_by = f"no line of the {shown.kind}'s text holds the answer"
        none = Evidence("text", said_by, supports=False)
        return confidence, line_evidence(held) or [none]
    return _by_picture(asking, shown, said, prior)


def _by_frames(
    asking: Asking,
    shown: Shown,
    said: tuple[Question, str],
    lines: Sequence[TextLine],
    prior: float,
) -> Checked:
    """By a video's frames; what may have been said in it is not refuted by them."""
    held = line_evidence(supported(said[1], lines))
    confidence, seen = _by_picture(asking, shown, said, prior)
    may_be_said = bool(held) or (bool(lines) and said[0].kind == "other")
    if held and seen[0].source == "missing":
        seen = []
    return max(prior, confidence) if may_be_said else confidence, [*held, *seen]


def _by_picture(asking: Asking, shown: Shown, said: tuple[Question, str], prior: float) -> Checked:
    """By the picture, or by the frames of a video together."""
    question, text = said
    embeddings, times_s = shown.embeddings, shown.times_s
    assert embeddings is not None
    if alternatives(question) and (short := _in_kind(question, text)):
        found, evidence = moved_by_picture(
            asking.texts, question, short, prior, embeddings, times_s=times_s
        )
        return found, [evidence]
    where = "the video" if times_s else "the picture"
    if len(split_words(text)) < SENTENCE:
        why = f"the answer makes no statement that could be compared with {where}"
        return prior, [Evidence("missing", why)]
    cosines = np.asarray(embeddings @ asking.texts.embed([text])[0], np.float64)
    each = fits(calibration_of(asking.texts.embedder), cosines, "match")
    fit = float(sigmoid(anywhere(np.array([log_odds(float(one)) for one in each]))))
    time_s = times_s[int(cosines.argmax())] if times_s else None
    when = "" if time_s is None else f", best at {time_s:.1f} s"
    told = f"how well the answer fits {where}{when}"
    evidence = Evidence("picture", told, round(fit, 4), fit >= 0.5, time_s=time_s)
    return moved(prior, np.array([fit, 1 - fit]), 0), [evidence]


def _in_kind(question: Question, text: str) -> str:
    """The answer as one of the alternatives, or a short one of its own; "" for a long one."""
    words = [NUMBERS.get(word, word) for word in split_words(text)]
    known = [word for word in alternatives(question) if word in words]
    if len(known) == 1:
        return known[0]
    if question.kind in {"yesno", "count", "color"}:
        return ""
    words = [word for word in words if not re.fullmatch(r"an?|the|it|is|in|on|at", word)]
    return " ".join(words) if 0 < len(words) < SENTENCE else ""
