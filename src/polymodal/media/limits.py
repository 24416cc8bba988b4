"""How much one input may cost; on by default, so that no single file can take a run down.

Notable: size and memory are judged by the header, before anything is decoded: 36 bytes of WebP can
declare 180 megapixels, whose decoding takes 3 GB. Formats differ widely in the memory they need for
a pixel (see `headers`), so the same memory lets in 200 megapixels of JPEG and 60 of WebP.
"""

from __future__ import annotations

from dataclasses import dataclass

__all__ = ["DEFAULT_LIMITS", "DEFAULT_STREAM_LIMITS", "Limits", "StreamLimits"]


@dataclass(frozen=True)
class Limits:
    """Bounds of one picture or document; beyond any of them it is `MediaTooLarge`.

    Attributes:
        max_bytes: of the encoded file.
        max_pixels: width x height as the header declares them. The default lets in the largest
            phone photographs (16,320 x 12,240).
        max_memory_bytes: that decoding may need at its peak, estimated from pixels and format.
            A program that decodes in several threads may need it once in each.
        max_side_px: of the longer side.
        max_pages: of a document.
        max_page_s: that opening a PDF, or one page of it, may take.
    """

    max_bytes: int = 200_000_000
    max_pixels: int = 200_000_000
    max_memory_bytes: int = 1_000_000_000
    max_side_px: int = 100_000
    max_pages: int = 500
    max_page_s: float = 30.0


@dataclass(frozen=True)
class StreamLimits:
    """Bounds of one sound or video; beyond any of them it is `MediaTooLarge`.

    A stream is read in small blocks, so these bound time more than memory.

    Attributes:
        max_bytes: of the file.
        max_s: how long it may play.
        max_pixels: of one frame; the default lets in 8K.
    """

    max_bytes: int = 20_000_000_000
    max_s: float = 12 * 3600.0
    max_pixels: int = 40_000_000


DEFAULT_LIMITS = Limits()
DEFAULT_STREAM_LIMITS = StreamLimits()
