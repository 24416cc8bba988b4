"""One PDF, opened in a process of its own: what it may cost is bounded, and it may crash.

Notable: this file is run as a program and imports nothing of the package; a request is a line of
JSON on stdin, the answer a line of JSON on stdout with raw bytes behind it. `pdf` is the other end.
"""

from __future__ import annotations

import ctypes
import json
import math
import sys
from typing import Any, BinaryIO

_DPI_POINTS = 72.0
_ERROR_PASSWORD = 4
_MANY_OBJECTS = 2_000
"""Objects looked at to find out how much of a page is picture."""
_SAMPLED_CHARS = 400
"""Looked at to find out which way the text runs."""


def main() -> None:
    """Serve one document until stdin ends."""
    stdin, stdout = sys.stdin.buffer, sys.stdout.buffer
    first = json.loads(stdin.readline())
    _limit_memory(first["memory_bytes"])
    data = stdin.read(first["bytes"])
    import pypdfium2

    try:
        document = pypdfium2.PdfDocument(data)
        count = len(document)
    except pypdfium2.PdfiumError as error:
        password = getattr(error, "err_code", None) == _ERROR_PASSWORD or "password" in str(error)
        _answer(stdout, {"error": "password" if password else "damaged", "text": str(error)})
        return
    _answer(stdout, {"pages": count})
    for line in stdin:
        request = json.loads(line)
        try:
            header, raw = _page(document, request)
        except pypdfium2.PdfiumError as error:
            header, raw = {"error": "damaged", "text": str(error)}, b""
        except MemoryError:
            header, raw = {"error": "memory", "text": ""}, b""
        _answer(stdout, header, raw)


def _limit_memory(size_bytes: int) -> None:
    try:
        import resource

        resource.setrlimit(resource.RLIMIT_AS, (size_bytes, size_bytes))
        resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    except (ImportError, ValueError, OSError):  # not on this system
        pass


def _answer(stdout: BinaryIO, header: dict[str, Any], raw: bytes = b"") -> None:
    stdout.write(json.dumps({**header, "bytes": len(raw)}).encode() + b"\n" + raw)
    stdout.flush()


def _page(document: Any, request: dict[str, Any]) -> tuple[dict[str, Any], bytes]:
    page = document[request["page"]]
    try:
        width, height = page.get_size()
        scale = request["dpi"] / _DPI_POINTS
        pixels, side = width * height * scale**2, max(width, height) * scale
        # A poster is read at a lower resolution instead of being refused.
        scale *= min(1.0, (request["max_pixels"] / max(pixels, 1)) ** 0.5)
        scale *= min(1.0, request["max_side_px"] / max(side, 1))
        scale *= 1 - 1e-6  # 752.0000001 pixels are 752
        size = max(1, math.ceil(width * scale)), max(1, math.ceil(height * scale))
        header: dict[str, Any] = {"width_px": size[0], "height_px": size[1]}
        if request["text"]:
            header |= _text(page, size)
            header["picture_share"] = _picture_share(page)
        if not request["render"]:
            return header, b""
        bitmap = page.render(scale=scale, rev_byteorder=True, prefer_bgrx=False)
        header |= {"width_px": bitmap.width, "height_px": bitmap.height}
        header |= {"stride": bitmap.stride, "mode": bitmap.mode}
        raw = bytes(bitmap.buffer)
        bitmap.close()
        return header, raw
    finally:
        page.close()


def _text(page: Any, size: tuple[int, int]) -> dict[str, Any]:
    """Runs of text with left, top, right, bottom in pixels of the page as it is shown; and which
    share of the text does not run from left to right on it.
    """
    text = page.get_textpage()
    try:
        runs = []
        for index in range(text.count_rects()):
            left, bottom, right, top = text.get_rect(index)
            words = text.get_text_bounded(left, bottom, right, top)
            if words.strip():
                a, b = _to_device(page, size, left, top), _to_device(page, size, right, bottom)
                box = [min(a[0], b[0]), min(a[1], b[1]), max(a[0], b[0]), max(a[1], b[1])]
                runs.append([words, *box])
        return {"text": runs, "turned_share": _turned_share(page, text)}
    finally:
        text.close()


def _turned_share(page: Any, text: Any) -> float:
    from pypdfium2 import raw

    count = text.count_chars()
    quarters = raw.FPDFPage_GetRotation(page)  # clockwise, as angles of characters are
    angles = [
        raw.FPDFText_GetCharAngle(text, index)  # -1 where it is not known
        for index in range(0, count, max(1, count // _SAMPLED_CHARS))
    ]
    known = [angle for angle in angles if angle >= 0]
    turned = [angle for angle in known if (round(angle / (math.pi / 2)) + quarters) % 4]
    return len(turned) / max(len(known), 1)


def _to_device(page: Any, size: tuple[int, int], x: float, y: float) -> tuple[int, int]:
    from pypdfium2 import raw

    across, down = ctypes.c_int(), ctypes.c_int()
    raw.FPDF_PageToDevice(page, 0, 0, *size, 0, x, y, across, down)
    return across.value, down.value


def _picture_share(page: Any) -> float:
    """How much of the page pictures cover, at most 1."""
    from pypdfium2 import raw

    width, height = page.get_size()
    covered = 0.0
    for number, each in enumerate(page.get_objects(max_depth=3)):
        if number >= _MANY_OBJECTS:
            break
        if each.type == raw.FPDF_PAGEOBJ_IMAGE:
            left, bottom, right, top = each.get_bounds()
            covered += max(0.0, right - left) * max(0.0, top - bottom)
    return float(min(1.0, covered / max(width * height, 1e-6)))


if __name__ == "__main__":
    main()
