"""Documents on pages: every page with the boxes drawn, and its text; the page of `read --html`."""

from __future__ import annotations

import base64
import io
from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from typing import TYPE_CHECKING

from polymodal.cli.pages import frame_page, html_text, save_page
from polymodal.errors import MediaError

if TYPE_CHECKING:
    from PIL import Image

    from polymodal.results_documents import (
        Box,
        Extraction,
        FieldEvidence,
        Line,
        PageInfo,
        Reading,
    )

__all__ = ["fields_html", "sheets_html", "write_reading_page"]

SHOWN_PX = 1100
"""Longer side of a page's picture."""
MOST_PAGES = 50
"""Of one file; some 200 KB each. The JSON has them all."""
UNSURE = 0.8


def write_reading_page(file: str, readings: Sequence[Reading]) -> None:
    """Write the page.

    Raises:
        StorageError: when `file` cannot be written.
    """
    title = readings[0].input if len(readings) == 1 else f"{len(readings)} documents"
    body = "".join(_document(number, reading) for number, reading in enumerate(readings, 1))
    links = "".join(
        f'<a href="#s{number}">{html_text(reading.input)}</a>'
        for number, reading in enumerate(readings, 1)
    )
    nav = f'<nav aria-label="Documents">{links}</nav>' if len(readings) > 1 else ""
    footer = "The lists are in reading order; red boxes were hard to read."
    save_page(file, frame_page(f"{title} - polymodal", body, nav=nav, footer=footer))


def _document(number: int, reading: Reading) -> str:
    count = len(reading.lines)
    about = f"{count} lines on {len(reading.pages)} page{'s' if len(reading.pages) != 1 else ''}"
    return (
        f'<section id="s{number}">\n<h2>{html_text(reading.input)}</h2>\n'
        f'<p class="about">{about}, read by {html_text(reading.provenance.model)}</p>\n'
        f"{sheets_html(reading)}</section>\n"
    )


def sheets_html(
    reading: Reading, *, marks: Mapping[str, FieldEvidence] | None = None, beside: str = ""
) -> str:
    """The pages of a document, each with its boxes and its rows.

    Args:
        marks: fields to where they stand; these boxes bear the fields' names.
        beside: HTML that stands above the rows of the first page.
    """
    rows = reading.page_rows()
    pictures = _pictures(reading)
    parts = []
    for number, page in enumerate(reading.pages[:MOST_PAGES]):
        marked = [
            (name, each.box) for name, each in (marks or {}).items() if each.page == page.page
        ]
        boxes = _line_boxes(rows[page.page]) + _marks(marked, page)
        above = "" if number else beside
        parts.append(_sheet(page, rows[page.page], next(pictures, ""), boxes, above))
    if len(reading.pages) > MOST_PAGES:
        parts.append(f'<p class="about">The first {MOST_PAGES} pages are shown.</p>\n')
    return "".join(parts)


def fields_html(found: Extraction) -> str:
    """The fields of a document with their confidence, and what is wrong with them."""
    cells = "".join(
        f"<tr><th>{html_text(name)}</th><td>{html_text('-' if value is None else value)}</td>"
        f"<td>{'' if value is None else format(found.confidence.get(name, 0.0), '.2f')}</td></tr>\n"
        for name, value in found.data.items()
    )
    problems = "".join(f'<p class="about">problem: {html_text(p)}</p>\n' for p in found.problems)
    return f'<table class="fields">\n{cells}</table>\n{problems}'


def _sheet(
    page: PageInfo, rows: Sequence[Sequence[Line]], picture: str, boxes: str, beside: str
) -> str:
    items = "".join(
        f"<li>{''.join(f'<span>{html_text(line.text)}</span>' for line in row)}</li>"
        for row in rows
    )
    turned = f", turned by {page.rotation} degrees to be read" if page.rotation else ""
    source = "OCR" if page.source == "ocr" else page.source
    image = f'<img src="{picture}" alt="page {page.page}">' if picture else ""
    return (
        f"<h3>Page {page.page}: {source}{turned}</h3>\n"
        f'<div class="sheet"><figure>{image}<svg viewBox="0 0 {page.width_px} {page.height_px}"'
        f' preserveAspectRatio="none">{boxes}</svg></figure>'
        f"<div>{beside}<ol>{items or '<li>no text</li>'}</ol></div></div>\n"
    )


def _line_boxes(rows: Sequence[Sequence[Line]]) -> str:
    return "".join(
        _rect(line.box, f"{number}: {line.text} ({line.score:.2f})", line.score < UNSURE)
        for number, row in enumerate(rows, 1)
        for line in row
    )


def _rect(box: Box, title: str, unsure: bool) -> str:
    left, top, right, bottom = box
    tone = ' class="unsure"' if unsure else ""
    return (
        f'<rect{tone} x="{left:.1f}" y="{top:.1f}" width="{right - left:.1f}"'
        f' height="{bottom - top:.1f}"><title>{html_text(title)}</title></rect>'
    )


def _marks(marked: Sequence[tuple[str, Box]], page: PageInfo) -> str:
    """Names of fields beside their boxes: on the right where there is room, else on the left."""
    places: dict[Box, list[str]] = {}
    for name, box in marked:
        places.setdefault(box, []).append(name)
    letter_px = page.width_px / 42
    parts = []
    for (left, top, right, bottom), names in places.items():
        text = ", ".join(names)
        fits = right + 0.6 * letter_px * (len(text) + 1) < page.width_px
        x, anchor = (right + letter_px / 2, "start") if fits else (left - letter_px / 2, "end")
        parts.append(
            f'<text x="{x:.1f}" y="{(top + bottom) / 2 + letter_px / 3:.1f}" text-anchor="{anchor}"'
            f' font-size="{letter_px:.1f}">{html_text(text)}</text>'
        )
    return "".join(parts)


def _pictures(reading: Reading) -> Iterator[str]:
    """The pages as `data:` addresses; the file is opened again, and may be gone."""
    from polymodal.media.documents import open_pages

    with suppress(MediaError), open_pages(reading.input, pictures=True) as pages:
        for page in pages:
            yield _data(page.image) if page.image is not None else ""


def _data(image: Image.Image) -> str:
    from PIL import Image as Images

    small = image.copy()
    small.thumbnail((SHOWN_PX, SHOWN_PX), Images.Resampling.LANCZOS)
    packed = io.BytesIO()
    small.save(packed, "JPEG", quality=80, optimize=True)
    return "data:image/jpeg;base64," + base64.b64encode(packed.getvalue()).decode("ascii")
