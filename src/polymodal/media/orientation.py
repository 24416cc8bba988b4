"""The EXIF orientation tag, and nothing else of EXIF.

Notable: Pillow parses all of EXIF to find this one tag and warns about whatever else is damaged
there, which common cameras and editors manage; this looks at one field.
"""

from __future__ import annotations

import struct
from typing import Any

__all__ = ["exif_orientation"]

_ORIENTATION_TAG = 0x0112


def exif_orientation(exif: Any) -> int:
    """1 to 8; 1 (upright) where there is no such tag or it cannot be read.

    Args:
        exif: an EXIF block as files hold it, with or without its `Exif\\0\\0` prefix.
    """
    if not isinstance(exif, bytes):
        return 1
    tiff = exif
    while tiff.startswith(b"Exif\0\0"):
        tiff = tiff[6:]
    order = {b"II": "<", b"MM": ">"}.get(tiff[:2])
    if order is None:
        return 1
    try:
        (offset,) = struct.unpack_from(order + "L", tiff, 4)
        (count,) = struct.unpack_from(order + "H", tiff, offset)
        for position in range(offset + 2, offset + 2 + 12 * count, 12):
            tag, kind, _, value = struct.unpack_from(order + "HHLH", tiff, position)
            if tag == _ORIENTATION_TAG:
                if kind == 4:  # a long, where a short is due
                    (value,) = struct.unpack_from(order + "L", tiff, position + 8)
                return value if 1 <= value <= 8 else 1
    except struct.error:
        pass
    return 1
