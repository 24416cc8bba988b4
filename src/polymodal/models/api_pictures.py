"""Pictures as services take them: no larger than they are looked at, as base64 JPEG or PNG.

Notable: a service scales larger pictures down itself, so sending more than it looks at costs time
and gains nothing. Drawings and screens with few colours go as PNG, which keeps their edges and is
smaller; photographs go as JPEG. What is still too many bytes loses quality first, then size.
"""

from __future__ import annotations

import base64
import io
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from PIL import Image

__all__ = ["EncodedPicture", "PictureLimits", "encode_picture"]

FEW_COLOURS = 256
QUALITIES = (90, 80, 65)
SHRINK = 0.75
"""Of each side, when the lowest quality is still too many bytes."""
SMALLEST_PX = 16


@dataclass(frozen=True)
class PictureLimits:
    """What a service takes.

    Attributes:
        longest_px: the longer side beyond which it would scale the picture down.
        most_bytes: of one picture, before base64.
        request_bytes: of all pictures of one request, before base64.
    """

    longest_px: int
    most_bytes: int
    request_bytes: int

    def each(self, count: int) -> int:
        """Bytes for one of `count` pictures of a request."""
        return min(self.most_bytes, self.request_bytes // max(1, count))


@dataclass(frozen=True)
class EncodedPicture:
    """A file's content, and what kind of file it is."""

    media_type: str
    content: bytes

    @property
    def base64(self) -> str:
        """The content as ASCII."""
        return base64.b64encode(self.content).decode("ascii")

    @property
    def data_url(self) -> str:
        """`data:image/png;base64,...`"""
        return f"data:{self.media_type};base64,{self.base64}"


def encode_picture(image: Image.Image, longest_px: int, most_bytes: int) -> EncodedPicture:
    """An RGB picture as JPEG or PNG of at most `most_bytes`, its longer side at most `longest_px`.

    It is never enlarged, and its proportions stay.
    """
    picture = _within(image, longest_px)
    if picture.getcolors(FEW_COLOURS) is not None:
        content = _saved(picture, "PNG", optimize=True)
        if len(content) <= most_bytes:
            return EncodedPicture("image/png", content)
    while True:
        for quality in QUALITIES:
            content = _saved(picture, "JPEG", quality=quality)
            if len(content) <= most_bytes or max(picture.size) <= SMALLEST_PX:
                return EncodedPicture("image/jpeg", content)
        picture = _within(picture, max(SMALLEST_PX, int(max(picture.size) * SHRINK)))


def _within(image: Image.Image, longest_px: int) -> Image.Image:
    picture = image if image.mode == "RGB" else image.convert("RGB")
    longest = max(picture.size)
    if longest <= longest_px:
        return picture
    width, height = (max(1, round(side * longest_px / longest)) for side in picture.size)
    return picture.resize((width, height), reducing_gap=3.0)


def _saved(picture: Image.Image, format_: str, **how: int | bool) -> bytes:
    buffer = io.BytesIO()
    picture.save(buffer, format_, **how)
    return buffer.getvalue()
