"""Receipts for training: lines as they were read, kept; fields; and which lines hold them.

    python -m recipes.starter.receipts --data DIR --cache FOLDER

`DIR/sroie` holds `img/NNN.jpg` and `key/NNN.json` (ICDAR 2019 SROIE, task 3).
"""

from __future__ import annotations

import difflib
import functools
import json
import re
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from polymodal.models.receipts.layout import Sheet, lay_out
from polymodal.models.receipts.pieces import Piece, pieces_of
from polymodal.results_documents import Line, PageInfo

FIELDS = ("company", "date", "address", "total")


@dataclass(frozen=True, eq=False)
class Receipt:
    """One receipt: its lines laid out, and its true fields."""

    name: str
    sheet: Sheet
    fields: dict[str, str]

    @property
    def merchant(self) -> str:
        """Receipts of one merchant share it, whatever the OCR or the label's typing."""
        company = self.fields["company"].lower().replace("ted heng", "teo heng")
        return re.sub(r"[^a-z]", "", company)[:8]


def read_receipts(data: Path, cache: Path) -> list[Receipt]:
    """All receipts below `data`, read once with the package's own reader and kept in `cache`."""
    names = sorted(path.stem for path in (data / "sroie" / "key").glob("*.json"))
    missing = [name for name in names if not (cache / f"{name}.json").exists()]
    if missing:
        _read(data, cache, missing)
    receipts = []
    for name in names:
        kept = json.loads((cache / f"{name}.json").read_text())
        lines = [Line(text, tuple(box), score) for text, box, score in kept["lines"]]
        page = PageInfo(1, *kept["size"])
        fields = json.loads((data / "sroie" / "key" / f"{name}.json").read_text())
        receipts.append(Receipt(name, lay_out(lines, [page], kept["rows"]), fields))
    return receipts


def _read(data: Path, cache: Path, names: list[str]) -> None:
    import polymodal as pm

    cache.mkdir(parents=True, exist_ok=True)
    suite = pm.Suite(cache=False)
    for name in names:
        reading = suite.read(data / "sroie" / "img" / f"{name}.jpg")
        page = reading.pages[0]
        kept = {
            "size": [page.width_px, page.height_px],
            "lines": [[line.text, line.box, line.score] for line in reading.lines],
            "rows": reading.rows,
        }
        (cache / f"{name}.json").write_text(json.dumps(kept))


def squeezed(text: str) -> str:
    """Without blanks, case folded: how values are compared."""
    return re.sub(r"\s+", "", text).casefold()


def blanked(text: str) -> str:
    """Runs of blanks as one, case folded: the stricter comparison."""
    return re.sub(r"\s+", " ", text).strip().casefold()


def letters(text: str) -> str:
    """Letters and digits alone, case folded: what lines are found by."""
    return re.sub(r"[\W_]", "", text).casefold()


@functools.cache
def label_pieces(receipt: Receipt, field: str) -> tuple[list[Piece], list[int]]:
    """The receipt's pieces, and 1 for those that the field's true value was printed in."""
    pieces = pieces_of(receipt.sheet)
    wanted = letters(receipt.fields[field])
    marks = [0] * len(pieces)
    best, span = 0.0, range(0)
    for start in range(len(pieces)):
        text = ""
        for end in range(start, min(start + 7, len(pieces))):
            text += letters(pieces[end].text)
            if len(text) > 1.6 * len(wanted) + 12:
                break
            score = difflib.SequenceMatcher(None, wanted, text, autojunk=False).ratio()
            if score > best + 1e-9:
                best, span = score, range(start, end + 1)
    if best >= 0.6:
        for index in span:
            marks[index] = 1
    return pieces, marks


def thinned(receipt: Receipt, share: float, seed: int) -> Receipt:
    """The receipt without a random share of its cells, as if they had not been read."""
    keep = np.random.default_rng(seed).random(len(receipt.sheet.cells)) >= share
    cells = [cell for cell, kept in zip(receipt.sheet.cells, keep, strict=True) if kept]
    page = PageInfo(1, 1, 1)
    sheet = lay_out([c.line for c in cells], [page], [c.row for c in cells])
    return Receipt(f"{receipt.name} without {share:.0%}", sheet, receipt.fields)
