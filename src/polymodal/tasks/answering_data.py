"""Answers that are data: a question with a schema, put to a generator, validated and checked.

Notable: the data is what `polymodal.tasks.structured` makes of the answers, as for `extract`. Each
value that is a statement is held against the picture, or against the text in it, and the one that
fits least counts. Where every value is null, nothing was found, and it abstains.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from typing import Any

from polymodal.models.wording import split_words
from polymodal.results_answers import Answer, Evidence
from polymodal.tasks.answer_checks import SENTENCE, check
from polymodal.tasks.answering import Asking, Case
from polymodal.tasks.showing import Shown
from polymodal.tasks.structured import Structured
from polymodal.tasks.text_answers import TextLine, supported

__all__ = ["checked_data"]

MOST_CHECKED = 20
"""Values of one answer that are compared."""


def checked_data(
    asking: Asking,
    case: Case,
    shown: Shown,
    lines: Sequence[TextLine],
    found: Structured,
    *,
    prior: tuple[float, Evidence],
) -> Answer:
    """The answer that carries the data, or one that abstains.

    Args:
        prior: the confidence before the check, and what it rests on.
    """
    data = _plain(found)
    values = list(_values(data))
    if values and all(value is None for value in values):
        nothing = f"{case.made_by.model} found nothing to fill in: every value is null"
        return asking.unsure(case, Evidence("model", nothing))
    confidence, said = prior
    evidence = [said]
    if asking.grounded:
        confidence, checked = _check(asking, case, shown, lines, values, prior=confidence)
        evidence += checked
    evidence += [Evidence("missing", note) for note in shown.notes]
    each = [(json.dumps(data, ensure_ascii=False), confidence)]
    answer = asking.answer(case, each, confidence, evidence)
    return answer if answer.abstained else replace(answer, data=data, value=found.data)


def _plain(found: Structured) -> Any:
    """As JSON values, what a pydantic class made of them included."""
    dump = getattr(found.data, "model_dump", None)
    return found.json if dump is None else dump(mode="json", by_alias=True)


def _values(data: Any) -> Iterator[Any]:
    """The values at the ends of objects and lists."""
    if isinstance(data, Mapping):
        for each in data.values():
            yield from _values(each)
    elif isinstance(data, list):
        for each in data:
            yield from _values(each)
    else:
        yield data


def _check(
    asking: Asking,
    case: Case,
    shown: Shown,
    lines: Sequence[TextLine],
    values: Sequence[Any],
    *,
    prior: float,
) -> tuple[float, list[Evidence]]:
    told = [_words(value, lines) for value in values if value is not None and value != ""]
    is_read = case.question.kind == "text" or shown.kind != "picture"
    if len(told) != 1 and not (is_read and lines):
        told = [text for text in told if len(split_words(text)) >= SENTENCE]
    if not told:
        why = f"the data makes no statement that could be compared with the {shown.kind}"
        return prior, [Evidence("picture", why)]
    each = [
        check(asking, shown, (case.question, text), lines, prior) for text in told[:MOST_CHECKED]
    ]
    confidence = min(found for found, _ in each)
    return confidence, list(dict.fromkeys(item for _, checked in each for item in checked))


def _words(value: Any, lines: Sequence[TextLine]) -> str:
    """A value as an answer would say it; an amount as the lines say it (12.50 for 12.5)."""
    if isinstance(value, bool):
        return "yes" if value else "no"
    amount = f"{value:.2f}" if isinstance(value, float) else ""
    return amount if amount and supported(amount, lines) else str(value)
