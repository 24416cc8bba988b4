"""Sizes in a query: "size 42", "size M", "in XL"."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping

from polymodal.search.filters import And, Comparison, Filter, In, Scalar
from polymodal.search.queryterms import Reading, name_words

__all__ = ["read_sizes"]

LETTERS = r"(?:[2-6]|x{1,4})[xs]?[sl]|[sml]"
WORDS = {
    "extra small": "XS",
    "small": "S",
    "medium": "M",
    "large": "L",
    "extra large": "XL",
}
NUMBER = r"\d{1,3}(?:\.5)?"
VALUE = rf"(?P<value>{NUMBER}|(?:extra[\s-])?(?:small|large)|medium|{LETTERS})(?![\w.'-]|\s*%)"
SIZED = re.compile(
    rf"(?:\bin\s+|\bof\s+)?(?:\ba\s+)?(?<![\w-])sizes?\b\s*[:=]?\s*(?:(?P<low>{NUMBER})\s*(?:-|–|to)\s*(?P<high>{NUMBER})\b"
    rf"|{VALUE})",
    re.IGNORECASE,
)
BEFORE_SIZE = re.compile(
    rf"(?:\bin\s+)?(?<![\w.'-])(?P<value>(?:extra[\s-])?(?:small|large)|medium|{LETTERS})[\s-]sized?\b",
    re.IGNORECASE,
)
# Without the word "size" only capital letters count, and one letter only at the end of a phrase.
IN_LETTERS = re.compile(r"\bin\s+(?P<value>(?:[2-6]|X{1,4})[XS]?[SL])(?![\w.'-])")
IN_LETTER = re.compile(r"\bin\s+(?P<value>[SML])(?=\s*(?:$|[,;.!?]|and\b|under\b|below\b|for\b))")


def read_sizes(query: str, fields: Mapping[str, str]) -> Iterator[Reading]:
    """Sizes as conditions on the field whose name says size, if there is one."""
    field = _size_field(fields)
    if field is None:
        return
    end = 0
    for pattern in (SIZED, BEFORE_SIZE, IN_LETTERS, IN_LETTER):
        for found in pattern.finditer(query):
            tree = _condition(field, fields[field], found)
            if tree is not None and found.start() >= end:
                yield Reading(found.start(), found.end(), tree)
                return  # one size a query: two would contradict each other


def _size_field(fields: Mapping[str, str]) -> str | None:
    ranked = [
        (len(words), position, name)
        for position, (name, kind) in enumerate(fields.items())
        if kind != "bool" and {"size", "sizes"} & set(words := name_words(name).split())
    ]
    return min(ranked)[-1] if ranked else None


def _condition(field: str, kind: str, found: re.Match[str]) -> Filter | None:
    groups = found.groupdict()
    if groups.get("low"):
        low, high = sorted((_plain(groups["low"]), _plain(groups["high"])))
        bounds = (Comparison(field, ">=", low), Comparison(field, "<=", high))
        return And(bounds) if kind == "number" else None
    spoken = " ".join(re.split(r"[\s-]+", groups["value"].lower()))
    if spoken[0].isdigit() and spoken.replace(".", "").isdigit():
        number = _plain(spoken)
        # A text field may hold "42", and a column of mixed sizes the number 42.
        return Comparison(field, "=", number) if kind == "number" else In(field, (spoken, number))
    if kind == "number":
        return None
    letters = WORDS.get(spoken, spoken.upper())
    names: list[Scalar] = [letters, letters.lower()]
    names += [form for word, short in WORDS.items() if short == letters for form in _cased(word)]
    return In(field, tuple(names))


def _plain(digits: str) -> float:
    return float(digits) if "." in digits else int(digits)


def _cased(word: str) -> tuple[str, ...]:
    return word, word.capitalize(), word.title() if " " in word else word.upper()
