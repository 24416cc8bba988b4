"""Reading and cleaning headers before Pillow sees a file.

Notable: three things happen here that Pillow leaves undone. The size is known before anything is
allocated. Work that a small file can ask for without end is bounded: thousands of scans of one
JPEG, millions of empty chunks. And parts that have nothing to do with pixels (comments, text,
animation control, EXIF) are taken out, so what is damaged or oversized in them costs nothing and
warns of nothing; Python's warning filters cannot be changed safely while other threads run.
"""

from __future__ import annotations

import re
import struct
from dataclasses import dataclass

from polymodal.errors import DamagedMedia, MediaTooLarge
from polymodal.media.orientation import exif_orientation
from polymodal.media.tiff import clean_tiff

__all__ = ["Header", "read_header"]

_MAX_SEGMENTS = 20_000
"""Of a JPEG's header, of a GIF before its first frame; real files have a few hundred."""
_MAX_JUNK_BYTES = 1_000_000
"""Between the segments of a JPEG, which Pillow passes over byte by byte."""
_MAX_CHUNKS = 200_000
"""Of a PNG: 1 KB each at the largest file let in."""
_MAX_GIF_BLOCKS = 1_000_000
_FREE_SCANS = 16
"""Of a JPEG; the usual progressive script has 10."""
_MAX_SCANNED_PIXELS = 2_000_000_000
"""Pixels x scans of a JPEG with more scans than that: 1 s to 3 s of decoding (measured)."""

_BYTES_PER_PIXEL = {"JPEG": 5, "WEBP": 16, "AVIF": 20}
"""Memory to decode and convert, measured through Pillow; WebP and AVIF hold several copies."""
_BYTES_PER_PIXEL_OTHERWISE = 8
_BYTES_PER_PIXEL_IN_SCANS = 10
"""A JPEG of several scans keeps every coefficient until the last."""

_PNG_PIXEL_CHUNKS = {b"IHDR", b"PLTE", b"IDAT", b"IEND", b"tRNS", b"iCCP", b"eXIf"}
_STANDALONE_MARKERS = {0x00, 0x01, *range(0xD0, 0xD9)}
_START_OF_FRAME = set(range(0xC0, 0xD0)) - {0xC4, 0xC8, 0xCC}
_JPEG_MARKER = re.compile(rb"\xff+([^\xff])", re.DOTALL)
_PPM_HEADER = re.compile(rb"P.(?:(?:\s|#[^\r\n]*[\r\n])+[-+.0-9eE]+){2,3}\s")
_MAX_PPM_HEADER_BYTES = 65_536
_SCAN_OR_END = re.compile(rb"\xff[\xd9\xda]")


@dataclass(frozen=True)
class Header:
    """What a header said.

    Attributes:
        data: the file, without the parts that do not matter for its pixels.
        width_px: as declared, before any rotation; 0 where Pillow's own check is early enough.
        height_px: likewise.
        orientation: EXIF's, where it was read here; 0 where Pillow knows it.
        bytes_per_pixel: of memory that decoding takes, about.
    """

    data: bytes
    width_px: int = 0
    height_px: int = 0
    orientation: int = 0
    bytes_per_pixel: int = _BYTES_PER_PIXEL_OTHERWISE


def read_header(data: bytes, kind: str) -> Header:
    """Check and clean the header of a file of format `kind` (see `sniff.PICTURE_FORMATS`).

    Raises:
        DamagedMedia: the header breaks off or contradicts itself.
        MediaTooLarge: it asks for more work than a picture of its size may.
    """
    try:
        if kind == "JPEG":
            return _read_jpeg(data)
        if kind == "PNG":
            return _read_png(data)
        if kind == "GIF":
            return _read_gif(data)
        if kind == "WEBP":
            return Header(data, *_webp_size(data), bytes_per_pixel=_BYTES_PER_PIXEL[kind])
        if kind == "TIFF":
            return Header(*clean_tiff(data))
        if kind == "PPM" and not _PPM_HEADER.match(data, 0, _MAX_PPM_HEADER_BYTES):
            raise DamagedMedia("is a PPM without a complete header")
    except (struct.error, IndexError) as error:
        raise DamagedMedia(f"is a {kind} whose header breaks off") from error
    memory = _BYTES_PER_PIXEL.get(kind, _BYTES_PER_PIXEL_OTHERWISE)
    return Header(data, bytes_per_pixel=memory)


def _read_jpeg(data: bytes) -> Header:
    """Segments up to the first scan; EXIF is read and then hidden from Pillow."""
    position, junk_bytes, exif, hidden = 2, 0, b"", []
    width_px = height_px = 0
    for _ in range(_MAX_SEGMENTS):
        found = _JPEG_MARKER.search(data, position)
        if found is None or found[1] == b"\xd9":
            raise DamagedMedia("is a JPEG without picture data")
        marker, start = found[1][0], found.end()
        junk_bytes += start - 2 - position
        if junk_bytes > _MAX_JUNK_BYTES:
            raise DamagedMedia("is a JPEG with more junk than header")
        if marker in _STANDALONE_MARKERS:
            position = start
            continue
        (length,) = struct.unpack_from(">H", data, start)
        if marker in _START_OF_FRAME:
            height_px, width_px = struct.unpack_from(">HH", data, start + 3)
        elif marker == 0xE1 and data.startswith(b"Exif\0\0", start + 2):
            exif += data[start + 2 : start + length]
            hidden.append(start + 2)
        elif marker == 0xDA:
            break
        position = start + length
    else:
        raise DamagedMedia(f"is a JPEG with more than {_MAX_SEGMENTS:,} segments in its header")
    if not width_px or not height_px:
        raise DamagedMedia("is a JPEG that does not declare its size")
    scans = _count_scans(data, start)
    _check_scans(scans, width_px * height_px)
    if hidden:
        patched = bytearray(data)
        for position in hidden:
            patched[position : position + 4] = b"None"
        data = bytes(patched)
    memory = _BYTES_PER_PIXEL["JPEG"] if scans == 1 else _BYTES_PER_PIXEL_IN_SCANS
    return Header(data, width_px, height_px, exif_orientation(exif), memory)


def _count_scans(data: bytes, start: int) -> int:
    """Scans of the first picture in the file; others (a preview, a second eye) may follow it."""
    scans = 1
    if data.find(b"\xff\xda", start) >= 0:
        for found in _SCAN_OR_END.finditer(data, start):
            if found[0] == b"\xff\xd9":
                break
            scans += 1
    return scans


def _check_scans(scans: int, pixels: int) -> None:
    """Refuse a JPEG that makes the decoder go over its pixels without end."""
    if scans > _FREE_SCANS and scans * pixels > _MAX_SCANNED_PIXELS:
        raise MediaTooLarge(
            f"is a JPEG with {scans:,} scans of {pixels / 1e6:,.1f} megapixels each,"
            " which would take unreasonably long to decode"
        )


def _read_png(data: bytes) -> Header:
    """Only the chunks that make pixels; the first frame of an animation is the plain picture."""
    if data[12:16] != b"IHDR":
        raise DamagedMedia("is a PNG that does not begin with its header")
    width_px, height_px = struct.unpack_from(">LL", data, 16)
    kept, kept_from, position = [data[:8]], 8, 8
    for _ in range(_MAX_CHUNKS):
        if position + 8 > len(data):  # breaks off; the decoder says whether pixels are missing
            break
        length, chunk = struct.unpack_from(">L4s", data, position)
        end = position + 12 + length
        if chunk not in _PNG_PIXEL_CHUNKS:
            kept.append(data[kept_from:position])
            kept_from = end
        position = end
        if chunk == b"IEND":
            break
    else:
        raise MediaTooLarge(f"is a PNG of more than {_MAX_CHUNKS:,} chunks")
    if len(kept) > 1:
        data = b"".join([*kept, data[kept_from:position]])
    return Header(data, width_px, height_px)


def _read_gif(data: bytes) -> Header:
    """The canvas grown to hold the first frame, and of what precedes it only its transparency."""
    width_px, height_px, flags = struct.unpack_from("<HHB", data, 6)
    position = 13 + (3 << (flags & 7) + 1 if flags & 128 else 0)
    palette, control = data[13:position], b""
    for _ in range(_MAX_SEGMENTS):
        if data[position] == 0x2C:
            break
        if data[position] == 0x3B:
            raise DamagedMedia("is a GIF without a picture")
        if data[position] != 0x21:  # stray byte between blocks
            position += 1
            continue
        start = position
        position = _after_blocks(data, position + 2)
        if data[start + 1] == 0xF9:
            control = data[start:position]
    else:
        raise DamagedMedia(f"is a GIF with more than {_MAX_SEGMENTS:,} blocks before its picture")
    left, top, frame_width_px, frame_height_px = struct.unpack_from("<HHHH", data, position + 1)
    width_px = max(width_px, left + frame_width_px)
    height_px = max(height_px, top + frame_height_px)
    if max(width_px, height_px) > 0xFFFF:
        raise DamagedMedia("is a GIF whose frame lies outside its canvas")
    screen = data[:6] + struct.pack("<HH", width_px, height_px) + data[10:13]
    return Header(screen + palette + control + data[position:], width_px, height_px)


def _after_blocks(data: bytes, position: int) -> int:
    """Past a GIF's chain of data blocks, each with its length before it, and the empty last one."""
    for _ in range(_MAX_GIF_BLOCKS):
        length = data[position]
        position += 1 + length
        if not length:
            return position
    raise DamagedMedia(f"is a GIF with more than {_MAX_GIF_BLOCKS:,} blocks in an extension")


def _webp_size(data: bytes) -> tuple[int, int]:
    """The canvas; the decoder would allocate it before anyone could ask."""
    chunk = data[12:16]
    if chunk == b"VP8X":
        width, height = data[24:27], data[27:30]
        if len(height) < 3:
            raise DamagedMedia("is a WEBP whose header breaks off")
        return int.from_bytes(width, "little") + 1, int.from_bytes(height, "little") + 1
    if chunk == b"VP8L":
        (bits,) = struct.unpack_from("<L", data, 21)
        return (bits & 0x3FFF) + 1, (bits >> 14 & 0x3FFF) + 1
    if chunk == b"VP8 ":
        width_px, height_px = struct.unpack_from("<HH", data, 26)
        return width_px & 0x3FFF, height_px & 0x3FFF
    raise DamagedMedia("is a WEBP without picture data")
