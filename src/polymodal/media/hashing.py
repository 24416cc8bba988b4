"""What an input is, by its content: the same content has the same hash, whatever it is called."""

from __future__ import annotations

import hashlib
import os
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

from polymodal.errors import MediaError, MediaTooLarge, UnsupportedMedia
from polymodal.media.files import hash_file
from polymodal.media.inputs import is_array, is_image

if TYPE_CHECKING:
    from PIL import Image

__all__ = ["Content", "content_of", "digest_of", "stamp_of"]

SIZE = 2
"""Of a file, in its stamp."""


@dataclass(frozen=True)
class Content:
    """A content's hash, and for a file what tells cheaply that it is still the same file.

    Attributes:
        sha256: hexadecimal; of a file's or encoded picture's bytes as they are. Pixels in memory
            are hashed with their shape and type, so they never equal a file.
        path: of the file; None for what is in memory.
        stamp: of the file when it was hashed.
    """

    sha256: str
    path: str | os.PathLike[str] | None = None
    stamp: tuple[int, ...] = ()

    def still(self) -> bool:
        """Whether the file has not been written to since it was hashed."""
        return self.path is None or self.stamp == stamp_of(self.path)

    def joined(self, *texts: str) -> Content:
        """The same file together with texts, such as the question that is asked of it."""
        return replace(self, sha256=_hashed(self.sha256, *texts).sha256)


def content_of(source: Any, *, max_bytes: int | None = None) -> Content:
    """The content of a path, encoded bytes, a PIL image or an array.

    Args:
        max_bytes: of a file; a larger one is not read.

    Raises:
        MediaError: it cannot be read; opening it says why.
    """
    if isinstance(source, (str, os.PathLike)):
        stamp = stamp_of(source)
        if max_bytes is not None and len(stamp) > 1 and stamp[SIZE] > max_bytes:
            raise MediaTooLarge(f"has {stamp[SIZE]:,} bytes, more than {max_bytes:,}")
        return Content(hash_file(source), source, stamp)
    if isinstance(source, (bytes, bytearray, memoryview)):
        return Content(hashlib.sha256(source).hexdigest())
    if is_array(source):
        return _hashed("array", source.dtype.str, source.shape, source.tobytes())
    if is_image(source):
        return _of_image(source)
    raise UnsupportedMedia(f"is {type(source).__name__}, which has no content to hash")


def digest_of(source: Any) -> str:
    """The SHA-256 of a source's content; "" where it cannot be read any more."""
    try:
        return content_of(source).sha256
    except MediaError:
        return ""


def stamp_of(path: str | os.PathLike[str]) -> tuple[int, ...]:
    """What tells cheaply that a file is still the same: device, number, size, time of change."""
    try:
        status = os.stat(path)  # noqa: PTH116 - a path would be taken apart and put together
    except (OSError, ValueError):
        return (0,)
    return (status.st_dev, status.st_ino, status.st_size, status.st_mtime_ns)


def _of_image(image: Image.Image) -> Content:
    try:
        pixels = image.tobytes()
        palette = image.palette.tobytes() if image.palette else b""
    except Exception as error:  # Pillow raises what it likes on a file opened lazily
        raise MediaError(f"cannot be decoded ({error})") from error
    # The profile and the orientation decide how the pixels are read.
    info = sorted((str(key), repr(value)) for key, value in image.info.items())
    return _hashed("image", image.mode, image.size, info, palette, pixels)


def _hashed(*parts: Any) -> Content:
    digest = hashlib.sha256()
    for part in parts:
        data = part if isinstance(part, bytes) else repr(part).encode("utf-8", "surrogatepass")
        digest.update(len(data).to_bytes(8, "big") + data)
    return Content(digest.hexdigest())
