"""Answers to questions about text in a picture, from its lines and from nothing else.

Notable: what a line says is only ever an answer, never something to be followed. The question's
own words are looked for in the lines; the value stands after them, in the same row, or below, and
must be of the kind that is asked for (an amount, a date, a number). What no line supports is not
answered.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Protocol

from polymodal.models.receipts.amounts import MONEY
from polymodal.models.wording import split_words

__all__ = ["Found", "TextLine", "find_in_lines", "supported"]

Box = tuple[float, float, float, float]


class TextLine(Protocol):
    """What is needed of a line of text; `polymodal.results_documents.Line` fits."""

    @property
    def text(self) -> str:
        """As it was read."""
        ...

    @property
    def box(self) -> Box:
        """Left, top, right, bottom, in pixels of the page."""
        ...

    @property
    def score(self) -> float:
        """How sure the reader is, 0..1."""
        ...

    @property
    def page(self) -> int:
        """From 1."""
        ...


@dataclass(frozen=True)
class Found:
    """An answer and the lines that it was read from; no text where no line supports one."""

    text: str
    confidence: float
    lines: tuple[TextLine, ...] = ()
    reason: str = ""


_MONEY = re.compile(
    rf"(?:{MONEY.pattern})"
    r"|(?:rm|rs|usd|eur|gbp|inr|[$€£₹¥])\s?\.?\s?\d+(?:[.,]\d+)?|\b\d+(?:[.,]\d{1,2})?\s?[$€£₹¥]",
    re.IGNORECASE,
)
_MONTH = r"(?:jan|feb|mar|apr|may|jun|jul|aug|sep|oct|nov|dec)[a-z]*"
_DATE = re.compile(
    r"\b\d{1,2}\s?[/.-]\s?\d{1,2}\s?[/.-]\s?(?:\d{4}|\d{2})\b|\b\d{4}[/.-]\d{1,2}[/.-]\d{1,2}\b"
    rf"|\b\d{{1,2}}[ -]?{_MONTH}[ -,]*\d{{2,4}}\b|\b{_MONTH} \d{{1,2}},? \d{{4}}\b",
    re.IGNORECASE,
)
_TIME = re.compile(r"\b\d{1,2}:\d{2}(?::\d{2})?(?:\s?[ap]\.?m\b\.?)?", re.IGNORECASE)
_PHONE = re.compile(r"\+?\d[\d ()./-]{5,}\d")
_NUMBER = re.compile(r"[#]?[A-Za-z]{0,5}[-/ ]?\d[\w./-]*")

_KINDS: dict[str, tuple[re.Pattern[str], set[str]]] = {
    "amount": (
        _MONEY,
        {"total", "subtotal", "amount", "price", "cost", "costs", "sum", "tax", "gst", "vat",
         "change", "cash", "discount", "rounding", "balance", "due", "much", "prices"},
    ),
    "date": (_DATE, {"date", "when", "day", "expire", "expires"}),
    "time": (_TIME, {"time"}),
    "phone": (_PHONE, {"phone", "telephone", "tel", "fax", "mobile"}),
    "number": (_NUMBER, {"number", "numbers", "digits", "code", "id", "plate", "no", "year"}),
}  # fmt: skip
_ALL = {"say", "says", "said", "written", "write", "writing", "text", "texts", "read", "reads",
        "word", "words", "letters", "spelled", "printed", "transcribe", "spell"}  # fmt: skip
_SMALL = {
    "what", "is", "are", "was", "were", "the", "a", "an", "this", "that", "of", "on", "in", "at",
    "to", "for", "does", "do", "did", "it", "its", "which", "how", "from", "by", "and", "there",
    "receipt", "invoice", "bill", "picture", "image", "photo", "photograph", "page", "document",
    "shown", "here", "please", "me", "tell", "paid", "pay", "given", "back", "be",
    "has", "have", "'s", "their",
}  # fmt: skip
_MEANS = {
    "phone": {"phone", "tel", "telephone", "hp", "mobile", "contact"},
    "number": {"number", "no", "num", "nr", "#"},
    **dict.fromkeys(("invoice", "receipt", "bill"), ("invoice", "inv", "receipt", "bill")),
    "tax": {"tax", "gst", "vat", "sst"},
    "cash": {"cash", "paid", "tendered", "payment"},
    "total": {"total", "amount due", "grand total", "balance due"},
    "due": {"due", "payable"},
    "company": {"company", "sdn", "bhd", "ltd", "inc", "gmbh", "llc", "enterprise", "trading"},
}
_NUMBERED = {"invoice", "receipt", "bill"}
"""Of these, an invoice's number is asked for; its total is just the total."""
_PICTURED = {"jersey", "shirt", "sign", "bus", "train"}
"""What wears a number without saying what it is."""
_APART = {"fax", "expire", "expires"}
"""Signs of a kind that are one of several: the only number or date there need not be theirs."""
_OF_ALL = {"company", "store", "shop", "merchant", "seller", "vendor", "restaurant", "business",
           "purchase", "transaction", "sale", "issued", "bought", "made"}  # fmt: skip
"""Whose a date or a phone number on a receipt is, said or not."""
HALF = 0.5
"""Of the words asked for: with no more in a line, it is as likely about something else."""
_NOT_TOTAL = re.compile(
    r"sub\s?-?total|total\s*(?:qty|quantity|items?|tax|gst|disc|saving|point|excl|before|ex\b)"
    r"|(?:tax|gst|disc\w*|qty|item\w*|saving\w*|rounding|change)\s*(?:total|amount)|excl",
    re.IGNORECASE,
)


def find_in_lines(wording: str, lines: Sequence[TextLine]) -> Found:
    """What the lines of a picture answer to a question about them.

    Args:
        wording: the question's words, lower case.
        lines: in reading order.
    """
    if not lines:
        return Found("", 0.0, reason="no text was found in the picture")
    words = split_words(wording)
    kind = next((name for name, (_, signs) in _KINDS.items() if signs & set(words)), "")
    keys = _keys(words, kind)
    if not kind and set(words) & _ALL:
        text = " ".join(line.text.strip() for line in lines)
        return Found(text, _mean([line.score for line in lines]), tuple(lines), "all lines")
    if kind and (found := _valued(kind, keys, lines)) is not None:
        return found
    if not kind and keys and (found := _after_key(keys, lines)) is not None:
        return found
    what = " ".join(keys) or kind or wording
    return Found("", 0.0, reason=f"no line of the picture's text supports an answer on {what!r}")


def supported(answer: str, lines: Sequence[TextLine]) -> tuple[TextLine, ...]:
    """The lines that an answer can have been read from: they hold it, or all of its numbers."""
    plain = _plain(answer)
    if not plain:
        return ()
    holding = tuple(line for line in lines if plain in _plain(line.text))
    if holding:
        return holding
    numbers = {_digits(number) for number in re.findall(r"\d[\d.,]*\d|\d", answer)}
    if not numbers:
        whole = _plain(" ".join(line.text for line in lines))
        return tuple(lines) if plain in whole else ()
    found = {
        number: line
        for line in lines
        for number in map(_digits, re.findall(r"\d[\d.,]*\d|\d", line.text))
        if number in numbers
    }
    return _unique(list(found.values())) if len(found) == len(numbers) else ()


@dataclass(frozen=True)
class _Value:
    text: str
    line: TextLine
    key: TextLine | None
    fits: float
    """How well the place speaks for it, 0..1."""


def _keys(words: Sequence[str], kind: str) -> list[str]:
    """The words of a question that may stand beside the answer."""
    kept = [word for word in words if word not in _SMALL and word not in _ALL]
    if kind == "number":
        signs = _KINDS[kind][1]
        kept = [a for a, b in pairwise(words) if a in _NUMBERED and b in signs] + kept
    if kind == "amount":
        kept = [word for word in kept if word not in {"amount", "price", "cost", "costs", "much"}]
        kept = kept or ["total"]  # "how much was paid?"
    if kind == "phone":
        kept = [word for word in kept if word != "number"]
    if kind in {"date", "time"}:
        kept = [word for word in kept if word not in {"when", "day"}]
    return kept


def _valued(kind: str, keys: Sequence[str], lines: Sequence[TextLine]) -> Found | None:
    """A value of the kind beside the keys; without a key in the lines, the only one there is."""
    pattern = _KINDS[kind][0]
    plain_keys = list(keys)
    if kind in {"phone", "date", "time"}:
        plain_keys = [key for key in plain_keys if key not in _OF_ALL] or plain_keys
    total = "total" in plain_keys and "subtotal" not in plain_keys
    values: list[_Value] = []
    for line in lines:
        share = _holds(plain_keys, line.text)
        if kind == "number" and share <= HALF:
            values += _directly_behind(plain_keys, line)
        if share <= HALF or (total and _NOT_TOTAL.search(line.text)):
            continue
        ends = [match.end() for key in plain_keys for match in _found(key, line.text)[:1]]
        # An amount stands last in its row, anything else just after its name.
        after = 0 if kind == "amount" else max(ends, default=0)
        values += _beside(line, share, pattern, lines, after)
    if values:
        return _best(values, total=total)
    named = set(plain_keys) - (_KINDS[kind][1] - _APART) - _OF_ALL - _PICTURED
    if kind != "amount" and not named:
        return _only(kind, pattern, lines)
    return None


def _beside(
    line: TextLine,
    share: float,
    pattern: re.Pattern[str],
    lines: Sequence[TextLine],
    after: int,
) -> list[_Value]:
    """Values in the key's line, else to the right in its row, else just below.

    Args:
        after: where the key ends; the first value behind it is taken. 0 takes the last one.
    """
    inside = list(pattern.finditer(line.text))
    behind = [match for match in inside if match.start() >= after > 0]
    if inside:
        best = behind[0] if behind else inside[-1]
        return [_Value(best.group().strip(), line, line, share)]
    for place, fits in ((_right_of, 0.95), (_below, 0.7)):
        for other in sorted(
            (each for each in lines if each is not line and place(line, each)),
            key=lambda each: (each.box[0] - line.box[0]) ** 2 + (each.box[1] - line.box[1]) ** 2,
        ):
            if matches := list(pattern.finditer(other.text)):
                return [_Value(matches[-1].group().strip(), other, line, share * fits)]
    return []


def _directly_behind(keys: Sequence[str], line: TextLine) -> list[_Value]:
    """A number just behind the thing whose number it is: "Table 12"."""
    things = [key for key in keys if key not in _KINDS["number"][1]]
    if len(things) != 1:
        return []
    for key in _found(things[0], line.text):
        match = _NUMBER.match(line.text[key.end() :].lstrip(" :.-"))
        if match and not _MONEY.match(match.group()):
            return [_Value(match.group().strip(), line, line, 0.9)]
    return []


def _best(values: Sequence[_Value], *, total: bool) -> Found:
    """The value whose place speaks most for it; several that disagree make it less sure."""
    best = max(values, key=lambda value: value.fits)
    near = [value for value in values if value.fits >= best.fits - 0.05]
    if total:  # the amount to pay stands last, and is often said twice
        counts = {id(value): sum(_same(value, other) for other in near) for value in near}
        best = max(near, key=lambda value: (counts[id(value)], value.line.box[1]))
    agree = sum(_same(best, value) for value in near) / len(near)
    lines = _unique([line for line in (best.key, best.line) if line is not None])
    confidence = best.fits * agree * min(line.score for line in lines)
    return Found(best.text, confidence, lines, "the line that names it")


def _only(kind: str, pattern: re.Pattern[str], lines: Sequence[TextLine]) -> Found | None:
    values = [
        _Value(match.group().strip(), line, None, 0.9)
        for line in lines
        for match in pattern.finditer(line.text)
    ]
    if not values:
        return None
    first = values[0]
    agree = sum(_same(first, value) for value in values) / len(values)
    return Found(
        first.text,
        first.fits * agree * first.line.score,
        (first.line,),
        f"the only {kind} there" if agree == 1 else f"the first {kind} there",
    )


def _after_key(keys: Sequence[str], lines: Sequence[TextLine]) -> Found | None:
    """What follows a key in its line, or stands right of it."""
    best = max(lines, key=lambda line: _holds(keys, line.text))
    share = _holds(keys, best.text)
    if share < 1:
        return None
    ends = [match.end() for key in keys for match in _found(key, best.text)]
    rest = best.text[max(ends, default=0) :].strip(" :.-#=")
    if rest:
        return Found(rest, share * best.score, (best,), "what follows the key")
    for other in lines:
        if other is not best and _right_of(best, other):
            both = min(best.score, other.score)
            return Found(other.text.strip(), 0.8 * both, (best, other), "what stands beside it")
    return None


def _holds(keys: Sequence[str], text: str) -> float:
    """The share of the keys that a text holds; 0 without keys."""
    if not keys:
        return 0.0
    return _mean([float(bool(_found(key, text))) for key in keys])


def _found(key: str, text: str) -> list[re.Match[str]]:
    """Where a text says the key, or what means the same."""
    words = "|".join(re.escape(word) for word in sorted(_MEANS.get(key, {key})))
    return list(re.finditer(rf"(?<![a-z])(?:{words})(?![a-z])", text, re.IGNORECASE))


def _right_of(line: TextLine, other: TextLine) -> bool:
    """In the same row, to the right."""
    height = min(line.box[3] - line.box[1], other.box[3] - other.box[1])
    shared = min(line.box[3], other.box[3]) - max(line.box[1], other.box[1])
    right = other.box[0] >= line.box[0] + 0.5 * (line.box[2] - line.box[0])
    return line.page == other.page and right and shared > 0.4 * height


def _below(line: TextLine, other: TextLine) -> bool:
    """In the next row, overlapping in width."""
    height = line.box[3] - line.box[1]
    gap = other.box[1] - line.box[3]
    shared = min(line.box[2], other.box[2]) - max(line.box[0], other.box[0])
    return line.page == other.page and -0.5 * height < gap < 1.5 * height and shared > 0


def _same(one: _Value, other: _Value) -> bool:
    return _plain(one.text) == _plain(other.text)


def _unique(lines: Sequence[TextLine]) -> tuple[TextLine, ...]:
    return tuple({id(line): line for line in lines}.values())


def _plain(text: str) -> str:
    return re.sub(r"[^\w%]+", "", text.lower())


def _digits(number: str) -> str:
    return re.sub(r"\D", "", number)


def _mean(values: Sequence[float]) -> float:
    return sum(values) / len(values)
