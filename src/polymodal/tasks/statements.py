"""From a question and an answer to a statement that can be compared with a picture.

Notable: an answer alone says little to a model that compares pictures with texts; "a brown dog"
beside "a black dog" says what "brown" is about. The answers it is held against are those of
`alternatives.toml`, of the same kind: colors against colors, places against places.
"""

from __future__ import annotations

import tomllib
from dataclasses import dataclass, replace
from functools import cache
from importlib import resources

from polymodal.tasks.questions import Question, plural

__all__ = ["alternatives", "is_there", "others", "phrase", "statement"]


@dataclass(frozen=True)
class _Lists:
    answers: dict[str, tuple[str, ...]]
    of_verb: dict[str, str]
    without_article: frozenset[str]
    on: frozenset[str]


@cache
def _lists() -> _Lists:
    source = resources.files("polymodal.tasks") / "alternatives.toml"
    data = tomllib.loads(source.read_text(encoding="utf-8"))
    answers = {str(name): tuple(map(str, words)) for name, words in data["answers"].items()}
    words = data["words"]
    return _Lists(
        answers, dict(data["of_verb"]), frozenset(words["without_article"]), frozenset(words["on"])
    )


def alternatives(question: Question) -> tuple[str, ...]:
    """Answers that such a question can have; () where it has no closed list."""
    lists = _lists()
    if question.kind == "yesno":
        return ("yes", "no")
    if question.kind == "object":
        verb = question.verb
        name = lists.of_verb.get(verb) or lists.of_verb.get(verb.split()[0], "")
        return lists.answers.get(name, ())
    return lists.answers.get(question.kind, ())


def is_there(question: Question) -> Question:
    """Whether what a question is about is there at all."""
    return replace(question, kind="yesno", verb="")


def others(question: Question) -> tuple[str, ...]:
    """For a yes-or-no question: statements about other things that pictures show."""
    return tuple(phrase(word) for word in _lists().answers["thing"] if word != question.subject)


def statement(question: Question, answer: str) -> str:
    """What is true of the picture if the answer is right; "" where that cannot be said.

    The statement of "no" is that of "yes": the thing whose absence is claimed.
    """
    subject = question.subject
    if question.kind == "object":
        what = answer if question.verb == "doing" else f"{question.verb} {phrase(answer)}"
        return f"{phrase(subject)} {what}"
    if question.kind == "place":
        where = "on" if answer in _lists().on else "in"
        return f"{phrase(subject)} {where} the {answer}"
    if question.kind == "count":
        return f"{answer} {subject if answer == 'one' else plural(subject)}"
    if question.kind == "color":
        return phrase(f"{answer} {subject}")
    return phrase(subject) if question.kind == "yesno" else ""


def phrase(words: str) -> str:
    """Words with their indefinite article, where they take one."""
    last = words.rsplit(maxsplit=1)[-1]
    if last in _lists().without_article or plural(last) == last:
        return words
    return f"{'an' if words[0] in 'aeiou' else 'a'} {words}"
