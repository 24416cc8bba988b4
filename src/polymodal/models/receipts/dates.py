"""Dates as receipts print them: found, tidied, and turned into calendar days.

Notable: the printed text is kept beside the day, since 03/04/2018 is March or April depending on
where it was printed; another date of the document may tell, or an American address, and otherwise
the day comes first.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import date

from polymodal.models.receipts.layout import Cell, Sheet
from polymodal.models.receipts.words import US_STATES

__all__ = [
    "DATE_FEATURES",
    "DateFound",
    "calendar_day",
    "date_features",
    "find_dates",
    "is_american",
    "of_the_receipt",
]

_MONTHS = ["jan", "feb", "mar", "apr", "may", "jun", "jul", "aug", "sep", "oct", "nov", "dec"]
_MALAY = {"mac": 3, "mei": 5, "ogo": 8, "okt": 10, "dis": 12, "jun": 6, "jul": 7}
_MONTH = "|".join([*_MONTHS, *(m for m in _MALAY if m not in _MONTHS)])
_DIGIT = "[0-9OoIl]"
_YEAR = rf"(?:2[0Oo]{_DIGIT}{{2}}|19{_DIGIT}{{2}}|{_DIGIT}{{2}}(?!{_DIGIT}))"
_SEP = r"\s?(?P<sep>[/.\-])\s?"
_SAME = r"\s?(?P=sep)\s?"
_PATTERNS = (
    (
        "ymd",
        rf"(?<!\w)(?P<a>2[0Oo]{_DIGIT}{{2}}){_SEP}(?P<b>{_DIGIT}{{1,2}}){_SAME}(?P<c>{_DIGIT}{{1,2}})",
    ),
    (
        "dmy",  # also stuck to the time before it
        rf"(?:(?<![\w.])|(?<=\d[AP]M))(?P<a>{_DIGIT}{{1,2}}){_SEP}(?P<b>{_DIGIT}{{1,2}}){_SAME}(?P<c>{_YEAR})",
    ),
    (
        "text",
        rf"(?<!\w)(?P<a>{_DIGIT}{{1,2}})[\s\-./,]*(?P<b>{_MONTH})[a-z]*[\s\-./,']*(?P<c>{_YEAR})",
    ),
    (
        "text us",
        rf"\b(?P<a>{_MONTH})[a-z]*\.?\s?(?P<b>{_DIGIT}{{1,2}})(?:st|nd|rd|th)?,?\s(?P<c>{_YEAR})",
    ),
    (
        "broken",
        r"(?<![\w.\-/])(?P<a>[0-3]\d)\s(?P<b>[01]\d)(?P<sep>[/\-])(?P<c>\d{2}|20\d{2})(?!\w)",
    ),
    ("compact", r"(?<!\w)(?P<a>20[0-3]\d)(?P<b>0\d|1[0-2])(?P<c>[0-2]\d|3[01])(?!\w)"),
    ("compact dmy", r"(?<!\w)(?P<a>[0-2]\d|3[01])(?P<b>0\d|1[0-2])(?P<c>20[0-3]\d)(?!\w)"),
)
_COMPILED = tuple((name, re.compile(pattern, re.IGNORECASE)) for name, pattern in _PATTERNS)
_KINDS = tuple(name for name, _ in _PATTERNS)
_NUMERIC = {"dmy", "broken", "compact dmy"}
"""Kinds whose day and month could be swapped."""
_TIME = re.compile(r"\d{1,2}[:.]\d{2}(?:[:.]\d{2})?\s?(?:[ap]m)?", re.IGNORECASE)
_DATE_WORD = re.compile(r"(?<![^\W\d_])(?:date|tarikh|dt|bizdate|datum|fecha)(?![^\W\d_])", re.I)
_OTHER_WORD = re.compile(r"expir|valid|due|until|before|period|member|birth|from|to\b|print", re.I)
_OF_SOMETHING_ELSE = re.compile(
    r"(?<![^\W\d_])(?:expir\w*|exp|valid(?:ity)?|until|through|due|pay(?:able)? by|best before|"
    r"use by|birth|dob|since|period|arriv(?:al|es?|ing)|depart(?:s|ure)?|check[\s-]?(?:in|out)|"
    r"g[üu]ltig(?:keit)?|f[äa]llig(?:keit)?|zahlbar)(?![^\W\d_])"
    r"(?:[\W_]{0,3}(?:date|day|on|by|of|until|till|to|from|is|at|bis|am|ab)(?![^\W\d_])){0,2}"
    r"[\W_]{0,5}$",
    re.IGNORECASE,
)
"""What just before a date says that nothing was bought or billed on that day: "due date:", but not
a shop called DUE FRATELLI."""
_AMERICAN = re.compile(
    rf"\w,\s*(?:{US_STATES})\.?,?\s+\d{{5}}(?:-\d{{4}})?(?!\w)"
    rf"|[^\W\d_]{{3,}}\s(?!ID|OR|IN|DE|OK|ME|HI|CO)(?:{US_STATES})\s+\d{{5}}(?:-\d{{4}})?(?!\w)"
)
"""A place, its state and its number; without the comma "CASHIER ID 12345" would be in Idaho."""
_FIX = str.maketrans({"O": "0", "o": "0", "I": "1", "l": "1"})

DATE_FEATURES = (
    *(f"kind {kind}" for kind in _KINDS),
    "date word", "date word above", "other word", "time beside", "first", "last", "repeats",
    "share of dates", "place", "score", "alone in its cell", "four-digit year", "dashed",
)  # fmt: skip


@dataclass(frozen=True)
class DateFound:
    """A date in a cell.

    Attributes:
        text: as printed, without stray blanks, letters that stand for digits corrected.
        kind: which pattern.
        parts: the three numbers in printed order.
    """

    text: str
    kind: str
    parts: tuple[int, int, int]
    cell: Cell
    span: tuple[int, int]

    @property
    def month_first(self) -> bool | None:
        """Whether it can only be month/day/year; None where both readings are possible."""
        if self.kind not in _NUMERIC:
            return None
        first, second, _ = self.parts
        if first > 12 >= second:
            return False
        return True if second > 12 >= first else None


def find_dates(sheet: Sheet) -> list[DateFound]:
    """Every date in reading order; a stretch of text is one date at most."""
    found = []
    for cell in sheet.cells:
        taken: list[tuple[int, int]] = []
        for kind, pattern in _COMPILED:
            for match in pattern.finditer(cell.text):
                if any(match.start() < end and start < match.end() for start, end in taken):
                    continue
                parts = _parts(kind, match)
                if parts is not None:
                    taken.append(match.span())
                    text = _tidy(kind, match)
                    found.append(DateFound(text, kind, parts, cell, match.span()))
    return found


def of_the_receipt(sheet: Sheet, dates: Sequence[DateFound]) -> list[DateFound]:
    """The dates that can be the receipt's own: not when a bill is due or an offer ends."""
    return [each for each in dates if not _OF_SOMETHING_ELSE.search(_before(sheet, dates, each))]


def _before(sheet: Sheet, dates: Sequence[DateFound], found: DateFound) -> str:
    """The words before a date: in its cell, else left of it, else above it."""
    cell, text = found.cell, found.cell.text[: found.span[0]]
    for other in dates:
        if other.cell is cell and other.span[1] <= found.span[0]:
            text = text.replace(cell.text[slice(*other.span)], "")
    if re.search(r"[^\W\d_]", text):
        return text
    row = sheet.rows[cell.row]
    place = next(index for index, each in enumerate(row) if each is cell)
    if place and not any(other.cell is row[place - 1] for other in dates):
        return row[place - 1].text
    above = sheet.rows[cell.row - 1] if cell.row else ()
    over = [each for each in above if each.left < cell.right and cell.left < each.right]
    return over[0].text if over else ""


def is_american(sheet: Sheet) -> bool:
    """Whether an address in it is in the United States."""
    return any(_AMERICAN.search(cell.text) for cell in sheet.cells)


def calendar_day(
    found: DateFound, others: list[DateFound], *, american: bool = False
) -> date | None:
    """The day; where day and month could be swapped, as the other dates have them, else as dates
    are written in America or elsewhere.
    """
    first, second, third = found.parts
    if found.kind in {"ymd", "compact"}:
        return _day(first, second, third)
    if found.kind == "text us":
        return _day(third, first, second)
    month_first = found.month_first
    if month_first is None and found.kind in _NUMERIC:
        month_first = next((o.month_first for o in others if o.month_first is not None), american)
    return _day(third, first, second) if month_first else _day(third, second, first)


def date_features(sheet: Sheet, dates: list[DateFound]) -> list[list[float]]:
    """One row of `DATE_FEATURES` for every date."""
    bottom = max((cell.bottom for cell in sheet.cells), default=1.0) or 1.0
    rows = []
    for index, each in enumerate(dates):
        row = sheet.rows[each.cell.row]
        words = " ".join(cell.text for cell in row)
        above = " ".join(c.text for c in sheet.rows[each.cell.row - 1]) if each.cell.row else ""
        same = sum(other.parts == each.parts for other in dates)
        start, end = each.span
        rest = each.cell.text[:start] + " " + each.cell.text[end:]
        rows.append(
            [
                *(float(each.kind == kind) for kind in _KINDS),
                float(bool(_DATE_WORD.search(words))),
                float(bool(_DATE_WORD.search(above))),
                float(bool(_OTHER_WORD.search(words))),
                float(bool(_TIME.search(rest))),
                float(index == 0),
                float(index == len(dates) - 1),
                float(same > 1),
                same / len(dates),
                each.cell.middle / bottom,
                each.cell.line.score,
                float(len(rest.strip()) <= 2),
                float(max(each.parts) > 999),
                float("-" in each.text),
            ]
        )
    return rows


def _parts(kind: str, match: re.Match[str]) -> tuple[int, int, int] | None:
    words = [match["a"], match["b"], match["c"]]
    numbers = [_MALAY.get(w[:3].lower(), 0) or _number(w) for w in words]
    parts = (numbers[0], numbers[1], numbers[2])
    if kind in {"ymd", "compact"}:
        valid = _day(*parts) is not None
    elif kind == "text us":
        valid = _day(parts[2], parts[0], parts[1]) is not None
    else:
        valid = any(
            _day(parts[2], *middle) is not None
            for middle in ((parts[1], parts[0]), (parts[0], parts[1]))
        )
    return parts if valid else None


def _number(word: str) -> int:
    """Digits, or the name of a month."""
    month = word[:3].lower()
    if month in _MONTHS:
        return _MONTHS.index(month) + 1
    return int(word.translate(_FIX))


def _day(year: int, month: int, day: int) -> date | None:
    if year < 100:
        year += 2000
    try:
        found = date(year, month, day)
    except ValueError:
        return None
    return found if 1980 <= found.year <= 2079 else None


def _tidy(kind: str, match: re.Match[str]) -> str:
    """As printed; separators that were not read are put back."""
    if kind.startswith("text"):
        return re.sub(r"\s+", " ", match[0]).strip()
    if kind in {"broken", "compact dmy"}:
        return (match["sep"] if kind == "broken" else "/").join(match.group("a", "b", "c"))
    return re.sub(r"\s", "", match[0]).translate(_FIX)
