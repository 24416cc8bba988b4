"""What `read` and `extract` return: lines with their place on the page, and fields with evidence.

Notable: a box is in pixels of the page as the file shows it (EXIF applied); where a page had to be
turned to be read, `PageInfo.rotation` says by how much, and `Line.box` still fits the file.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal, TypeAlias

from polymodal.results import Provenance

__all__ = ["Box", "Extraction", "FieldEvidence", "Line", "PageInfo", "Reading"]

Box: TypeAlias = tuple[float, float, float, float]
"""left, top, right, bottom, in pixels of the page."""


@dataclass(frozen=True)
class Line:
    """A line of text, or a cell of one: what stands together on a page.

    Attributes:
        box: left, top, right, bottom, in pixels of the page.
        score: how sure the reader is, 0..1; 1 for a text layer.
        page: number of the page, from 1.
    """

    text: str
    box: Box
    score: float
    page: int = 1


@dataclass(frozen=True)
class PageInfo:
    """One page that was read.

    Attributes:
        width_px, height_px: of the page that boxes refer to; a PDF page is measured at the
            resolution at which it is read.
        rotation: degrees clockwise by which the page was turned to be read: 0, 90, 180 or 270.
        source: where the lines come from.
    """

    page: int
    width_px: int
    height_px: int
    rotation: int = 0
    source: Literal["ocr", "text layer"] = "ocr"


@dataclass(frozen=True)
class Reading:
    """The text of one document, in reading order."""

    input: str
    lines: tuple[Line, ...]
    pages: tuple[PageInfo, ...]
    provenance: Provenance
    rows: tuple[int, ...] = ()
    """For every line the number of its row in the document: cells of one row share it."""

    @property
    def text(self) -> str:
        """Row by row, cells of a row apart by two blanks, pages by a form feed."""
        return "\f".join(
            "\n".join("  ".join(line.text for line in row) for row in rows)
            for rows in self.page_rows().values()
        )

    @property
    def markdown(self) -> str:
        """Headings where letters are large, tables where rows have the same cells, lists, and
        paragraphs, in which lines that are full run on.

        Pages are apart by a rule. What could be taken for Markdown is escaped.
        """
        upright = {page.page: not page.rotation for page in self.pages}
        pages = self.page_rows().items()
        return "\n\n---\n\n".join(_markdown(rows, upright.get(n, False)) for n, rows in pages)

    def page_rows(self) -> dict[int, list[list[Line]]]:
        """Page number to its rows of cells; a page without text has none."""
        pages: dict[int, list[list[Line]]] = {page.page: [] for page in self.pages}
        last = None
        for number, line in zip(self.rows or range(len(self.lines)), self.lines, strict=True):
            rows = pages.setdefault(line.page, [])
            if number == last and rows:
                rows[-1].append(line)
            else:
                rows.append([line])
            last = number
        return pages


@dataclass(frozen=True)
class FieldEvidence:
    """Where a field's value was read: the text as printed, its box, and its page from 1."""

    text: str
    box: Box
    page: int


@dataclass(frozen=True)
class Extraction:
    """Typed data from one document.

    Attributes:
        data: field to JSON value; a field that nothing in the document supports is None.
        confidence: field to probability in 0..1; 0 where the value is None.
        evidence: field to where its value was read; fields without evidence are absent.
        problems: rules that are broken and fields that could not be filled, for a person.
        value: the validated object of the schema's class, where there is one and it is valid.
    """

    input: str
    data: Mapping[str, Any]
    confidence: Mapping[str, float]
    evidence: Mapping[str, FieldEvidence]
    problems: tuple[str, ...]
    provenance: Provenance
    value: Any = None


_LARGE = 1.6
"""Times the median height that makes a line a heading."""
_APART = 0.9
"""Heights between two lines that make a new paragraph."""
_TABLE_ROWS = 2
_RUNNING_CHARS = 40
_RUNNING_SHARE = 0.8
"""Of the longest line that begins at the same place: a line this long goes on in the next."""
_BULLET = re.compile(r"^[•◦▪▸‣●○■□∙·–](?:\s+(?=\S)|$)")
_LABEL = re.compile(r"^\(?(?:\d{1,3}|[a-z])[.)]$")


def _markdown(rows: list[list[Line]], measured: bool) -> str:
    """One page; without measures (it was turned) there are no headings and no paragraphs."""
    heights = sorted(line.box[3] - line.box[1] for row in rows for line in row)
    usual = heights[len(heights) // 2] if heights else 1.0
    blocks: list[str] = []
    index = 0
    above: list[Line] | None = None
    while index < len(rows):
        row = rows[index]
        if (item := _list_item(row)) is not None:
            is_next = index > 0 and _list_item(rows[index - 1]) is not None
            blocks[-1:] = [f"{blocks[-1]}\n{item}"] if is_next else [*blocks[-1:], item]
            index, above = index + 1, None
            continue
        alike = index
        while alike < len(rows) and len(rows[alike]) == len(row) > 1:
            if _list_item(rows[alike]) is not None:
                break
            alike += 1
        if alike - index >= _TABLE_ROWS:
            blocks.append(_table(rows[index:alike]))
            index, above = alike, None
            continue
        text = "  ".join(_escaped(line.text) for line in row)
        large = min(line.box[3] - line.box[1] for line in row) > _LARGE * usual
        if measured and large:
            blocks.append(f"## {text}")
            row = []
        elif above and (not measured or -usual < _top(row) - _bottom(above) < _APART * usual):
            if measured and _goes_on(above, row, rows, usual):
                blocks[-1] += ("" if blocks[-1].endswith("-") else " ") + text
            else:
                blocks[-1] += f"\\\n{text}"
        else:
            blocks.append(text)
        index, above = index + 1, row
    return "\n\n".join(blocks)


def _top(row: list[Line]) -> float:
    return min(line.box[1] for line in row)


def _bottom(row: list[Line]) -> float:
    return max(line.box[3] for line in row)


def _list_item(row: list[Line]) -> str | None:
    """An item of a list, with its bullet or number in a cell of its own or before the text."""
    first, *rest = (line.text for line in row)
    if len(rest) == 1 and _LABEL.match(first):
        return f"{'' if first[0].isdigit() else '- '}{first} {_escaped(rest[0])}"
    found = _BULLET.match(first)
    if found is None or len(rest) > 1:
        return None
    text = " ".join([first[found.end() :], *rest]).strip()
    return f"- {_escaped(text)}" if text else None


def _goes_on(above: list[Line], row: list[Line], rows: list[list[Line]], usual: float) -> bool:
    """Whether running text was broken between two lines only because the first was full."""
    if len(above) > 1 or len(row) > 1 or len(above[0].text) < _RUNNING_CHARS:
        return False
    left, _, right, _ = above[0].box
    if abs(row[0].box[0] - left) > usual:
        return False
    beside = [each[0].box for each in rows if len(each) == 1 and abs(each[0].box[0] - left) < usual]
    return right - left >= _RUNNING_SHARE * max(box[2] - box[0] for box in beside)


def _table(rows: list[list[Line]]) -> str:
    cells = [[_escaped(line.text) for line in row] for row in rows]
    lines = [f"| {' | '.join(row)} |" for row in cells]
    return "\n".join([lines[0], "|" + " --- |" * len(cells[0]), *lines[1:]])


def _escaped(text: str) -> str:
    """Signs that Markdown would read, with a backslash; also what begins a list or a heading."""
    inside = re.sub(r"([\\`*_{}\[\]<>|~])", r"\\\1", text)
    return re.sub(r"^(\s*(?:\d+)?)([#+\-.)=])(?=\s|$|\2)", r"\1\\\2", inside)
