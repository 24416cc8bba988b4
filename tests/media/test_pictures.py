"""Opening: names, limits, draft decoding, completeness, threads, and what is left untouched."""

from __future__ import annotations

import io
import struct
import time
import zlib
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest
from PIL import Image, ImageFile

from polymodal.errors import (
    DamagedMedia,
    MediaError,
    MediaNotFound,
    MediaTooLarge,
    UnsupportedMedia,
)
from polymodal.media import pictures
from polymodal.media.pictures import Limits, open_picture, picture_name
from tests.media.nasty import drawn, encoded, exif, has_avif, png, png_chunk

SEEDS = {
    "JPEG": {},
    "JPEG progressive": {"progressive": True},
    "PNG": {},
    "PNG with many chunks": {},
    "WEBP": {},
    "WEBP lossless": {"lossless": True},
    "GIF": {},
    "BMP": {},
    "PPM": {},
    "TIFF": {},
    "TIFF lzw": {"compression": "tiff_lzw"},
    "TIFF jpeg": {"compression": "jpeg"},
    "AVIF": {},
}


def seed(kind: str) -> bytes:
    if kind == "PNG with many chunks":
        plain = encoded(drawn(40, 200, 150), "PNG")
        start = plain.index(b"IDAT") - 4
        (length,) = struct.unpack_from(">L", plain, start)
        data = plain[start + 8 : start + 8 + length]
        parts = [png_chunk(b"IDAT", data[i : i + 500]) for i in range(0, length, 500)]
        return plain[:start] + b"".join(parts) + plain[start + 12 + length :]
    if kind == "AVIF" and not has_avif():
        pytest.skip("this Pillow has no AVIF")
    return encoded(drawn(40, 200, 150), kind.split(maxsplit=1)[0], **SEEDS[kind])


@pytest.mark.parametrize("kind", SEEDS)
def test_truncated_file_is_refused_or_complete_never_filled_up(kind: str) -> None:
    whole = seed(kind)
    expected = open_picture(whole).image.tobytes()
    refused = 0
    for cut in [*range(1, len(whole), max(1, len(whole) // 60)), len(whole) - 1]:
        try:
            picture = open_picture(whole[:cut])
        except (DamagedMedia, UnsupportedMedia):
            refused += 1
        else:
            assert picture.image.tobytes() == expected, f"{kind} cut at {cut} of {len(whole)}"
    assert refused > 50


@pytest.mark.parametrize("target_px", [64, 200, 224, 288, 640, 3000])
@pytest.mark.parametrize("size", [(1600, 1200), (1201, 1607), (900, 301), (20_000, 20)])
def test_draft_decoding_keeps_at_least_the_target(target_px: int, size: tuple[int, int]) -> None:
    source = encoded(drawn(41, *size), "JPEG", exif=exif(6))
    picture = open_picture(source, target_px=target_px)
    assert (picture.width_px, picture.height_px) == size[::-1]
    assert min(picture.image.size) >= min(target_px, *size)
    assert (picture.image.width < picture.width_px) == (min(size) >= 2 * target_px)


def test_draft_decoding_shows_the_same_picture() -> None:
    source = encoded(drawn(42, 1600, 1200), "JPEG", quality=95)
    small = (224, 168)
    full = open_picture(source).image.resize(small, Image.Resampling.BICUBIC)
    draft = open_picture(source, target_px=150).image.resize(small, Image.Resampling.BICUBIC)
    difference = np.abs(np.asarray(full).astype(int) - np.asarray(draft).astype(int))
    assert difference.mean() < 1.5


def test_strip_of_20000_by_20_opens_whole() -> None:
    picture = open_picture(encoded(drawn(43, 20_000, 20), "PNG"), target_px=224)
    assert picture.image.size == (20_000, 20)


@pytest.mark.parametrize("kind", ["PNG", "JPEG", "GIF", "WEBP", "TIFF", "BMP", "PPM"])
def test_declared_size_over_the_limit_is_refused_before_decoding(kind: str) -> None:
    source = bytearray(encoded(drawn(44), kind))
    where, form, side = {
        "PNG": (16, ">LL", 60_000),
        "JPEG": (source.find(b"\xff\xc0") + 5, ">HH", 60_000),
        "GIF": (6, "<HH", 60_000),
        "WEBP": (26, "<HH", 16_000),
        "BMP": (18, "<LL", 60_000),
    }.get(kind, (0, "", 0))
    if kind == "PPM":
        source = bytearray(b"P6 60000 60000 255\n" + bytes(100))
    elif kind == "TIFF":
        for tag in (256, 257):
            entry = source.find(struct.pack("<HHL", tag, 4, 1))
            assert entry > 0
            struct.pack_into("<L", source, entry + 8, 60_000)
    else:
        struct.pack_into(form, source, where, side, side)
    start = time.process_time()
    with pytest.raises(MediaTooLarge, match="pixels"):
        open_picture(bytes(source))
    assert time.process_time() - start < 2


def test_limits_are_the_callers() -> None:
    source = encoded(drawn(45, 200, 100), "PNG")
    assert open_picture(source, limits=Limits(max_pixels=20_000)).width_px == 200
    for limits in (
        Limits(max_pixels=19_999),
        Limits(max_side_px=199),
        Limits(max_bytes=len(source) - 1),
        Limits(max_memory_bytes=40_000),
    ):
        with pytest.raises(MediaTooLarge, match=r"Limits\.max_"):
            open_picture(source, limits=limits)
        with pytest.raises(MediaTooLarge):
            open_picture(np.zeros((400, 400)), limits=Limits(max_pixels=19_999))
    with pytest.raises(MediaTooLarge):
        open_picture(drawn(45, 200, 100), limits=Limits(max_pixels=19_999))


def test_jpeg_of_endless_scans_is_refused_at_once() -> None:
    source = encoded(Image.new("L", (4000, 4000), 128), "JPEG", progressive=True)
    last = source.rindex(b"\xff\xda")
    bomb = source[:last] + source[last:-2] * 1000 + b"\xff\xd9"
    assert len(bomb) < 20_000_000
    start = time.process_time()
    with pytest.raises(MediaTooLarge, match="scans"):
        open_picture(bomb)
    assert time.process_time() - start < 2
    assert open_picture(source).width_px == 4000


def test_png_of_endless_chunks_is_refused_at_once() -> None:
    empty = png_chunk(b"tEXt", b"") * 1_000_000
    start = time.process_time()
    with pytest.raises(MediaTooLarge, match="chunks"):
        open_picture(png(1, 1, 8, 2, b"\0\1\2\3", empty))
    assert time.process_time() - start < 2


def test_format_decoded_in_python_has_a_smaller_limit() -> None:
    with pytest.raises(MediaTooLarge, match="decodes slowly"):
        open_picture(b"P6 5000 5000 200\n" + bytes(1000))
    picture = open_picture(b"P6 # comment\n2 1 100\n" + bytes([0, 50, 100, 100, 50, 0]))
    assert picture.image.getpixel((1, 0)) == (255, 128, 0)


def test_headers_of_endless_junk_are_refused_at_once() -> None:
    start = time.process_time()
    jpeg = encoded(drawn(46), "JPEG")
    long = b"x" * 30_000_000
    for source in (
        jpeg[:20] + long + jpeg[20:],
        jpeg[:20] + b"\xff" * 30_000_000 + jpeg[20:],
        b"P6 #" + long + b"\n1 1 255\n123",
        b"GIF89a\1\0\1\0\0\0\0" + b"!\xfe\1x\0" * 1_000_000,
        b"GIF89a\1\0\1\0\0\0\0!\xfe" + b"\1x" * 3_000_000,
    ):
        with pytest.raises(DamagedMedia):
            open_picture(source)
    assert time.process_time() - start < 5
    assert open_picture(jpeg[:20] + b"junk" + jpeg[20:]).width_px == 96


def test_tiff_tile_larger_than_its_picture_is_refused() -> None:
    tags = {256: 64, 257: 64, 258: 8, 259: 5, 262: 1, 277: 1, 322: 60_000, 323: 60_000, 324: 8}
    tags[325] = 100
    entries = b"".join(struct.pack("<HHLL", tag, 4, 1, value) for tag, value in tags.items())
    source = b"II*\0" + struct.pack("<LH", 8, len(tags)) + entries + bytes(200)
    with pytest.raises(DamagedMedia, match="tiles are larger"):
        open_picture(source)


def test_format_that_the_installed_pillow_lacks_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(pictures._PLUGINS, "AVIF", ("PIL.NoSuchPlugin", "NoSuchFile"))
    with pytest.raises(UnsupportedMedia, match="is AVIF, which the installed Pillow cannot read"):
        open_picture(b"\0\0\0\x1cftypavif\0\0\0\0avifmif1miaf" + bytes(50))


def test_formats_outside_the_list_never_reach_a_decoder() -> None:
    icon = encoded(drawn(46, 32, 32), "ICO")
    for source in (icon, b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 9 9\n", b"SIMPLE  =    T"):
        with pytest.raises(UnsupportedMedia, match="looks like"):
            open_picture(source)


@pytest.mark.parametrize(
    ("content", "meaning"),
    [
        (b"%PDF-1.4", "a PDF document"),
        (b"PK\x03\x04....", "a ZIP archive"),
        (b"\0\0\0\x20ftypisom\0\0\0\0isommp42....", "an MP4 or QuickTime video"),
        (b"RIFF\0\0\0\0WAVEfmt ", "a WAV recording"),
        (b"<!DOCTYPE html><html>", "a web page"),
        (b"<?xml version='1.0'?><svg></svg>", "an SVG drawing"),
        ("schöne Grüße".encode(), "text"),
        (bytes(range(1, 255)), "binary data of no known kind"),
        (b"P3 1 1 255 0 0 0", "a PPM in plain text"),
        (b"version https://git-lfs.github.com/spec/v1\n", "git lfs pull"),
    ],
)
def test_other_content_is_named(content: bytes, meaning: str) -> None:
    with pytest.raises(UnsupportedMedia, match=meaning):
        open_picture(content)


def test_inputs_that_are_no_pictures_say_what_they_are() -> None:
    for source, reason in [
        (np.zeros((2, 3, 5), np.uint8), r"has shape \(2, 3, 5\)"),
        (np.zeros((2, 3), np.int64), "holds int64"),
        (np.full((2, 3), 7.0), r"floats outside 0\.\.1"),
        (np.full((2, 3), np.nan), r"floats outside 0\.\.1"),
        (3, "is int, not a path"),
    ]:
        with pytest.raises(UnsupportedMedia, match=reason):
            open_picture(source)
    for empty in (b"", np.zeros((0, 4, 3)), Image.new("RGB", (0, 3))):
        with pytest.raises(DamagedMedia):
            open_picture(empty)


def test_paths_that_cannot_be_opened_say_why(tmp_path: Path) -> None:
    with pytest.raises(MediaNotFound, match="no such file"):
        open_picture(tmp_path / "none.jpg")
    with pytest.raises(UnsupportedMedia, match="is a folder"):
        open_picture(tmp_path)
    with pytest.raises(MediaNotFound, match="nothing is fetched"):
        open_picture("https://example.org/a.jpg")
    with pytest.raises(MediaError):
        open_picture("a\0b.jpg")


def test_names_for_messages() -> None:
    assert picture_name("a/b.jpg") == "a/b.jpg"
    assert picture_name(Path("b.jpg")) == "b.jpg"
    assert picture_name(b"x" * 4211) == "<4,211 bytes>"
    assert picture_name(Image.new("RGB", (640, 480))) == "<image 640x480>"
    assert picture_name(np.zeros((4, 6, 3))) == "<array 4x6x3>"
    assert picture_name("caf\udce9.jpg") == r"caf\xe9.jpg"
    with pytest.raises(DamagedMedia, match=r"^shop/1\.jpg: is empty"):
        open_picture(b"", name="shop/1.jpg")


def test_truncated_pil_image_is_damaged() -> None:
    whole = encoded(drawn(47, 300, 200), "JPEG")
    with pytest.raises(DamagedMedia, match="truncated"):
        open_picture(Image.open(io.BytesIO(whole[: len(whole) // 2])))


def test_rgb_picture_in_memory_is_not_copied_or_changed() -> None:
    image = drawn(48)
    image.info["note"] = "kept"
    assert open_picture(image).image.tobytes() == image.tobytes()
    assert image.info == {"note": "kept"}


def test_state_of_pillow_is_left_alone() -> None:
    before = (Image.MAX_IMAGE_PIXELS, ImageFile.LOAD_TRUNCATED_IMAGES)
    open_picture(encoded(drawn(49), "JPEG"), target_px=32)
    assert (Image.MAX_IMAGE_PIXELS, ImageFile.LOAD_TRUNCATED_IMAGES) == before == (89478485, False)


def test_large_photograph_warns_of_nothing() -> None:
    rows = zlib.compress(bytes(12_500 + 1) * 8_000, 1)
    header = png_chunk(b"IHDR", struct.pack(">LLBBBBB", 100_000, 8_000, 1, 0, 0, 0, 0))
    tall = b"\x89PNG\r\n\x1a\n" + header + png_chunk(b"IDAT", rows) + png_chunk(b"IEND", b"")
    with pytest.raises(MediaTooLarge):
        open_picture(tall)
    source = encoded(Image.new("L", (10_500, 9_000)), "JPEG")
    assert open_picture(source, target_px=224).width_px == 10_500


def test_threads_open_pictures_side_by_side() -> None:
    sources = [
        encoded(drawn(n), kind) for n in range(12) for kind in ("JPEG", "PNG", "GIF", "TIFF")
    ]
    sources += [source[: len(source) // 2] for source in sources]

    def outcome(source: bytes) -> bytes | str:
        try:
            return open_picture(source).image.tobytes()
        except MediaError as error:
            return str(error)

    expected = [outcome(source) for source in sources]
    with ThreadPoolExecutor(8) as pool:
        for _ in range(3):
            assert list(pool.map(outcome, sources)) == expected
