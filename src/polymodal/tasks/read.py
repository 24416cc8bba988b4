"""Read: documents to lines of text in reading order, by text layer or by OCR.

Notable: pages of several documents share a batch, so a folder of receipts keeps every core busy;
no more than a batch of pages is open at once, however long a document is.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field, replace
from typing import Any, Literal

from polymodal.errors import MediaError
from polymodal.media.documents import DocumentInput, Page, open_pages
from polymodal.media.limits import DEFAULT_LIMITS, Limits
from polymodal.media.pdf import DPI
from polymodal.media.pictures import picture_name
from polymodal.media.reading_order import levelled, reading_order, turned
from polymodal.models.protocols import Reader, ReadPage
from polymodal.results import Provenance
from polymodal.results_documents import Line, PageInfo, Reading
from polymodal.runtime.cache import Cache
from polymodal.runtime.cached import through_cache

__all__ = ["read", "upright_lines"]

ORDER = "2"
"""Version of the reading order: a cached reading of another is read again."""

Outcome = Reading | MediaError


def read(
    reader: Reader,
    sources: Iterable[DocumentInput],
    *,
    limits: Limits = DEFAULT_LIMITS,
    cache: Cache | None = None,
) -> Iterator[tuple[DocumentInput, Reading | Exception]]:
    """Yield `(source, reading)` or `(source, MediaError)` for every document, in order, lazily."""
    who = reader.provenance
    return through_cache(
        cache,
        sources,
        lambda missing: _documents(reader, missing, limits),
        verb="read",
        model=f"{who.model}@{who.revision}",
        parameters={"dpi": DPI, "order": ORDER},
        encode=_encode,
        decode=_decode,
    )


def upright_lines(reading: Reading) -> list[Line]:
    """The lines with their boxes as they stand once every page is turned upright."""
    pages = {page.page: page for page in reading.pages}
    lines = []
    for line in reading.lines:
        page = pages[line.page]
        box = turned(line.box, page.width_px, page.height_px, page.rotation)
        lines.append(replace(line, box=box))
    return lines


@dataclass
class _Document:
    """A document while its pages are read."""

    source: DocumentInput
    pages: list[_Sheet] = field(default_factory=list)
    complete: bool = False
    error: MediaError | None = None


@dataclass
class _Sheet:
    """A page while it waits for the reader."""

    page: Page
    found: ReadPage | None = None


def _documents(
    reader: Reader, sources: Iterable[DocumentInput], limits: Limits
) -> Iterator[tuple[DocumentInput, Outcome]]:
    waiting: list[_Document] = []
    batch: list[_Sheet] = []
    for document, sheet in _sheets(sources, limits):
        if not waiting or waiting[-1] is not document:
            waiting.append(document)
        if sheet is not None:
            document.pages.append(sheet)
            if sheet.found is None:
                batch.append(sheet)
        if len(batch) >= reader.batch_size:
            _read(reader, batch)
        while waiting and waiting[0].complete and not _unread(waiting[0]):
            done = waiting.pop(0)
            yield done.source, _result(done, reader.provenance)
    _read(reader, batch)
    for document in waiting:
        yield document.source, _result(document, reader.provenance)


def _sheets(
    sources: Iterable[DocumentInput], limits: Limits
) -> Iterator[tuple[_Document, _Sheet | None]]:
    """Pages one by one; after the last of a document, the document with no page."""
    for source in sources:
        document = _Document(source)
        try:
            with open_pages(source, limits=limits) as pages:
                for page in pages:
                    known = None if page.lines is None else ReadPage(page.lines)
                    yield document, _Sheet(page, known)
        except MediaError as error:
            document.error = error
        document.complete = True
        yield document, None


def _unread(document: _Document) -> bool:
    return document.error is None and any(sheet.found is None for sheet in document.pages)


def _read(reader: Reader, batch: list[_Sheet]) -> None:
    """Read a batch and empty it; pictures are let go."""
    images = [sheet.page.image for sheet in batch if sheet.page.image is not None]
    for sheet, found in zip(batch, reader.read(images) if images else [], strict=True):
        sheet.found = found
        sheet.page = replace(sheet.page, image=None)
    batch.clear()


def _result(document: _Document, who: Provenance) -> Outcome:
    if document.error is not None:
        return document.error
    lines: list[Line] = []
    rows: list[int] = []
    pages: list[PageInfo] = []
    for sheet in document.pages:
        assert sheet.found is not None
        page, found = sheet.page, sheet.found
        source: Literal["ocr", "text layer"] = "ocr" if page.lines is None else "text layer"
        info = PageInfo(page.number, page.width_px, page.height_px, found.rotation, source)
        pages.append(info)
        boxes = [
            turned(line.box, page.width_px, page.height_px, found.rotation) for line in found.lines
        ]
        height_px = page.height_px if found.rotation in {0, 180} else page.width_px
        level = levelled(boxes, found.skew_degrees, height_px)
        order, numbers = reading_order(level, [line.text for line in found.lines])
        lines += [replace(found.lines[index], page=page.number) for index in order]
        first = rows[-1] + 1 if rows else 0
        rows += [first + number for number in numbers]
    if all(page.source == "text layer" for page in pages):
        who = Provenance("text layer", "pdf")
    name = picture_name(document.source)
    return Reading(name, tuple(lines), tuple(pages), who, tuple(rows))


def _encode(reading: Reading) -> Any | None:
    """What is kept; nothing of a document without text, which may have been misread."""
    if not reading.lines:
        return None
    return {
        "lines": [[line.text, line.box, line.score, line.page] for line in reading.lines],
        "rows": reading.rows,
        "pages": [
            [page.page, page.width_px, page.height_px, page.rotation, page.source]
            for page in reading.pages
        ],
        "provenance": [reading.provenance.model, reading.provenance.revision],
    }


def _decode(source: DocumentInput, value: Any) -> Reading:
    lines = tuple(
        Line(str(text), (box[0], box[1], box[2], box[3]), float(score), int(page))
        for text, box, score, page in value["lines"]
    )
    pages = tuple(PageInfo(*page) for page in value["pages"])
    rows = tuple(int(row) for row in value["rows"])
    if len(rows) != len(lines):
        raise ValueError("rows and lines differ")
    return Reading(picture_name(source), lines, pages, Provenance(*value["provenance"]), rows)
