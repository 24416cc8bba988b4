"""Amounts of money on a receipt, and what speaks for one of them being the total.

Notable: candidates are values, not places: a total that is printed three times is one candidate
with the evidence of all three. Arithmetic is part of the evidence: what is paid less the change,
the sum before rounding plus the rounding, the subtotal plus the tax. Thousands are apart as they
are anywhere: 1,250.30, 1.250,30, 1'250.30, 1 250,30, 1,24,500.00.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass

from polymodal.models.receipts.dates import DateFound
from polymodal.models.receipts.layout import Cell, Sheet
from polymodal.models.receipts.words import AMOUNT_WORDS

__all__ = ["AMOUNT_FEATURES", "MONEY", "Amount", "amount_features", "by_value", "find_amounts"]

MONEY = re.compile(
    r"(?<!\d)(?<!\d[.,:/'])(?P<sign>-\s?)?"
    r"(?:(?P<unit>RM|MYR|USD|SGD|EUR|GBP|CHF|S\$|US\$|R\$|[$€£₹¥])?\s?(?P<minus>-)?\s?"
    r"(?P<whole>\d{1,3}(?:[.,']\d{3})+|\d{1,2}(?:,\d{2})+,\d{3}"
    # After a blank, thousands go with a decimal comma or a unit before them: "2 125.00" is two.
    r"|(?(unit)\d{1,3}(?: \d{3})+|\d{1,3}(?: \d{3})+(?=\s?,))|\d{1,7})\s?[.,]\s?(?P<cents>\d{2})"
    r"|(?P<coin>[¥₹₩₫]|JPY|KRW|(?<![^\W\d_])(?:Rs\.?|Rp\.?))\s?"
    r"(?P<round>\d{1,3}(?:[.,]\d{3})+|\d{1,2}(?:,\d{2})+,\d{3}|\d{1,8})(?:/-)?)"
    r"(?![\d%])(?!\s?%)(?![.,:/]\d)",
    re.IGNORECASE,
)
"""An amount: with two decimals, or behind a unit that often goes without."""
_SAVED = re.compile(
    r"\b(?:total|you|your)[^\w(]+(?:(?!after|incl|less|net\b|with\b)\w+[^\w(]+)?"
    r"(?:sav(?:ed?|ings?)|disc(?:ount)?s?|points?)\b|\bsavings?\b",
    re.IGNORECASE,
)
"""A row about what was not paid; "total after discount" was."""
_ROUNDING_CENTS = 5
_PAIR = ("total", "grand", "rounded", "due", "including")

AMOUNT_FEATURES = (
    *(f"beside {name}" for name in AMOUNT_WORDS),
    *(f"above {name}" for name in ("total", "due", "cash", "tax")),
    "beside no word", "times", "largest", "rank", "share of largest", "first place", "last place",
    "height", "has unit", "right", "zero", "cash less change", "cash as is", "rounded from a total",
    "rounds to a total", "subtotal plus tax", "sum of items", "last total row", "first total row",
    "largest of total rows", "round number", "total beside and not sub", "before cash",
    "only total row", "total in row of two", "total plus rounding", "before rounding",
    "adds up exactly",
)  # fmt: skip


@dataclass(frozen=True)
class Amount:
    """An amount in a cell.

    Attributes:
        cents: its value in hundredths; negative for a reduction.
        text: as printed.
        is_round: it stands there without hundredths.
        words: the row's other text, or that of the row above where there is none.
    """

    cents: int
    text: str
    unit: str
    cell: Cell
    words: str
    above: str
    kinds: frozenset[str]
    is_round: bool = False


def find_amounts(sheet: Sheet, dates: Sequence[DateFound]) -> list[Amount]:
    """Every amount that is not part of a date, in reading order."""
    found = []
    for number, row in enumerate(sheet.rows):
        spans = [(cell, match) for cell in row for match in _matches(cell, dates)]
        if not spans:
            continue
        words = _without_amounts(row)
        above = _without_amounts(sheet.rows[number - 1]) if number else ""
        kinds = frozenset(name for name, pattern in AMOUNT_WORDS.items() if pattern.search(words))
        for cell, match in spans:
            whole = re.sub(r"\D", "", match["whole"] or match["round"])
            cents = int(whole) * 100 + int(match["cents"] or 0)
            if match["sign"] or match["minus"]:
                cents = -cents
            unit = (match["unit"] or match["coin"] or "").upper()
            text, is_round = match[0].strip(), match["cents"] is None
            found.append(Amount(cents, text, unit, cell, words, above, kinds, is_round))
    return found


def by_value(amounts: Sequence[Amount]) -> dict[int, list[Amount]]:
    """Amounts that could be a total, by value: none below zero, nor what was saved."""
    values: dict[int, list[Amount]] = {}
    for amount in amounts:
        if amount.cents >= 0 and not _SAVED.search(amount.words):
            values.setdefault(amount.cents, []).append(amount)
    return values


def amount_features(
    sheet: Sheet, amounts: Sequence[Amount], values: dict[int, list[Amount]]
) -> list[list[float]]:
    """One row of `AMOUNT_FEATURES` for every value."""
    facts = _Facts(sheet, amounts, values)
    return [facts.row(cents, places) for cents, places in values.items()]


class _Facts:
    """What is the same for all values of a sheet."""

    def __init__(
        self, sheet: Sheet, amounts: Sequence[Amount], values: dict[int, list[Amount]]
    ) -> None:
        self.rows = max(len(sheet.rows), 1)
        self.row_sizes = [len(row) for row in sheet.rows]
        self.ranked = sorted(values, reverse=True)
        self.largest = max(self.ranked, default=1) or 1
        named = [a for a in amounts if a.cents >= 0]
        self.cash = {a.cents for a in named if a.kinds & {"cash", "card"}}
        self.change = {a.cents for a in named if "change" in a.kinds}
        self.rounding = {abs(a.cents) for a in amounts if "rounding" in a.kinds}
        self.signed = {a.cents for a in amounts if "rounding" in a.kinds and a.cents}
        self.tax = {a.cents for a in named if "tax" in a.kinds}
        self.sub = {a.cents for a in named if a.kinds & {"sub", "excluding"}}
        self.totals = [a for a in named if "total" in a.kinds and not a.kinds & {"sub", "count"}]
        self.total_values = {a.cents for a in self.totals}
        self.total_rows = [a.cell.row for a in self.totals]
        items = [a for a in named if not a.kinds - {"count"}]
        first = min(self.total_rows, default=self.rows)
        last_of_row = {a.cell.row: a.cents for a in items if a.cell.row < first}
        self.item_sum = sum(last_of_row.values())
        self.cash_rows = [a.cell.row for a in named if a.kinds & {"cash", "card"}]

    def row(self, cents: int, places: list[Amount]) -> list[float]:
        kinds = frozenset().union(*(a.kinds for a in places))
        above = " ".join(a.above for a in places)
        rows = [a.cell.row for a in places]
        total_rows = [
            a.cell.row for a in places if "total" in a.kinds and not a.kinds & {"sub", "count"}
        ]
        near = [r for r in range(1, _ROUNDING_CENTS + 1) if not self.rounding or r in self.rounding]
        return [
            *(float(name in kinds) for name in AMOUNT_WORDS),
            *(float(bool(AMOUNT_WORDS[n].search(above))) for n in ("total", "due", "cash", "tax")),
            float(any(not a.words.strip() for a in places)),
            float(min(len(places), 5)),
            float(cents == self.ranked[0]),
            float(min(self.ranked.index(cents), 10)),
            cents / self.largest,
            min(rows) / self.rows,
            max(rows) / self.rows,
            max(a.cell.height for a in places),
            float(any(a.unit for a in places)),
            max(a.cell.right for a in places),
            float(cents == 0),
            float(any(c - cents in self.change for c in self.cash if c > cents)),
            float(cents in self.cash),
            float(any(cents + s * r in self.total_values for r in near for s in (1, -1))),
            float(bool(self.rounding) and cents in self.total_values
                  and any(cents + s * r in self.ranked for r in near for s in (1, -1))),
            float(any(abs(cents - s - t) <= _ROUNDING_CENTS for s in self.sub for t in self.tax)),
            float(self.item_sum > 0 and abs(cents - self.item_sum) <= _ROUNDING_CENTS),
            float(bool(total_rows) and max(total_rows) == max(self.total_rows)),
            float(bool(total_rows) and min(total_rows) == min(self.total_rows)),
            float(cents in self.total_values and cents == max(self.total_values)),
            float(cents % 500 == 0),
            float(bool(total_rows)),
            float(any(0 < c - r <= 2 for c in self.cash_rows for r in rows)),
            float(self.total_values == {cents}),
            float(any(self.row_sizes[row] == 2 for row in total_rows)),
            float(any(cents - r in self.total_values for r in self.signed)),
            float(any(cents + r in self.ranked for r in self.signed)),
            float(
                any(
                    cents == sub + tax + r
                    for sub in self.sub
                    for tax in self.tax
                    for r in (self.signed or {0})
                )
            ),
        ]  # fmt: skip


def _matches(cell: Cell, dates: Sequence[DateFound]) -> list[re.Match[str]]:
    taken = [found.span for found in dates if found.cell is cell]
    return [
        match
        for match in MONEY.finditer(cell.text)
        if not any(match.start() < end and start < match.end() for start, end in taken)
    ]


def _without_amounts(row: Sequence[Cell]) -> str:
    return " ".join(MONEY.sub(" ", cell.text) for cell in row)
