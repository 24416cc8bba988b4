"""Cleaning the directory of a TIFF: one page, and only the tags that decode its pixels.

Notable: both Pillow and libtiff trust this directory and read what it points at. Tags that point
outside the file, or that describe anything but pixels, are taken out before either sees them.
"""

from __future__ import annotations

import struct

from PIL import Image

from polymodal.errors import DamagedMedia, MediaTooLarge, UnsupportedMedia

__all__ = ["clean_tiff"]

_WIDTH, _HEIGHT, _SAMPLES, _TILE_WIDTH, _TILE_HEIGHT = 256, 257, 277, 322, 323
_MAX_SAMPLES = 6
_MAX_TILE_PIXELS = 20_000_000
"""Of a tile larger than the picture: a decoder allocates whole tiles."""
_PIXEL_TAGS = {
    _WIDTH: "width",
    _HEIGHT: "height",
    258: "bits per sample",
    259: "compression",
    262: "photometric interpretation",
    266: "fill order",
    273: "strip offsets",
    274: "orientation",
    277: "samples per pixel",
    278: "rows per strip",
    279: "strip sizes",
    284: "planar configuration",
    292: "fax options",
    293: "fax options",
    317: "predictor",
    320: "colour map",
    322: "tile width",
    323: "tile height",
    324: "tile offsets",
    325: "tile sizes",
    332: "ink set",
    338: "extra samples",
    339: "sample format",
    347: "JPEG tables",
    512: "JPEG process",
    513: "JPEG offset",
    514: "JPEG length",
    515: "JPEG restart interval",
    519: "JPEG quantization tables",
    520: "JPEG DC tables",
    521: "JPEG AC tables",
    529: "YCbCr coefficients",
    530: "YCbCr subsampling",
    531: "YCbCr positioning",
    532: "reference black and white",
    34675: "colour profile",
}
_SINGLE = {256, 257, 259, 262, 266, 274, 277, 278, 284, 317, 322, 323, 512, 513, 514, 515, 531}
_UNIT_BYTES = {1: 1, 2: 1, 3: 2, 4: 4, 5: 8, 6: 1, 7: 1, 8: 2, 9: 4, 10: 8, 11: 4, 12: 8}
_UNIT_BYTES |= {13: 4, 16: 8, 17: 8, 18: 8}
_MAX_VALUES = 300_000
"""Of one tag: strips of a single row in the tallest picture, several times over."""


def clean_tiff(data: bytes) -> tuple[bytes, int, int]:
    """The file with the cleaned directory of its first page in place, its width and its height.

    Raises:
        DamagedMedia: the directory is outside the file or contradicts itself.
        UnsupportedMedia: more channels than Pillow reads.
        MediaTooLarge: more pixels than Pillow decodes of this format without complaint.
        struct.error: the file breaks off within the directory.
    """
    order = "<" if data[:2] == b"II" else ">"
    big = 43 in data[2:4]
    count_format, entry_format, value_format = ("Q", "HHQ8s", "Q") if big else ("H", "HHL4s", "L")
    (directory,) = struct.unpack_from(order + value_format, data, 8 if big else 4)
    if directory >= len(data):
        raise DamagedMedia("is a TIFF that breaks off before its directory")
    (count,) = struct.unpack_from(order + count_format, data, directory)
    if count > 4096:
        raise DamagedMedia(f"is a TIFF with {count:,} tags")
    entry_bytes = struct.calcsize("<" + entry_format)
    start = directory + struct.calcsize("<" + count_format)
    kept: dict[int, bytes] = {}
    sizes = {_WIDTH: 0, _HEIGHT: 0, _TILE_WIDTH: 0, _TILE_HEIGHT: 0}
    total_bytes = 0
    for position in range(start, start + count * entry_bytes, entry_bytes):
        tag, kind, values, field = struct.unpack_from(order + entry_format, data, position)
        if tag not in _PIXEL_TAGS or tag in kept or not values:
            continue
        size_bytes = _checked_bytes(tag, kind, values)
        if size_bytes > len(field):
            (offset,) = struct.unpack(order + value_format, field)
            total_bytes += size_bytes
            if offset + size_bytes > len(data) or total_bytes > len(data):
                raise DamagedMedia(f"is a TIFF whose {_PIXEL_TAGS[tag]} lie outside the file")
        if tag == _SAMPLES and struct.unpack_from(order + "H", field)[0] > _MAX_SAMPLES:
            raise UnsupportedMedia("is a TIFF of more channels than a picture has")
        if tag in sizes:
            unit = {3: "H", 4: "L", 16: "Q"}.get(kind)
            if unit is None:
                raise DamagedMedia("is a TIFF whose size is not a whole number")
            (sizes[tag],) = struct.unpack_from(order + unit, field)
        kept[tag] = data[position : position + entry_bytes]
    _check_pixels(*sizes.values())
    head = struct.pack(order + count_format, len(kept)) + b"".join(kept.values())
    head += bytes(8 if big else 4)  # no next page
    cleaned = b"".join([data[:directory], head, data[directory + len(head) :]])
    return cleaned, sizes[_WIDTH], sizes[_HEIGHT]


def _checked_bytes(tag: int, kind: int, values: int) -> int:
    """Bytes that a tag's values take."""
    if kind not in _UNIT_BYTES:
        raise DamagedMedia(f"is a TIFF whose {_PIXEL_TAGS[tag]} are of an unknown type")
    if tag in _SINGLE and values != 1:
        raise DamagedMedia(f"is a TIFF with {values:,} values for its {_PIXEL_TAGS[tag]}")
    if _UNIT_BYTES[kind] > 1 and values > _MAX_VALUES:
        raise DamagedMedia(f"is a TIFF with {values:,} {_PIXEL_TAGS[tag]}")
    return values * _UNIT_BYTES[kind]


def _check_pixels(width_px: int, height_px: int, tile_width_px: int, tile_height_px: int) -> None:
    pixels = width_px * height_px
    if not pixels:
        raise DamagedMedia("is a TIFF that does not declare its size")
    if tile_width_px * tile_height_px > max(pixels, _MAX_TILE_PIXELS):
        raise DamagedMedia("is a TIFF whose tiles are larger than the picture")
    most = Image.MAX_IMAGE_PIXELS
    if most is not None and pixels > most:
        raise MediaTooLarge(
            f"is a TIFF of {width_px:,} x {height_px:,} pixels; of this format no more than"
            f" {most / 1e6:,.0f} megapixels are read (PIL.Image.MAX_IMAGE_PIXELS)"
        )
