"""The demo's receipt: drawn here, read and extracted where the extra `documents` is installed."""

from __future__ import annotations

from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING

from polymodal.cli.pages import Section

if TYPE_CHECKING:
    from polymodal.results_documents import Extraction, Reading

__all__ = ["can_read", "receipt_section", "write_receipt"]

ROWS = """\
HARBOUR BOOKS & CAFE SDN BHD
18, JALAN PELABUHAN,
10300 GEORGE TOWN, PENANG.
TEL: 04-555 0123

RECEIPT NO: HB-20417
DATE: 14/06/2025|10:42

ATLAS OF CLOUDS|1|18.50
FIELD NOTEBOOK A5|2|9.00
FLAT WHITE|1|3.40

SUBTOTAL|30.90
SST 6%|1.85
TOTAL (RM)|32.75
VISA CARD|32.75

THANK YOU FOR YOUR VISIT"""
"""A shop that does not exist; a bar parts the cells of a row."""
CENTRED = (0, 1, 2, 3, 17)
SIZE_PX = (620, 900)
PAPER, INK, DESK = (250, 248, 241), (42, 42, 48), (178, 160, 138)
MARGIN_PX, LETTER_PX = 34, 26


def can_read() -> bool:
    """Whether the extra `documents` is installed."""
    return find_spec("rapidocr") is not None


def write_receipt(target: Path) -> None:
    """The receipt as a picture: on a desk, a little grainy."""
    if target.exists():
        return
    import numpy as np
    from PIL import Image, ImageDraw, ImageFont

    width, height = SIZE_PX
    paper = Image.new("RGB", SIZE_PX, PAPER)
    draw = ImageDraw.Draw(paper)
    font = ImageFont.load_default(size=LETTER_PX)
    rows = ROWS.splitlines()
    step = (height - 2 * MARGIN_PX) / len(rows)
    for number, row in enumerate(rows):
        y = MARGIN_PX + step * number
        cells = row.split("|")
        for place, cell in enumerate(cells):
            room = width - 2 * MARGIN_PX - draw.textlength(cell, font)
            share = 0.5 if number in CENTRED else place / max(len(cells) - 1, 1)
            if len(cells) == 3 and place == 1:
                share = 0.72
            draw.text((MARGIN_PX + share * room, y), cell, INK, font)
        if not row:
            middle = y + step / 2
            for x in range(MARGIN_PX, width - MARGIN_PX, 12):
                draw.line((x, middle, x + 5, middle), (150, 148, 142), 2)
    desk = Image.new("RGB", (width + 120, height + 100), DESK)
    desk.paste((120, 104, 88), (66, 56, 66 + width, 56 + height))
    desk.paste(paper, (60, 50))
    grain = np.random.default_rng(7).normal(0, 5, (desk.height, desk.width, 1))
    pixels = np.clip(np.asarray(desk, np.float64) + grain, 0, 255).astype(np.uint8)
    part = target.with_name(f".{target.name}")
    Image.fromarray(pixels).save(part, "JPEG", quality=90)
    part.replace(target)


def receipt_section(
    reading: Reading, found: Extraction, *, name: str, heading: str, command: str
) -> Section:
    """The receipt with its boxes and fields as a section of the demo's page."""
    from polymodal.cli.reading_page import fields_html, sheets_html

    content = sheets_html(reading, marks=found.evidence, beside=fields_html(found))
    return Section(heading, (), name=name, command=command, content=content)
