"""Questions about one picture to answers: by a captioner or by a generator, checked either way.

Notable: whichever model answers, the same checks follow. Text in the picture is read for questions
about text only; it can be an answer, or data that a generator is shown between fences, and nothing
else. What cannot be checked is said, and lowers nothing that was not earned.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Protocol, TypeAlias

import numpy as np

from polymodal.errors import MediaError, MissingDependency, PolymodalError
from polymodal.media.pictures import ImageInput, Together, picture_name
from polymodal.models.describing import (
    AnswerCalibrated,
    Captioner,
    KnowsWords,
    Sight,
)
from polymodal.results import Provenance
from polymodal.results_answers import NOT_SURE, Answer, AnswerCandidate, Evidence
from polymodal.runtime.texts import TextVectors
from polymodal.tasks.calibration import Doubles, calibration_of, fits, sigmoid, softmax
from polymodal.tasks.grounding import (
    LIKELY_THERE,
    Weighed,
    log_odds,
    moved,
    presence,
    weigh,
)
from polymodal.tasks.picture_checks import DIGITS, picture_evidence, seen_in, shares_of
from polymodal.tasks.questions import Question
from polymodal.tasks.statements import alternatives, is_there, statement
from polymodal.tasks.text_answers import TextLine, find_in_lines
from polymodal.tasks.text_fields import find_field

__all__ = [
    "AskedOf",
    "Asking",
    "Case",
    "LineReader",
    "Outcome",
    "TextRead",
    "by_captioner",
    "by_text",
    "line_evidence",
]


class TextRead(Protocol):
    """The text of a picture; `polymodal.results_documents.Reading` fits."""

    @property
    def lines(self) -> Sequence[TextLine]:
        """In reading order."""
        ...

    @property
    def provenance(self) -> Provenance:
        """What read it."""
        ...


AskedOf: TypeAlias = ImageInput | Together
LineReader: TypeAlias = Callable[[AskedOf], TextRead]
"""Reads the text of a picture; raises `MissingDependency` or `MediaError`."""
Outcome: TypeAlias = Answer | PolymodalError
SHOWN = 5
"""Candidates that an answer keeps."""
THRESHOLD = 0.5
"""Where the model brings none: an answer that is more likely wrong than right is none."""
NO_READER = Provenance("no reader", "")
NO_CARD_TRUST = 0.5
"""Log-odds halved: how far the shares of a model without calibration are believed."""


@dataclass(frozen=True, eq=False)
class Case:
    """A question about a picture, and who answers it."""

    source: AskedOf
    question: Question
    made_by: Provenance


@dataclass(frozen=True)
class Asking:
    """How to answer.

    Attributes:
        threshold: confidence from which an answer is given; None for the model's own.
        grounded: answers are checked against the picture and its text.
        texts: the embedder that checks.
        lines: reads text in pictures.
    """

    texts: TextVectors
    lines: LineReader
    threshold: float | None = None
    grounded: bool = True

    def answer(
        self,
        case: Case,
        candidates: Sequence[tuple[str, float]],
        confidence: float,
        evidence: Sequence[Evidence],
        threshold: float = THRESHOLD,
    ) -> Answer:
        """The best candidate, or the answer that abstains."""
        least = threshold if self.threshold is None else self.threshold
        confidence = round(confidence, DIGITS)
        kept = tuple(AnswerCandidate(text, round(p, DIGITS)) for text, p in candidates[:SHOWN])
        given = bool(kept) and bool(kept[0].text) and confidence >= least
        reasons = list(evidence)
        if kept and not given:
            what = f"it would be {_short(kept[0].text)!r}, with confidence {confidence:.2f}"
            reasons.append(Evidence("model", f"{what}, under the threshold of {least:g}"))
        return Answer(
            input=picture_name(case.source),
            question=case.question.text,
            text=kept[0].text if given else NOT_SURE,
            confidence=confidence,
            evidence=tuple(reasons),
            abstained=not given,
            provenance=case.made_by,
            candidates=kept,
        )

    def unsure(self, case: Case, *reasons: Evidence) -> Answer:
        """Nothing to answer from."""
        return self.answer(case, (), 0.0, reasons)


def by_text(asking: Asking, source: AskedOf, question: Question) -> Outcome:
    """The answer that the text in the picture gives, and nothing but it."""
    try:
        read = asking.lines(source)
    except MissingDependency as error:
        reason = Evidence("missing", f"the question is about text, which was not read: {error}")
        return asking.unsure(Case(source, question, NO_READER), reason)
    except MediaError as error:
        return error
    case = Case(source, question, read.provenance)
    found = find_field(question.wording, read) or find_in_lines(question.wording, read.lines)
    if not found.text:
        reason = Evidence("text", found.reason, supports=False)
        return asking.unsure(case, reason)
    evidence = [*line_evidence(found.lines), Evidence("question", f"answered from {found.reason}")]
    each = [(found.text, found.confidence)]
    return asking.answer(case, each, found.confidence, evidence)


def line_evidence(lines: Sequence[TextLine]) -> list[Evidence]:
    """Lines that speak for an answer."""
    return [
        Evidence("text", line.text, round(line.score, DIGITS), True, line.box, line.page)
        for line in lines
    ]


def by_captioner(
    asking: Asking,
    captioner: Captioner,
    asked: Sequence[tuple[AskedOf, Sight, Question]],
) -> list[Outcome]:
    """Answers to questions that are not about text, in order."""
    outcomes: dict[int, Outcome] = {}
    waiting = []
    for place, (source, sight, question) in enumerate(asked):
        if (refusal := _refusal(captioner, question)) is not None:
            outcomes[place] = asking.unsure(Case(source, question, captioner.provenance), refusal)
        elif question.kind == "scene":
            outcomes[place] = _scene(asking, captioner, source, sight, question)
        else:
            waiting.append(place)
    sights = [asked[place][1] for place in waiting]
    wordings = [asked[place][2].wording for place in waiting]
    said = captioner.answer(sights, wordings, candidates=3) if waiting else []
    pools = [
        _pool(asked[place][2], [each.text for each in own])
        for place, own in zip(waiting, said, strict=True)
    ]
    scores = captioner.score_answers(sights, wordings, pools) if waiting else []
    for place, pool, logprobs in zip(waiting, pools, scores, strict=True):
        outcomes[place] = _weighed(asking, captioner, asked[place], pool, logprobs)
    return [outcomes[place] for place in range(len(asked))]


def _pool(question: Question, said: Sequence[str]) -> tuple[str, ...]:
    """What can be answered: the alternatives, and what else the model would say."""
    closed = alternatives(question)
    if question.kind == "yesno":
        return closed
    return tuple(dict.fromkeys([*closed, *(text for text in said if text)]))


def _refusal(captioner: Captioner, question: Question) -> Evidence | None:
    """Why the model cannot understand a question."""
    name = captioner.provenance.model
    if question.kind == "other" or (question.kind == "object" and not alternatives(question)):
        return Evidence(
            "question",
            f"{name} answers what somebody does, holds, wears or rides, what color, how many,"
            " where, whether a thing is there, and of text for totals, dates, numbers and names;"
            " this is another kind of question",
        )
    if question.kind != "scene" and isinstance(captioner, KnowsWords):
        unknown = [word for word in question.wording.split() if not captioner.knows(word)]
        if unknown:
            return Evidence("question", f"{name} does not know the word {unknown[0]!r}")
    return None


def _scene(
    asking: Asking, captioner: Captioner, source: AskedOf, sight: Sight, question: Question
) -> Answer:
    """What the picture shows is its caption; how well it fits, the embedder says."""
    said = captioner.caption([sight], candidates=1)[0][0]
    confidence, evidence = said.probability, []
    if asking.grounded:
        cosine = float(asking.texts.embed([said.text])[0] @ sight.embedding)
        calibration = calibration_of(asking.texts.embedder)
        confidence = float(fits(calibration, np.array([cosine]), "match")[0])
        text = f"how well {_short(said.text)!r} fits the picture"
        evidence = [Evidence("picture", text, round(confidence, DIGITS), confidence >= THRESHOLD)]
    each = [(said.text, confidence)]
    return asking.answer(Case(source, question, captioner.provenance), each, confidence, evidence)


def _weighed(
    asking: Asking,
    captioner: Captioner,
    asked: tuple[AskedOf, Sight, Question],
    pool: Sequence[str],
    logprobs: Sequence[float],
) -> Answer:
    source, sight, question = asked
    case = Case(source, question, captioner.provenance)
    evidence = []
    if question.wording != " ".join(question.text.lower().rstrip("?! ").split()):
        evidence.append(Evidence("question", f"read as {question.wording!r}"))
    if not asking.grounded:
        order = np.argsort(-np.array(logprobs), kind="stable")
        each = [(pool[i], math.exp(logprobs[i])) for i in order]
        evidence.append(_said_by_model(case.made_by, *each[0]))
        return asking.answer(case, each, each[0][1], evidence)
    seen = seen_in(asking.texts, question, pool, sight.embedding)
    known = captioner.answer_calibration if isinstance(captioner, AnswerCalibrated) else None
    if known is not None and question.kind in known.kinds:
        found = weigh(question.kind, pool, logprobs, seen, known)
        there = is_there(question)
        alone = seen_in(asking.texts, there, alternatives(there), sight.embedding)
        likely, threshold = presence(question.kind, alone, known), known.threshold
        found = replace(found, confidence=found.confidence * likely)
        if likely < 1:
            text = f"{statement(there, 'yes')!r} does not look like what is there"
            evidence.append(Evidence("picture", text, round(likely * LIKELY_THERE, DIGITS), False))
    else:
        found, threshold = _uncalibrated(asking.texts, question, pool, logprobs, seen), THRESHOLD
    evidence += _witnesses(case.made_by, question, found)
    each = list(zip(found.answers, found.share, strict=True))
    return asking.answer(case, each, found.confidence, evidence, threshold)


def _uncalibrated(
    texts: TextVectors,
    question: Question,
    pool: Sequence[str],
    logprobs: Sequence[float],
    seen: Doubles,
) -> Weighed:
    """The model's own order; the embedder moves the odds of its first."""
    shares = shares_of(texts, seen[None])
    order = np.argsort(-np.array(logprobs), kind="stable")
    said = softmax(np.maximum(np.array(logprobs), -30.0))
    best = int(order[0])
    own = float(sigmoid(np.array(NO_CARD_TRUST * log_odds(float(said[best])))))
    confidence = moved(own, shares, best)
    ordered = tuple(map(float, said[order]))
    return Weighed(
        tuple(pool[i] for i in order),
        ordered,
        ordered,
        tuple(map(float, shares[order])),
        confidence,
    )


def _witnesses(made_by: Provenance, question: Question, found: Weighed) -> list[Evidence]:
    best = found.answers[0]
    top = int(np.argmax(found.said))
    said = _said_by_model(made_by, found.answers[top], found.said[top], supports=top == 0)
    return [said, picture_evidence(question, best, found.answers, found.seen)]


def _said_by_model(
    made_by: Provenance, answer: str, probability: float, *, supports: bool = True
) -> Evidence:
    text = f"{made_by.model} by itself says {answer!r}"
    return Evidence("model", text, round(probability, DIGITS), supports)


def _short(text: str, most: int = 60) -> str:
    return text if len(text) <= most else text[: most - 1] + "…"
