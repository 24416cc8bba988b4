"""Lines of a document as the receipt model sees them: cleaned text, sizes relative to the page.

Notable: pages are stacked into one strip, and every length is divided by the strip's width or by
the median line height, so that a photograph, a scan and a PDF look the same.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Sequence
from dataclasses import dataclass

from polymodal.results_documents import Line, PageInfo

__all__ = ["Cell", "Sheet", "clean_text", "lay_out"]

_SPACES = re.compile(r"\s+")
_LOOKALIKES = str.maketrans({"‐": "-", "‑": "-", "–": "-", "—": "-", "’": "'", "‘": "'", "`": "'"})


@dataclass(frozen=True)
class Cell:
    """A line with its place.

    Attributes:
        line: as it was read.
        text: cleaned: compatibility characters folded, single blanks.
        row: number of the row it stands in, from 0.
        left, right: 0..1 over the width of what is printed.
        top, bottom: in median line heights from the first line.
        height: relative to the median.
    """

    line: Line
    text: str
    row: int
    left: float
    right: float
    top: float
    bottom: float
    height: float

    @property
    def middle(self) -> float:
        """Of the height."""
        return (self.top + self.bottom) / 2


@dataclass(frozen=True)
class Sheet:
    """All cells in reading order, and the same by rows."""

    cells: tuple[Cell, ...]
    rows: tuple[tuple[Cell, ...], ...]


def clean_text(text: str) -> str:
    """Full-width and other compatibility characters as plain ones, single blanks."""
    folded = unicodedata.normalize("NFKC", text).translate(_LOOKALIKES)
    return _SPACES.sub(" ", folded).strip()


def lay_out(lines: Sequence[Line], pages: Sequence[PageInfo], rows: Sequence[int] = ()) -> Sheet:
    """Cells of upright lines (see `upright`), in the order given.

    Args:
        rows: the row of every line; without, each line has a row of its own.
    """
    if not lines:
        return Sheet((), ())
    offsets, start = {}, 0.0
    for page in pages:
        offsets[page.page] = start
        start += page.height_px if page.rotation in {0, 180} else page.width_px
    boxes = [_shifted(line, offsets.get(line.page, 0.0)) for line in lines]
    heights = sorted(max(box[3] - box[1], 1.0) for box in boxes)
    unit = heights[len(heights) // 2]
    first_left, last_right = min(box[0] for box in boxes), max(box[2] for box in boxes)
    first_top, width = min(box[1] for box in boxes), max(last_right - first_left, 1.0)
    numbers: list[int] = []
    given = list(rows or range(len(lines)))
    for index, row in enumerate(given):
        numbers.append(numbers[-1] + (row != given[index - 1]) if numbers else 0)
    cells = tuple(
        Cell(
            line,
            clean_text(line.text),
            number,
            (box[0] - first_left) / width,
            (box[2] - first_left) / width,
            (box[1] - first_top) / unit,
            (box[3] - first_top) / unit,
            (box[3] - box[1]) / unit,
        )
        for line, box, number in zip(lines, boxes, numbers, strict=True)
    )
    grouped: list[list[Cell]] = [[] for _ in range(numbers[-1] + 1)]
    for cell in cells:
        grouped[cell.row].append(cell)
    return Sheet(cells, tuple(tuple(row) for row in grouped))


def _shifted(line: Line, offset: float) -> tuple[float, float, float, float]:
    left, top, right, bottom = line.box
    return left, top + offset, right, bottom + offset
