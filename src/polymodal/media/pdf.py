"""PDF pages as pictures and text, through a process that may be killed (`pdf_worker`).

Notable: a PDF is a program. A few hundred bytes can ask for gigabytes or for hours, and a parser in
C may crash; in a process with a memory limit, watched by a clock, that costs one document.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import threading
from contextlib import suppress
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from types import TracebackType
from typing import Any

from PIL import Image

from polymodal.errors import (
    DamagedMedia,
    MediaTooLarge,
    MissingDependency,
    UnsupportedMedia,
)
from polymodal.media.limits import Limits

__all__ = ["INSTALL", "Pdf", "PdfPage"]

INSTALL = 'Run: pip install "polymodal[documents]"'
DPI = 200
"""Text of 6 points is then 17 pixels high; OCR reads it, and a page of A4 is 3.9 megapixels."""
_MAX_PAGE_PIXELS = 16_000_000
_MAX_PAGE_SIDE_PX = 8_000
_CHANNELS = {"RGB": "RGB", "L": "L", "RGBX": "RGBX", "RGBA": "RGBA"}


@dataclass(frozen=True)
class PdfPage:
    """A page at `DPI`, or at less where it is larger than a poster.

    Attributes:
        text: runs of the text layer, each with left, top, right, bottom in pixels.
        turned_share: how much of the text does not run from left to right on the page, 0..1.
        picture_share: how much of the page pictures cover, 0..1.
        image: the rendered page, RGB, where that was asked for.
    """

    width_px: int
    height_px: int
    text: tuple[tuple[str, float, float, float, float], ...] = ()
    turned_share: float = 0.0
    picture_share: float = 0.0
    image: Image.Image | None = None


class Pdf:
    """An open PDF; close it, or use it in a `with` block. Not for several threads at once."""

    def __init__(self, data: bytes, limits: Limits) -> None:
        """Start the process and open the document in it.

        Raises:
            MissingDependency: the extra `documents` is not installed.
            UnsupportedMedia: it is encrypted.
            DamagedMedia: it cannot be opened.
            MediaTooLarge: it has more pages than `limits.max_pages`, or takes too long.
        """
        if find_spec("pypdfium2") is None:
            raise MissingDependency(f"reading a PDF needs a package that is missing. {INSTALL}")
        self._limits = limits
        self._late = False
        worker = Path(__file__).with_name("pdf_worker.py")
        self._process = subprocess.Popen(
            # -P: its folder holds modules of ours, which must not hide others.
            [sys.executable, "-P", str(worker)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            env={**os.environ, "PYTHONPATH": os.pathsep.join(path for path in sys.path if path)},
        )
        try:
            memory_bytes = 2 * limits.max_memory_bytes + 2 * len(data)
            header, _ = self._ask({"memory_bytes": memory_bytes, "bytes": len(data)}, data)
            self.page_count: int = header["pages"]
            self._check_pages()
        except BaseException:
            self.close()
            raise

    def page(self, number: int, *, text: bool = True, render: bool = False) -> PdfPage:
        """Page `number`, from 1.

        Raises:
            DamagedMedia: it cannot be read.
            MediaTooLarge: it needs more time or memory than the limits allow.
        """
        header, raw = self._ask(
            {
                "page": number - 1,
                "dpi": DPI,
                "max_pixels": min(_MAX_PAGE_PIXELS, self._limits.max_pixels),
                "max_side_px": min(_MAX_PAGE_SIDE_PX, self._limits.max_side_px),
                "text": text,
                "render": render,
            },
            where=f"page {number}",
        )
        size = header["width_px"], header["height_px"]
        image = None
        if render:
            layout = _CHANNELS[header["mode"]]
            bare = Image.frombuffer(
                "RGBX" if layout == "RGBA" else layout, size, raw, "raw",
                "RGBX" if layout == "RGBA" else layout, header["stride"], 1,
            )  # fmt: skip
            image = bare.convert("RGB")
        runs = tuple((str(run[0]), *map(float, run[1:])) for run in header.get("text", ()))
        shares = header.get("turned_share", 0.0), header.get("picture_share", 0.0)
        return PdfPage(*size, runs, *shares, image)  # type: ignore[arg-type]

    def close(self) -> None:
        """End the process."""
        for pipe in (self._process.stdin, self._process.stdout):
            if pipe is not None:
                with suppress(OSError):  # it died with something unread
                    pipe.close()
        if self._process.poll() is None:
            self._process.kill()
        self._process.wait()

    def __enter__(self) -> Pdf:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()

    def _ask(
        self, request: dict[str, Any], data: bytes = b"", where: str = ""
    ) -> tuple[dict[str, Any], bytes]:
        """Send a request and read its answer, or say why there is none."""
        stdin, stdout = self._process.stdin, self._process.stdout
        assert stdin is not None and stdout is not None
        clock = threading.Timer(self._limits.max_page_s, self._stop)
        clock.daemon = True
        clock.start()
        try:
            stdin.write(json.dumps(request).encode() + b"\n" + data)
            stdin.flush()
            line = stdout.readline()
            header = json.loads(line) if line.endswith(b"\n") else {}
            raw = stdout.read(header.get("bytes", 0)) if header else b""
        except (OSError, ValueError):  # the process is gone
            header, raw = {}, b""
        finally:
            clock.cancel()
        if not header or len(raw) != header["bytes"]:
            raise self._gone(where)
        self._check(header, where)
        return header, raw

    def _check_pages(self) -> None:
        if not self.page_count:
            raise DamagedMedia("is a PDF without pages")
        if self.page_count > self._limits.max_pages:
            raise MediaTooLarge(
                f"is a PDF of {self.page_count:,} pages, more than the limit of"
                f" {self._limits.max_pages:,} (Limits.max_pages): split it, or raise the limit"
            )

    def _stop(self) -> None:
        self._late = True
        self._process.kill()

    def _gone(self, where: str) -> DamagedMedia | MediaTooLarge:
        at = f" at {where}" if where else ""
        if self._late:
            return MediaTooLarge(
                f"is a PDF that takes more than {self._limits.max_page_s:g} s{at}"
                " (Limits.max_page_s)"
            )
        return DamagedMedia(f"is a PDF that breaks its decoder{at}, or needs too much memory")

    def _check(self, header: dict[str, Any], where: str) -> None:
        at = f" at {where}" if where else ""
        match header.get("error"):
            case None:
                return
            case "password":
                raise UnsupportedMedia(
                    "is an encrypted PDF, which needs a password: save a copy without one"
                )
            case "memory":
                raise MediaTooLarge(f"is a PDF that needs too much memory{at}")
        raise DamagedMedia(f"is a PDF that cannot be read{at} ({header.get('text', '')})")
