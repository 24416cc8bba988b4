"""A document as pages: a picture, a TIFF with several of them, or a PDF.

Notable: pages come one at a time, so a long document costs the memory of one page. A PDF page that
has text is not rendered; one that is a scan with a few stray words on it is.
"""

from __future__ import annotations

import os
import struct
from collections.abc import Generator, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TypeAlias

from PIL import Image

from polymodal.errors import DamagedMedia, MediaError, MediaTooLarge
from polymodal.media.files import PICTURE_EXTENSIONS, read_bytes
from polymodal.media.limits import DEFAULT_LIMITS, Limits
from polymodal.media.pdf import Pdf, PdfPage
from polymodal.media.pictures import ImageInput, open_picture, picture_name
from polymodal.results_documents import Line

__all__ = ["DOCUMENT_EXTENSIONS", "DocumentInput", "Page", "open_pages"]

DocumentInput: TypeAlias = ImageInput
"""A path or bytes of a PDF, TIFF or picture; a PIL image; an array."""

DOCUMENT_EXTENSIONS = PICTURE_EXTENSIONS | {".pdf"}
"""What a folder yields where documents are read."""

_MOSTLY_PICTURE = 0.5
_FEW_CHARS = 40
"""Of text on a page that is mostly picture: a stamp or a page number over a scan."""
_UNREADABLE_SHARE = 0.2
"""Of characters that no font explains; such a text layer is worse than OCR."""
_MOSTLY_TURNED = 0.5
"""Of the text on a page that lies on its side; OCR turns it."""
_PDF_WITHIN_BYTES = 1024


@dataclass(frozen=True)
class Page:
    """One page, upright by its metadata.

    Attributes:
        number: from 1.
        image: RGB; None where the text layer is used, unless pictures were asked for.
        lines: the text layer, in no particular order; None where the page must be read by OCR.
    """

    number: int
    width_px: int
    height_px: int
    image: Image.Image | None
    lines: tuple[Line, ...] | None


@contextmanager
def open_pages(
    source: DocumentInput, *, limits: Limits = DEFAULT_LIMITS, pictures: bool = False
) -> Iterator[Iterator[Page]]:
    """The pages of a document, lazily, inside a `with` block.

    Args:
        pictures: also render pages whose text layer is used.

    Raises:
        MediaNotFound: no such file, a dangling link, or no permission.
        UnsupportedMedia: no picture and no PDF, or an encrypted PDF.
        DamagedMedia: empty, truncated or corrupt.
        MediaTooLarge: over a limit; of pages, pixels, bytes, memory or seconds.
        MissingDependency: a PDF, and the extra `documents` is not installed.
    """
    name = picture_name(source)
    pages = _pages(source, name, limits, pictures)
    try:
        yield pages
    finally:
        pages.close()


def _pages(
    source: DocumentInput, name: str, limits: Limits, pictures: bool
) -> Generator[Page, None, None]:
    try:
        if isinstance(source, (str, os.PathLike)):
            yield from _of_bytes(read_bytes(source, limits), name, limits, pictures)
        elif isinstance(source, (bytes, bytearray, memoryview)):
            yield from _of_bytes(bytes(source), name, limits, pictures)
        else:
            yield _picture_page(source, 1, name, limits)
    except MediaError as error:
        if error.name:
            raise
        raise type(error)(error.reason, name) from error.__cause__


def _of_bytes(data: bytes, name: str, limits: Limits, pictures: bool) -> Iterator[Page]:
    if b"%PDF-" in data[:_PDF_WITHIN_BYTES]:
        if len(data) > limits.max_bytes:
            raise MediaTooLarge(
                f"has {len(data):,} bytes, more than the limit of {limits.max_bytes:,}"
                " (Limits.max_bytes)"
            )
        with Pdf(data, limits) as pdf:
            for number in range(1, pdf.page_count + 1):
                yield _pdf_page(pdf, number, pictures)
    elif data[:4] in _TIFF_MAGIC:
        yield from _tiff_pages(data, name, limits)
    else:
        yield _picture_page(data, 1, name, limits)


def _picture_page(source: ImageInput, number: int, name: str, limits: Limits) -> Page:
    image = open_picture(source, limits=limits, name=name).image
    return Page(number, image.width, image.height, image, None)


def _pdf_page(pdf: Pdf, number: int, pictures: bool) -> Page:
    page = pdf.page(number, render=pictures)
    lines = _text_layer(page, number)
    image = page.image
    if lines is None and image is None:
        # Measured once more: rendering may round a size differently.
        page = pdf.page(number, text=False, render=True)
        image = page.image
    return Page(number, page.width_px, page.height_px, image, lines)


def _text_layer(page: PdfPage, number: int) -> tuple[Line, ...] | None:
    """The lines of the text layer; None where there is none that can be trusted."""
    chars = [char for run in page.text for char in run[0] if not char.isspace()]
    if not chars or page.turned_share > _MOSTLY_TURNED:
        return None
    unreadable = sum(char == "\ufffd" or not char.isprintable() for char in chars)
    if unreadable > _UNREADABLE_SHARE * len(chars):
        return None
    if page.picture_share > _MOSTLY_PICTURE and len(chars) < _FEW_CHARS:
        return None
    return tuple(
        Line(" ".join(text.split()), (left, top, right, bottom), 1.0, number)
        for text, left, top, right, bottom in _joined(page.text)
    )


Run: TypeAlias = tuple[str, float, float, float, float]


def _joined(runs: tuple[Run, ...]) -> list[Run]:
    """Runs that follow one another on a line as one: fonts and kerning cut lines into runs."""
    joined: list[Run] = []
    for text, left, top, right, bottom in runs:
        if joined:
            before, first, over, last, under = joined[-1]
            height = min(under - over, bottom - top)
            shared = min(under, bottom) - max(over, top)
            gap = left - last
            if shared > 0.5 * height and -0.5 * height < gap < 0.8 * height:
                blank = " " if gap > 0.15 * height and not before.endswith(" ") else ""
                box = min(first, left), min(over, top), max(last, right), max(under, bottom)
                joined[-1] = (before + blank + text, *box)
                continue
        joined.append((text, left, top, right, bottom))
    return joined


_TIFF_MAGIC = {b"II*\0", b"MM\0*", b"II+\0", b"MM\0+"}


def _tiff_pages(data: bytes, name: str, limits: Limits) -> Iterator[Page]:
    """Each directory of a TIFF as a page; a reduced copy or a mask of another one is none."""
    order = "<" if data[:2] == b"II" else ">"
    big = 43 in data[2:4]
    at, form = (8, "Q") if big else (4, "L")
    for number, offset in enumerate(_directories(data, order, big, limits), 1):
        head = bytearray(data)
        struct.pack_into(order + form, head, at, offset)
        try:
            yield _picture_page(bytes(head), number, name, limits)
        except MediaError as error:
            if number == 1:
                raise
            raise type(error)(f"{error.reason}, at page {number}", name) from error


def _directories(data: bytes, order: str, big: bool, limits: Limits) -> list[int]:
    """Offsets of the directories of pages, in order."""
    count_form, entry_bytes, link_form = ("Q", 20, "Q") if big else ("H", 12, "L")
    offsets: list[int] = []
    seen: set[int] = set()
    try:
        (offset,) = struct.unpack_from(order + link_form, data, 8 if big else 4)
        while offset:
            if offset in seen or offset >= len(data):
                raise DamagedMedia(f"is a TIFF that breaks off after page {len(offsets)}")
            seen.add(offset)
            (count,) = struct.unpack_from(order + count_form, data, offset)
            start = offset + struct.calcsize(order + count_form)
            if count > 4096:
                raise DamagedMedia(f"is a TIFF with {count:,} tags")
            if not _is_reduced(data, order, start, count, entry_bytes):
                offsets.append(offset)
            if len(offsets) > limits.max_pages:
                raise MediaTooLarge(
                    f"is a TIFF of more than {limits.max_pages:,} pages, which is the limit"
                    " (Limits.max_pages)"
                )
            (offset,) = struct.unpack_from(order + link_form, data, start + count * entry_bytes)
    except struct.error as error:
        raise DamagedMedia(f"is a TIFF that breaks off after page {len(offsets)}") from error
    return offsets


def _is_reduced(data: bytes, order: str, start: int, count: int, entry_bytes: int) -> bool:
    """Whether the directory says that it is a reduced copy or a mask (NewSubfileType)."""
    for position in range(start, start + count * entry_bytes, entry_bytes):
        tag, kind = struct.unpack_from(order + "HH", data, position)
        if tag == 254 and kind == 4:
            (value,) = struct.unpack_from(order + "L", data, position + entry_bytes - 4)
            return bool(value & 0b101)
    return False
