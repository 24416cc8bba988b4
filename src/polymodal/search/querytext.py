"""Prices and sizes written in a query become filters: "saree under 2000 rupees".

Notable: this only reads what the collection can answer (a numeric price field, a size field, or a
numeric field that the query names), leaves the rest as the text to search, and says what it read.
It prefers to miss a price over inventing one: a bare number counts only where it can hardly mean
anything else, so "more than 3 dogs", "women over 40" and "from 1990" stay text.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import lru_cache
from typing import cast

from polymodal.search import filters
from polymodal.search.filters import And, Comparison, Filter, Operator
from polymodal.search.querysizes import read_sizes
from polymodal.search.queryterms import Amount, Reading, amount_pattern, name_words

__all__ = ["Understanding", "understand"]

PRICE_NAMES = ("price", "cost", "amount", "mrp", "fee", "fare", "rent")
CURRENCY_CODES = {"$": "usd", "€": "eur", "£": "gbp", "₹": "inr", "¥": "jpy"} | {
    word: code
    for code, words in {
        "usd": "usd dollar dollars bucks us$",
        "eur": "eur euro euros",
        "gbp": "gbp pound pounds",
        "inr": "inr rs rs. rupee rupees /-",
        "jpy": "jpy yen",
    }.items()
    for word in words.split()
}

COMPARISONS: tuple[tuple[str, Operator], ...] = (
    (
        r"(?:no|not)\s+(?:more|higher|costlier)\s+than|at\s+most|up\s*to|upto|<=|≤|within"
        r"|max(?:imum)?(?:\s+(?:price|cost)(?:\s*(?:is|of|:))?)?"
        r"|(?:(?:within|in|on|with)\s+)?(?:an?\s+|my\s+)?budget(?:\s*(?:is|of|:))?",
        "<=",
    ),
    (
        r"(?:no|not)\s+(?:less|lower|cheaper)\s+than|at\s+least|>=|≥"
        r"|min(?:imum)?(?:\s+(?:price|cost)(?:\s*(?:is|of|:))?)?",
        ">=",
    ),
    (r"starting\s+(?:from|at)|from", ">="),
    (r"under|below|(?:less(?:\s+expensive)?|lower|cheaper|lesser)\s+than|<", "<"),
    (r"over|above|(?:more|greater|higher|costlier|pricier|more\s+expensive)\s+than|>", ">"),
)
AFTERWORDS: tuple[tuple[str, Operator], ...] = (
    (r"\+|(?:and|or)\s+(?:up|above|over|more|higher)\b", ">="),
    (r"(?:and|or)\s+(?:less|below|under|lower|cheaper)\b", "<="),
)
PRICE_LEAD = (
    r"(?:(?:with|at|in|of|for|that|which)\s+)?(?:an?\s+|the\s+)?(?:is\s+|are\s+)?"
    r"(?:prices?|priced|costs?|costing|budget|mrp|worth|selling\s+for)"
    r"(?:\s+range)?(?:\s*(?:is|are|of|at|:))?\s*"
)
MONEY = re.compile(r"\b(?:pric|cost|budget|mrp|worth|selling)", re.IGNORECASE)
LINK = r"(?:(?:for|at|that|which|with|is|are)\s+)*"

# What may follow a bare number for it still to be a price: the end, or a word that starts anew.
NEW_PHRASE = re.compile(
    r"\s*(?:$|[,.;:!?()&|]|(?:and|or|but|for|with|without|in|on|by|from|to|at|under|over|above"
    r"|below|less|more|up|only|please|near|of|made|that|which|not|no|size|sized)\b)",
    re.IGNORECASE,
)
UNIT = re.compile(
    r"\s*(?:%|°|[\"″'′]|(?:percent|years?|yrs?|yo|months?|weeks?|days?|hours?|hrs?|minutes?|mins?"
    r"|seconds?|secs?|people|persons?|guests?|kgs?|kilos?|kilograms?|grams?|gms?|g|mg|lbs?|oz"
    r"|ounces?|mm|cms?|centimet(?:er|re)s?|m|meters?|metres?|kms?|kilomet(?:er|re)s?|miles?|mph|kmph"
    r"|inch(?:es)?|in\.|ft|foot|feet|yards?|ml|l|lit(?:er|re)s?|gb|mb|tb|mah|w|watts?|v|volts?|hz|px"
    r"|pixels?|mp|megapixels?|pages?|pieces?|pcs|items?|seats?|degrees?|calories|kcal|resolution"
    r"|stars?|times|players|floors?|stor(?:ey|ie)s|st|nd|rd|th|s)\b)",
    re.IGNORECASE,
)
AGED_BEFORE = re.compile(
    r"\b(?:people|persons?|wom[ae]n|m[ae]n|kids?|child(?:ren)?|adults?|girls?|boys?|toddlers?|age|aged"
    r"|ages|teams?|players?|seniors?|crowd)\s*$",
    re.IGNORECASE,
)
# Words that led to what was read, or joined it to the rest.
LEADING_ON = re.compile(
    r"(?:[\s,;:&-]|\b(?:and|but|or|with|for|in|at|a|an|the|that|which|is|are)\b)+$", re.IGNORECASE
)
LEADING_OFF = re.compile(r"^(?:[\s,;:.&-]|(?:and|but|or|only)\b)+", re.IGNORECASE)
MAX_CHARACTERS = 500
"""A longer text is a description, not a request with a price."""
SMALLEST_BARE = 10
LEAST_OTHERWISE = 100
"""A bare number below this is a price only after "under" and its like, before a pause."""
YEARS = range(1900, 2100)


@dataclass(frozen=True)
class Understanding:
    """What a query says.

    Attributes:
        text: what is left to search by meaning; the whole query where nothing else is left.
        filter: the conditions read, or None.
        notes: one sentence a condition ("price < 2000, read from 'under 2000 rupees'").
        unusable: a condition on a price that is read but is kept as text, so that it cannot be
            compared; it is left in `text` and is not part of `filter`.
    """

    text: str
    filter: Filter | None = None
    notes: tuple[str, ...] = ()
    unusable: Filter | None = None


def understand(query: str, fields: Mapping[str, str]) -> Understanding:
    """Read prices, sizes and conditions on named numeric fields out of a query.

    Args:
        query: what the user typed.
        fields: the collection's metadata fields, name to `number`, `text` or `bool`.
    """
    if len(query) > MAX_CHARACTERS:
        return Understanding(query)
    numeric = tuple(name for name, kind in fields.items() if kind == "number")
    readings = [*_amounts(query, numeric)]
    unusable = None if readings else _unusable(query, fields)
    taken = [(reading.start, reading.end) for reading in readings]
    readings += [
        size
        for size in read_sizes(query, fields)
        if all(size.end <= start or size.start >= end for start, end in taken)
    ]
    if not readings:
        return Understanding(query, unusable=unusable)
    readings.sort(key=lambda reading: reading.start)
    notes = tuple(
        f"{filters.describe(one.filter)}, read from {query[one.start : one.end].strip()!r}"
        for one in readings
    )
    parts = tuple(part for one in readings for part in _flat(one.filter))
    rest = _without(query, readings)
    tree = parts[0] if len(parts) == 1 else And(parts)
    return Understanding(rest or query, tree, notes, unusable)


def _unusable(query: str, fields: Mapping[str, str]) -> Filter | None:
    """What the query says of a price that the collection has as text only."""
    prices = tuple(
        name
        for name, kind in fields.items()
        if kind == "text" and not set(PRICE_NAMES).isdisjoint(name_words(name).split())
    )
    parts = tuple(reading.filter for reading in _amounts(query, prices)) if prices else ()
    return And(parts) if parts else None


def _flat(tree: Filter) -> tuple[Filter, ...]:
    return tree.filters if isinstance(tree, And) else (tree,)


def _without(query: str, readings: list[Reading]) -> str:
    """The query less what was read, tidied of words that led to it."""
    pieces: list[str] = []
    at = 0
    for reading in readings:
        piece = LEADING_ON.sub("", query[at : reading.start])
        pieces.append(LEADING_OFF.sub("", piece) if at else piece)
        at = reading.end
    pieces.append(LEADING_OFF.sub("", query[at:]))
    return " ".join(" ".join(pieces).split())


def _amounts(query: str, numeric: tuple[str, ...]) -> Iterator[Reading]:
    """Conditions on the price field and on numeric fields that the query names."""
    at = 0
    while at < len(query):
        nearest = None
        for pattern in _patterns(numeric):
            found = pattern.search(query, at)
            if found and (nearest is None or found.start() < nearest.start()):
                nearest = found
        if nearest is None:
            return
        reading = _reading(query, nearest, numeric)
        if reading is not None:
            yield reading
        # What was not a condition may still contain one, a word later.
        at = reading.end if reading else _next_word(query, nearest.start())


def _next_word(query: str, at: int) -> int:
    found = re.compile(r"\S\s+(?=\S)|\S\b(?=\W)").search(query, at)
    return found.end() if found else len(query)


@lru_cache(maxsize=64)
def _patterns(numeric: tuple[str, ...]) -> tuple[re.Pattern[str], ...]:
    """The four ways to give bounds; the fields' own names may stand before them."""
    spelled = sorted(_spoken_names(numeric), key=len, reverse=True)
    named = "|".join(re.escape(words).replace(r"\ ", r"[\s_-]+") for words in spelled if words)
    lead = (
        rf"(?:\b(?:with\s+|of\s+)?(?:an?\s+|the\s+)?(?P<named>{named})\b\s*(?:is\s+|of\s+|:\s*)?|"
    )
    lead = f"(?:{lead if named else '(?:'}\\b{PRICE_LEAD}))?"
    one, other = amount_pattern("a"), amount_pattern("b")
    words = "|".join(f"(?P<op{i}>{words})" for i, (words, _) in enumerate(COMPARISONS))
    after = "|".join(f"(?P<after{i}>{words})" for i, (words, _) in enumerate(AFTERWORDS))
    dash = r"\s*(?:-|–|—|\bto\b|\btill\b|\buntil\b)\s*"
    sources = (
        rf"{lead}(?P<range>\b(?:in\s+)?between)\s+{one}\s*(?:and|to|-|–|&)\s*{other}",
        rf"{lead}(?P<range>\bfrom\s+)?(?<![\w.-]){one}{dash}{other}",
        rf"{lead}{LINK}(?:(?<!\w)(?:{words}))\s*(?:an?\s+price\s+of\s+)?{one}",
        rf"{lead}(?<![\w.-]){one}\s*(?:{after})",
    )
    return tuple(re.compile(source, re.IGNORECASE) for source in sources)


def _reading(query: str, found: re.Match[str], numeric: tuple[str, ...]) -> Reading | None:
    groups = found.groupdict()
    first = Amount.of(groups, "a")
    second = Amount.of(groups, "b") if groups.get("b_number") else None
    currency = first.currency or (second.currency if second else "")
    field = _field(groups, numeric, currency)
    if field is None or first.value is None or (second and second.value is None):
        return None
    strong = bool(currency or groups.get("named") or MONEY.search(found.group()))
    if not strong and not _bare_is_price(query, found, first, second):
        return None
    if second is not None:
        low, high = sorted((_shared_factor(first, second), cast(float, second.value)))
        bounds: tuple[Filter, ...] = (Comparison(field, ">=", low), Comparison(field, "<=", high))
        return Reading(found.start(), found.end(), And(bounds))
    return Reading(found.start(), found.end(), Comparison(field, _operator(groups), first.value))


def _shared_factor(first: Amount, second: Amount) -> float:
    """The first number of "1-2k": the suffix counts for both where the order stays right."""
    value, last = cast(float, first.value), cast(float, second.value)
    scaled = value * second.factor
    return scaled if first.factor == 1 and scaled <= last else value


def _operator(groups: Mapping[str, str | None]) -> Operator:
    for prefix, table in (("op", COMPARISONS), ("after", AFTERWORDS)):
        for i, (_, op) in enumerate(table):
            if groups.get(f"{prefix}{i}"):
                return op
    raise AssertionError("a pattern matched without a comparison")


def _field(groups: Mapping[str, str | None], numeric: tuple[str, ...], currency: str) -> str | None:
    """The field that is meant: the one named, or the price field that fits the currency best."""
    if named := groups.get("named"):
        spoken = re.sub(r"[\s_-]+", " ", named).lower()
        return _spoken_names(numeric).get(spoken)
    code = CURRENCY_CODES.get(currency.lower().strip(), "")
    ranked = []
    for position, name in enumerate(numeric):
        words = name_words(name).split()
        rank = next((i for i, known in enumerate(PRICE_NAMES) if known in words), None)
        if rank is not None:
            ranked.append((code not in words or not code, rank, len(words), position, name))
    return min(ranked)[-1] if ranked else None


def _spoken_names(numeric: tuple[str, ...]) -> dict[str, str]:
    """What people say for each field: its words, or the last of them where only it ends so."""
    spoken: dict[str, str] = {}
    lasts = [name_words(name).split()[-1:] for name in numeric]
    for name, last in zip(numeric, lasts, strict=True):
        if lasts.count(last) == 1 and last and len(last[0]) > 2:
            spoken[last[0]] = name
    return spoken | {words: name for name in numeric if (words := name_words(name))}


def _bare_is_price(query: str, found: re.Match[str], first: Amount, second: Amount | None) -> bool:
    """Whether a number without currency, price word or field name can hardly be anything else."""
    after = query[found.end() :]
    values = [cast(float, amount.value) for amount in (first, second) if amount]
    if (
        min(values) < SMALLEST_BARE
        or UNIT.match(after)
        or AGED_BEFORE.search(query[: found.start()])
    ):
        return False
    groups = found.groupdict()
    if second is not None:
        both_years = all(value in YEARS for value in values)
        least = SMALLEST_BARE if "between" in (groups.get("range") or "") else LEAST_OTHERWISE
        wanted = bool(groups.get("range")) and not both_years and min(values) >= least
        return wanted and bool(NEW_PHRASE.match(after))
    if groups.get("op2") or any(groups.get(f"after{i}") for i in range(len(AFTERWORDS))):
        return False  # "from 1990", "12 and up": too often a date or an age
    below = groups.get("op3") or groups.get("op0")
    if not below and values[0] < LEAST_OTHERWISE:
        return False  # "temperature above 30"
    if NEW_PHRASE.match(after):
        return True
    # "over 500 people", but "under 500 red saree"
    return bool(below) and values[0] >= LEAST_OTHERWISE
