"""What a picture input can be, and what messages call it, without importing what it may be.

Notable: an object can only be a PIL image or an array where its library is loaded already, so
asking costs nothing; a run that is answered from the cache never loads either.
"""

from __future__ import annotations

import os
import sys
from typing import TYPE_CHECKING, Any, TypeGuard

from polymodal.media.files import printable_name

if TYPE_CHECKING:
    from numpy.typing import NDArray
    from PIL import Image

    from polymodal.media.pictures import ImageInput

__all__ = ["Together", "is_array", "is_image", "picture_name"]


class Together:
    """Several pictures that a question is asked of together, in their order.

    `suite.ask(Together("before.jpg", "after.jpg"), "What has changed?", generator=...)`
    """

    def __init__(self, *pictures: ImageInput) -> None:
        """For two pictures or more; one is fine as it is."""
        self.pictures = pictures


def is_image(source: object) -> TypeGuard[Image.Image]:
    """Whether it is a PIL image."""
    library = sys.modules.get("PIL.Image")
    return library is not None and isinstance(source, library.Image)


def is_array(source: object) -> TypeGuard[NDArray[Any]]:
    """Whether it is a numpy array."""
    library = sys.modules.get("numpy")
    return library is not None and isinstance(source, library.ndarray)


def picture_name(source: object) -> str:
    """What messages and results call an input: its path, or `<image 640x480>`, `<4,211 bytes>`."""
    if isinstance(source, Together):
        return ", ".join(picture_name(each) for each in source.pictures)
    if isinstance(source, (str, os.PathLike)):
        return printable_name(source)
    if is_image(source):
        filename = getattr(source, "filename", "")
        if isinstance(filename, str) and filename:
            return printable_name(filename)
        return f"<image {source.width}x{source.height}>"
    if is_array(source):
        return f"<array {'x'.join(map(str, source.shape))}>"
    kind = type(source).__name__
    size = len(source) if isinstance(source, (bytes, bytearray, memoryview)) else None
    return f"<{kind}>" if size is None else f"<{size:,} bytes>"
