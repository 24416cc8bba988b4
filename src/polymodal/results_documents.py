"""What `read` and `extract` return: lines with their place on the page, and fields with evidence.

Notable: a box is in pixels of the page as the file shows it (EXIF applied); where a page had to be
turned to be read, `PageInfo.rotation` says by how much, and `Line.box` still fits the file.
"""

from __future__ import annotations

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
