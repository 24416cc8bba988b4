"""Mutated picture files, reproducible by number: `python -m tests.media.fuzz FIRST COUNT`.

Prints one JSON line before and one after each mutation is opened, so that whoever reads them knows
which one crashed the process or hangs; `mutation(n)` gives its bytes again.
"""

from __future__ import annotations

import json
import random
import re
import resource
import struct
import sys
import time
import warnings
from collections.abc import Callable
from functools import cache
from pathlib import Path

from polymodal.errors import MediaError
from polymodal.media.pictures import open_picture
from tests.media.nasty import drawn, encoded, exif, has_avif

_NUMBERS = (0, 1, 2, 7, 0x7F, 0x80, 0xFF, 0x100, 0x7FFF, 0x8000, 0xFFFF, 0x10000, 0x7FFFFFFF)
_NUMBERS += (0x80000000, 0xFFFFFFFE, 0xFFFFFFFF)


@cache
def seeds() -> list[bytes]:
    """Small files of every format and of the variants that take other paths in a decoder."""
    image = drawn(1, 64, 48)
    clear = image.convert("RGBA")
    clear.putalpha(image.convert("L"))
    frames = {"save_all": True, "append_images": [drawn(2, 64, 48), drawn(3, 64, 48)]}
    files = [
        encoded(image, "JPEG", exif=exif(6), comment=b"a comment"),
        encoded(image, "JPEG", progressive=True),
        encoded(image.convert("CMYK"), "JPEG"),
        encoded(clear, "PNG", exif=exif(3)),
        encoded(image.quantize(32), "PNG", transparency=bytes(range(32))),
        encoded(image.convert("I;16"), "PNG"),
        encoded(image, "PNG", **frames),
        encoded(image, "WEBP"),
        encoded(clear, "WEBP", lossless=True),
        encoded(image, "WEBP", exif=exif(8), **frames),
        encoded(image, "GIF", **frames),
        encoded(image, "GIF", interlace=True, transparency=0, comment=b"a comment"),
        encoded(image, "BMP"),
        encoded(image.quantize(16), "BMP"),
        encoded(image, "TIFF"),
        encoded(image, "TIFF", compression="tiff_lzw"),
        encoded(image, "TIFF", compression="jpeg"),
        encoded(image.convert("F"), "TIFF", compression="tiff_adobe_deflate"),
        encoded(image, "PPM"),
        b"P6 3 2 99\n" + bytes(range(18)),
    ]
    if has_avif():
        files.append(encoded(image, "AVIF", exif=exif(5)))
    return files


def _flip(data: bytearray, rng: random.Random) -> None:
    for _ in range(rng.choice((1, 1, 2, 8, 64))):
        data[rng.randrange(len(data))] ^= 1 << rng.randrange(8)


def _flip_in_header(data: bytearray, rng: random.Random) -> None:
    for _ in range(rng.choice((1, 2, 4))):
        data[rng.randrange(min(len(data), 120))] = rng.randrange(256)


def _truncate(data: bytearray, rng: random.Random) -> None:
    del data[rng.randrange(len(data)) :]


def _edit_number(data: bytearray, rng: random.Random) -> None:
    """A length, size, count or offset field becomes a number that code trips over."""
    form = rng.choice((">H", "<H", ">L", "<L"))
    value = rng.choice(_NUMBERS) & (0xFFFF if form[1] == "H" else 0xFFFFFFFF)
    reach = rng.choice((64, 300, len(data)))
    position = rng.randrange(max(1, min(reach, len(data) - 4)))
    if position + struct.calcsize(form) <= len(data):
        struct.pack_into(form, data, position, value)


def _block(data: bytearray, rng: random.Random) -> tuple[int, int]:
    start = rng.randrange(len(data))
    return start, min(len(data), start + rng.choice((1, 4, 12, 40, 200, 1000)))


def _delete(data: bytearray, rng: random.Random) -> None:
    start, end = _block(data, rng)
    del data[start:end]


def _repeat(data: bytearray, rng: random.Random) -> None:
    start, end = _block(data, rng)
    data[start:start] = data[start:end] * rng.choice((1, 3, 50))


def _shuffle(data: bytearray, rng: random.Random) -> None:
    """Two blocks change places."""
    (a, b), (c, d) = sorted((_block(data, rng), _block(data, rng)))
    if b <= c:
        data[a:d] = data[c:d] + data[b:c] + data[a:b]


def _splice(data: bytearray, rng: random.Random) -> None:
    """The rest is another file's."""
    other = rng.choice(seeds())
    data[rng.randrange(len(data)) :] = other[rng.randrange(len(other)) :]


def _insert(data: bytearray, rng: random.Random) -> None:
    start = rng.randrange(len(data))
    data[start:start] = rng.randbytes(rng.choice((1, 2, 16, 256)))


_MUTATORS: list[Callable[[bytearray, random.Random], None]] = [
    _flip,
    _flip_in_header,
    _truncate,
    _edit_number,
    _edit_number,
    _delete,
    _repeat,
    _shuffle,
    _splice,
    _insert,
]


def mutation(number: int) -> bytes:
    """The mutated file of that number."""
    rng = random.Random(number)
    files = seeds()
    data = bytearray(files[number % len(files)])
    for _ in range(rng.choice((1, 1, 1, 2, 3))):
        if data:
            rng.choice(_MUTATORS)(data, rng)
    return bytes(data)


def main(first: int, count: int) -> None:
    """Open mutations one after another, saying which and what came of it."""
    leaked: list[str] = []
    warnings.simplefilter("always")
    warnings.showwarning = lambda message, *_args, **_kwargs: leaked.append(str(message))
    for number in range(first, first + count):
        data = mutation(number)
        print(json.dumps({"number": number}), flush=True)
        start = time.perf_counter()
        try:
            picture = open_picture(data)
            assert picture.image.mode == "RGB"
            assert picture.image.getpixel((0, 0)) is not None
            outcome = "Picture"
        except MediaError as error:
            outcome = type(error).__name__
        except BaseException as error:  # the point of the exercise
            outcome = f"escaped: {error!r}"
        report = {
            "number": number,
            "outcome": outcome,
            "seconds": time.perf_counter() - start,
            "warnings": leaked,
            "peak_mb": peak_mb(),
        }
        print(json.dumps(report), flush=True)
        leaked.clear()


def peak_mb() -> int:
    """The most memory this process has had; `ru_maxrss` also counts its parent's before exec."""
    status = Path("/proc/self/status")
    if not status.exists():  # not Linux
        return int(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss) // 1024**2
    found = re.search(r"VmHWM:\s+(\d+) kB", status.read_text())
    assert found
    return int(found[1]) // 1024


if __name__ == "__main__":
    main(int(sys.argv[1]), int(sys.argv[2]))
