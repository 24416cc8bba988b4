"""Pieces of a receipt that may be its company or part of its address, and their features.

Notable: a piece is a row, its cells joined where they stand close together; what a word says about
a field is learnt as a log-odds table from training receipts and handed in as `WordScores`.
"""

from __future__ import annotations

import math
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from polymodal.models.receipts.layout import Cell, Sheet
from polymodal.models.receipts.words import LINE_WORDS, tokens

__all__ = ["PIECE_FEATURES", "Piece", "WordScores", "piece_features", "pieces_of"]

WordScores = Mapping[str, Mapping[str, float]]
"""Field ("company", "address") to word to its log-odds."""

MOST_PIECES = 60
"""Of one document; company and address stand at the top, rarely at the bottom of a short one."""
_JOINED_GAP = 1.5
"""Line heights between cells of one piece."""
_POSTCODE = re.compile(r"(?<!\d)\d{5}(?!\d)")
_NUMBERED = re.compile(r"^\W*(?:no\b|lot\b|unit\b|level\b|\d+[\w\-/]*\s?,|\d+\s?[a-z]?\b)", re.I)
_PHONE = re.compile(r"(?:\+?\d[\s\-]?){8,}")
_MONEY = re.compile(r"\d[.,]\d{2}(?!\d)")
_CLOCK = re.compile(r"\d{1,2}:\d{2}|\d[/\-]\d{1,2}[/\-]\d{2}")
_BRACKETED = re.compile(r"^\W*\(?[\w\s\-.:]*\d{4,}[\-\s]?\w?\W*$")
_LETTER = re.compile(r"[^\W\d_]")
_OWN = (
    "row", "place", "height", "width", "off centre", "left", "right", "gap above", "gap below",
    "length", "words", "digits", "letters", "capitals", "signs", "commas", "ends in comma",
    "ends in full stop", "colon", "bracket", "postcode", "numbered", "phone", "money", "clock",
    "registration number", "score", "cells",
)  # fmt: skip
_NEAR = (
    "ends in comma", "postcode", "numbered", "phone", "registration number", "letters", "height",
    "commas", "gap above", *LINE_WORDS,
)  # fmt: skip
_FIELDS = ("company", "address")
_BASE = (*_OWN, *LINE_WORDS, *(f"words of {field}" for field in _FIELDS))
PIECE_FEATURES = (
    *_BASE,
    *(f"{name}, {where}" for where in ("before", "after") for name in (*_NEAR, *_FIELDS)),
    *(f"{name}, two {where}" for where in ("before", "after") for name in ("postcode", *_FIELDS)),
    "rows to first postcode", "rows to first heading", "rows to first firm", "rows to first phone",
    "largest above", "order of height",
)  # fmt: skip


@dataclass(frozen=True)
class Piece:
    """Cells of one row that stand close together."""

    cells: tuple[Cell, ...]
    text: str

    @property
    def row(self) -> int:
        """Number of the row on the sheet."""
        return self.cells[0].row


def pieces_of(sheet: Sheet) -> list[Piece]:
    """The first pieces of a sheet that hold a letter or a digit, in reading order."""
    pieces: list[Piece] = []
    unit = _unit(sheet)
    for row in sheet.rows:
        group: list[Cell] = []
        for cell in row:
            if group and (cell.left - group[-1].right) * unit > _JOINED_GAP:
                pieces.append(_piece(group))
                group = []
            group.append(cell)
        pieces.append(_piece(group))
        if len(pieces) >= MOST_PIECES:
            break
    return [piece for piece in pieces if re.search(r"[^\W_]", piece.text)]


def _unit(sheet: Sheet) -> float:
    """The width of what is printed, in median line heights."""
    for cell in sheet.cells:
        box = cell.line.box
        if cell.right > cell.left:
            width_px = (box[2] - box[0]) / (cell.right - cell.left)
            return width_px / max((box[3] - box[1]) / max(cell.height, 1e-6), 1e-6)
    return 20.0


def _piece(cells: Sequence[Cell]) -> Piece:
    return Piece(tuple(cells), " ".join(cell.text for cell in cells))


def piece_features(pieces: Sequence[Piece], scores: WordScores) -> list[list[float]]:
    """One row of `PIECE_FEATURES` for every piece."""
    if not pieces:
        return []
    base = [_base(pieces, index, scores) for index in range(len(pieces))]
    index_of = {name: position for position, name in enumerate(_BASE)}
    near = [index_of[name] for name in _NEAR] + [index_of[f"words of {f}"] for f in _FIELDS]
    far = [index_of["postcode"], *(index_of[f"words of {f}"] for f in _FIELDS)]
    firsts = [_first(base, index_of[name]) for name in ("postcode", "heading", "firm", "phone")]
    heights = [row[index_of["height"]] for row in base]
    ordered = sorted(heights, reverse=True)
    blank = [0.0] * len(_BASE)

    def at(index: int) -> list[float]:
        return base[index] if 0 <= index < len(base) else blank

    rows = []
    for index, own in enumerate(base):
        rows.append(
            [
                *own,
                *(at(index - 1)[i] for i in near),
                *(at(index + 1)[i] for i in near),
                *(at(index - 2)[i] for i in far),
                *(at(index + 2)[i] for i in far),
                *(max(-12.0, min(12.0, float(index - first))) for first in firsts),
                max(heights[:index], default=0.0),
                float(min(ordered.index(heights[index]), 8)),
            ]
        )
    return rows


def _first(base: Sequence[Sequence[float]], column: int) -> int:
    """Index of the first piece with that feature; past the end where there is none."""
    return next((i for i, row in enumerate(base) if row[column] > 0), len(base))


def _base(pieces: Sequence[Piece], index: int, scores: WordScores) -> list[float]:
    piece, text = pieces[index], pieces[index].text
    first, last = piece.cells[0], piece.cells[-1]
    above = pieces[index - 1].cells[0].bottom if index else first.top - 3
    below = pieces[index + 1].cells[0].top if index + 1 < len(pieces) else last.bottom + 3
    length = max(len(text), 1)
    letters = len(_LETTER.findall(text))
    words = tokens(text)
    own = [
        float(min(index, 20)),
        min(first.top, 40.0),
        max(cell.height for cell in piece.cells),
        last.right - first.left,
        abs((first.left + last.right) / 2 - 0.5),
        first.left,
        last.right,
        max(-1.0, min(5.0, first.top - above)),
        max(-1.0, min(5.0, below - last.bottom)),
        float(len(text)),
        float(len(words)),
        sum(c.isdigit() for c in text) / length,
        letters / length,
        sum(c.isupper() for c in text) / max(letters, 1),
        sum(not c.isalnum() and not c.isspace() for c in text) / length,
        float(text.count(",")),
        float(text.endswith(",")),
        float(text.endswith(".")),
        float(":" in text),
        float("(" in text),
        float(bool(_POSTCODE.search(text))),
        float(bool(_NUMBERED.search(text))),
        float(bool(_PHONE.search(text))),
        float(bool(_MONEY.search(text))),
        float(bool(_CLOCK.search(text))),
        float(bool(_BRACKETED.search(text))),
        min(cell.line.score for cell in piece.cells),
        float(len(piece.cells)),
    ]
    kinds = [float(len(pattern.findall(text))) for pattern in LINE_WORDS.values()]
    learnt = [_score(words, scores.get(field, {})) for field in _FIELDS]
    return [*own, *kinds, *learnt]


def _score(words: Sequence[str], table: Mapping[str, float]) -> float:
    """How much the words speak for a field: the sum of what is known, bounded."""
    total = math.fsum(table.get(word, 0.0) for word in words)
    return max(-6.0, min(6.0, total))
