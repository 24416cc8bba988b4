"""A folder of everything that turns up in folders of pictures: bad files, odd files, good files.

Every good picture is different, so collections that go by content hold each of them.
"""

from __future__ import annotations

import os
import struct
import zlib
from dataclasses import dataclass, field
from io import BytesIO
from pathlib import Path

import numpy as np
from PIL import Image, ImageDraw

from polymodal.errors import (
    DamagedMedia,
    MediaError,
    MediaNotFound,
    MediaTooLarge,
    UnsupportedMedia,
)


@dataclass
class NastyFolder:
    """What `make_nasty_folder` wrote."""

    root: Path
    good: list[Path] = field(default_factory=list)
    """Found by `find_files(root)` and opened, among them `vanishing`."""
    bad: dict[Path, type[MediaError]] = field(default_factory=dict)
    """Found by `find_files(root)`, as an `ItemError` or a path, and failing with this class."""
    passed_over: list[Path] = field(default_factory=list)
    """In the folder, but no picture by name."""
    vanishing: Path = Path()
    """One of the good: delete it between listing and opening, and it fails with MediaNotFound."""


def drawn(seed: int, width: int = 96, height: int = 64) -> Image.Image:
    """A colourful picture that differs with `seed`."""
    random = np.random.default_rng(seed)
    image = Image.new("RGB", (width, height), tuple(random.integers(0, 256, 3).tolist()))
    draw = ImageDraw.Draw(image)
    for _ in range(12):
        (x0, x1), (y0, y1) = (sorted(random.integers(0, n, 2).tolist()) for n in (width, height))
        colour = tuple(random.integers(0, 256, 3).tolist())
        draw.ellipse((x0, y0, x1 + 4, y1 + 4), fill=colour)
    return image


def encoded(image: Image.Image, kind: str, **options: object) -> bytes:
    """The picture as the bytes of a file."""
    buffer = BytesIO()
    image.save(buffer, kind, **options)
    return buffer.getvalue()


def has_avif() -> bool:
    """Whether the installed Pillow reads and writes AVIF."""
    try:
        from PIL import AvifImagePlugin
    except ImportError:
        return False
    return bool(AvifImagePlugin.SUPPORTED)


def png_chunk(kind: bytes, data: bytes) -> bytes:
    """One chunk with its length and checksum."""
    return struct.pack(">L", len(data)) + kind + data + struct.pack(">L", zlib.crc32(kind + data))


def png(width: int, height: int, depth: int, colour: int, rows: bytes, *extra: bytes) -> bytes:
    """A PNG written by hand: `rows` with their filter bytes, `extra` chunks before the pixels."""
    header = png_chunk(b"IHDR", struct.pack(">LLBBBBB", width, height, depth, colour, 0, 0, 0))
    pixels = png_chunk(b"IDAT", zlib.compress(rows))
    return b"\x89PNG\r\n\x1a\n" + header + b"".join(extra) + pixels + png_chunk(b"IEND", b"")


def exif(orientation: int) -> bytes:
    """An EXIF block with nothing but the orientation."""
    block = Image.Exif()
    block[0x0112] = orientation
    return block.tobytes()


def _good_files() -> dict[str, bytes]:
    sixteen_bit = np.linspace(0, 65535, 96 * 64).astype(np.uint16).reshape(64, 96)
    clear = drawn(4).convert("RGBA")
    clear.putalpha(Image.linear_gradient("L").resize(clear.size))
    frames = [drawn(seed) for seed in (5, 6, 7)]
    strip = drawn(8, 200, 20).resize((20_000, 20))
    return {
        "good.jpg": encoded(drawn(0), "JPEG"),
        "one pixel.png": encoded(Image.new("RGB", (1, 1), "red"), "PNG"),
        "sixteen bit.png": encoded(Image.fromarray(sixteen_bit), "PNG"),
        "cmyk.jpg": encoded(drawn(2).convert("CMYK"), "JPEG"),
        "palette alpha.png": encoded(clear.quantize(64), "PNG"),
        "grey alpha.png": encoded(drawn(9).convert("LA"), "PNG"),
        "rotated.jpg": encoded(drawn(10, 80, 120), "JPEG", exif=exif(6)),
        "animated.gif": encoded(frames[0], "GIF", save_all=True, append_images=frames[1:]),
        "animated.webp": encoded(frames[1], "WEBP", save_all=True, append_images=frames[2:]),
        "strip 20000 x 20.png": encoded(strip, "PNG"),
        "float.tiff": encoded(Image.fromarray(np.linspace(0, 1, 6144, dtype="f4").reshape(64, 96)),
                              "TIFF"),
        "really a jpeg.png": encoded(drawn(11), "JPEG"),
        "UPPER.JPG": encoded(drawn(12), "JPEG"),
        "emoji 🛍️👗.jpg": encoded(drawn(13), "JPEG"),
        "new\nline.jpg": encoded(drawn(14), "JPEG"),
        "-dash.jpg": encoded(drawn(15), "JPEG"),
        "[brackets] *.jpg": encoded(drawn(16), "JPEG"),
        "folder.jpg/nested/deep.bmp": encoded(drawn(17), "BMP"),
        "vanishing.jpg": encoded(drawn(18), "JPEG"),
    }  # fmt: skip


def _bad_files() -> dict[str, tuple[bytes, type[MediaError]]]:
    jpeg, picture = encoded(drawn(20, 320, 240), "JPEG"), encoded(drawn(21), "PNG")
    frame = jpeg.index(b"\xff\xc0") + 5
    return {
        "truncated.jpg": (jpeg[: len(jpeg) // 2], DamagedMedia),
        "truncated.png": (picture[: len(picture) // 2], DamagedMedia),
        "only a start.jpg": (jpeg[:20], DamagedMedia),
        "empty.jpg": (b"", DamagedMedia),
        "zeros.jpg": (bytes(5000), DamagedMedia),
        "renamed pdf.jpg": (b"%PDF-1.7\n%\xe2\xe3\xcf\xd3\n1 0 obj\n", UnsupportedMedia),
        "text.png": (b"this is not a picture at all\n" * 20, UnsupportedMedia),
        "phone.heic": (b"\0\0\0\x18ftypheic\0\0\0\0mif1heic" + bytes(64), UnsupportedMedia),
        "bomb.png": (png(60_000, 60_000, 8, 2, bytes(4096)), MediaTooLarge),
        "bomb.jpg": (
            jpeg[:frame] + struct.pack(">HH", 60_000, 60_000) + jpeg[frame + 4 :],
            MediaTooLarge,
        ),
    }


def make_nasty_folder(root: Path) -> NastyFolder:
    """Write the folder, and say what must become of each file in it."""
    folder = NastyFolder(root, vanishing=root / "vanishing.jpg")
    for name, data in _good_files().items():
        _write(root / name, data)
        folder.good.append(root / name)
    for name, (data, error) in _bad_files().items():
        _write(root / name, data)
        folder.bad[root / name] = error
    try:
        latin = root / os.fsdecode("café.jpg".encode("latin-1"))
        _write(latin, encoded(drawn(30), "JPEG"))
        folder.good.append(latin)
    except OSError:
        pass  # the file system takes only UTF-8
    (root / "dangling.jpg").symlink_to(root / "no such target.jpg")
    folder.bad[root / "dangling.jpg"] = MediaNotFound
    (root / "loop").symlink_to(root, target_is_directory=True)
    unreadable = root / "unreadable.jpg"
    _write(unreadable, encoded(drawn(31), "JPEG"))
    unreadable.chmod(0)
    if os.access(unreadable, os.R_OK):  # root may read everything
        folder.good.append(unreadable)
    else:
        folder.bad[unreadable] = MediaNotFound
    for name in (".hidden.jpg", ".hidden/a.jpg", "notes.txt", "no extension"):
        _write(root / name, encoded(drawn(32), "JPEG"))
        folder.passed_over.append(root / name)
    return folder


def _write(path: Path, data: bytes) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(data)
