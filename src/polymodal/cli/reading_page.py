"""The page of `read --html`: every page of the documents with the boxes drawn, and its text."""

from __future__ import annotations

import base64
import io
from collections.abc import Iterator, Sequence
from contextlib import suppress
from typing import TYPE_CHECKING

from polymodal.cli.pages import frame_page, html_text, save_page
from polymodal.errors import MediaError

if TYPE_CHECKING:
    from PIL import Image

    from polymodal.results_documents import Line, PageInfo, Reading

__all__ = ["write_reading_page"]

SHOWN_PX = 1100
"""Longer side of a page's picture."""
MOST_PAGES = 50
"""Of one file; some 200 KB each. The JSON has them all."""
STYLE = """<style>
.sheet { display: grid; grid-template-columns: minmax(0, 3fr) minmax(0, 2fr); gap: 1.5rem;
  align-items: start; margin: .8rem 0 1.6rem; }
.sheet figure { position: relative; margin: 0; background: #fff; border: 1px solid var(--line); }
.sheet img { display: block; width: 100%; height: auto; }
.sheet svg { position: absolute; inset: 0; width: 100%; height: 100%; }
.sheet rect { fill: rgb(11 107 87 / .1); stroke: rgb(11 107 87 / .85);
  vector-effect: non-scaling-stroke; }
.sheet rect:hover { fill: rgb(11 107 87 / .35); }
.sheet rect.unsure { fill: rgb(179 38 30 / .15); stroke: rgb(179 38 30 / .9); }
.sheet ol { margin: 0; padding: 0 0 0 2.4em; font-size: .9rem; }
.sheet li { overflow-wrap: anywhere; padding: .05rem 0; }
.sheet li span + span { margin-left: 1.4em; }
@media (max-width: 800px) { .sheet { grid-template-columns: 1fr; } }
</style>
"""
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
    footer = "Boxes are numbered in reading order; red ones were hard to read."
    save_page(file, frame_page(f"{title} - polymodal", STYLE + body, nav=nav, footer=footer))


def _document(number: int, reading: Reading) -> str:
    count = len(reading.lines)
    about = f"{count} lines on {len(reading.pages)} page{'s' if len(reading.pages) != 1 else ''}"
    parts = [
        f'<section id="s{number}">\n<h2>{html_text(reading.input)}</h2>\n',
        f'<p class="about">{about}, read by {html_text(reading.provenance.model)}</p>\n',
    ]
    rows = reading.page_rows()
    pictures = _pictures(reading)
    shown = reading.pages[:MOST_PAGES]
    parts += [_sheet(page, rows[page.page], next(pictures, "")) for page in shown]
    if len(reading.pages) > MOST_PAGES:
        parts.append(f'<p class="about">The first {MOST_PAGES} pages are shown.</p>\n')
    return "".join([*parts, "</section>\n"])


def _sheet(page: PageInfo, rows: Sequence[Sequence[Line]], picture: str) -> str:
    boxes, items = [], []
    for number, row in enumerate(rows, 1):
        for line in row:
            left, top, right, bottom = line.box
            tone = ' class="unsure"' if line.score < UNSURE else ""
            boxes.append(
                f'<rect{tone} x="{left:.1f}" y="{top:.1f}" width="{right - left:.1f}"'
                f' height="{bottom - top:.1f}"><title>{number}: {html_text(line.text)}'
                f" ({line.score:.2f})</title></rect>"
            )
        cells = "".join(f"<span>{html_text(line.text)}</span>" for line in row)
        items.append(f"<li>{cells}</li>")
    turned = f", turned by {page.rotation} degrees to be read" if page.rotation else ""
    source = "OCR" if page.source == "ocr" else page.source
    image = f'<img src="{picture}" alt="page {page.page}">' if picture else ""
    return (
        f"<h3>Page {page.page}: {source}{turned}</h3>\n"
        f'<div class="sheet"><figure>{image}<svg viewBox="0 0 {page.width_px} {page.height_px}"'
        f' preserveAspectRatio="none">{"".join(boxes)}</svg></figure>'
        f"<ol>{''.join(items) or '<li>no text</li>'}</ol></div>\n"
    )


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
