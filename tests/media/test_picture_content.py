"""Opened pictures show what the file shows: orientation, depth, colour and transparency."""

from __future__ import annotations

import io
import struct
import zlib
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image

from polymodal.media.pictures import Picture, open_picture
from tests.media.nasty import drawn, encoded, exif, has_avif, png, png_chunk

CORNERS = np.array([[[255, 0, 0], [0, 255, 0]], [[0, 0, 255], [255, 255, 0]]], np.uint8)
UPRIGHT = np.ascontiguousarray(CORNERS.repeat(40, axis=0).repeat(60, axis=1))
"""120 x 80: red and green above, blue and yellow below."""

STORED = {
    # What a file holds for each EXIF orientation: row 0 and column 0 lie where the standard says.
    1: lambda u: u,
    2: np.fliplr,
    3: lambda u: np.rot90(u, 2),
    4: np.flipud,
    5: lambda u: u.transpose(1, 0, 2),
    6: lambda u: np.rot90(u, 1),
    7: lambda u: np.rot90(u, 2).transpose(1, 0, 2),
    8: lambda u: np.rot90(u, -1),
}


def pixels(picture: Picture) -> NDArray[np.int16]:
    assert picture.image.mode == "RGB"
    return np.asarray(picture.image).astype(np.int16)


def error(picture: Picture, reference: object) -> int:
    """Largest difference of any value."""
    return int(np.abs(pixels(picture) - np.asarray(reference).astype(np.int16)).max())


@pytest.mark.parametrize("kind", ["JPEG", "PNG", "WEBP", "TIFF"])
@pytest.mark.parametrize("orientation", range(1, 9))
def test_exif_orientation_is_undone(kind: str, orientation: int) -> None:
    stored = Image.fromarray(np.ascontiguousarray(STORED[orientation](UPRIGHT)))
    options = {"lossless": True} if kind == "WEBP" else {}
    options |= {"quality": 95, "subsampling": 0} if kind == "JPEG" else {}
    picture = open_picture(encoded(stored, kind, exif=exif(orientation), **options))
    assert (picture.width_px, picture.height_px) == picture.image.size == (120, 80)
    middles = np.ix_([20, 60], [30, 90])
    assert np.abs(pixels(picture)[middles] - CORNERS).max() <= 4


def test_orientation_of_a_pil_image_is_undone_and_the_image_not_changed() -> None:
    stored = Image.fromarray(np.ascontiguousarray(STORED[6](UPRIGHT)))
    image = Image.open(io.BytesIO(encoded(stored, "PNG", exif=exif(6))))
    picture = open_picture(image)
    assert error(picture, UPRIGHT) == 0
    assert image.size == (80, 120)
    assert "exif" in image.info


def test_orientation_in_big_endian_exif_is_read() -> None:
    block = b"Exif\0\0MM\0*" + struct.pack(">LHHHLHH", 8, 1, 0x0112, 3, 1, 3, 0) + bytes(4)
    assert error(open_picture(encoded(drawn(1), "PNG", exif=block)), drawn(1).rotate(180)) == 0


def test_damaged_exif_costs_nothing_and_warns_of_nothing() -> None:
    broken = exif(1)[:-8] + b"\xff" * 40
    source = encoded(drawn(1), "JPEG", exif=broken)
    assert error(open_picture(source), Image.open(io.BytesIO(encoded(drawn(1), "JPEG")))) == 0


@pytest.mark.parametrize("kind", ["PNG", "TIFF"])
def test_sixteen_bit_grey_is_scaled_not_clipped(kind: str) -> None:
    gradient = np.linspace(0, 65535, 200 * 30).astype(np.uint16).reshape(30, 200)
    picture = open_picture(encoded(Image.fromarray(gradient), kind))
    expected = np.round(gradient / 257.0)[..., None].repeat(3, axis=2)
    assert error(picture, expected) <= 1
    assert pixels(picture).min() == 0
    assert pixels(picture).max() == 255


def test_sixteen_bit_big_endian_tiff_is_scaled() -> None:
    gradient = np.linspace(0, 65535, 6000).astype(">u2").reshape(30, 200)
    tags = [(256, 200), (257, 30), (258, 16), (259, 1), (262, 1), (273, 134), (277, 1), (278, 30)]
    entries = b"".join(struct.pack(">HHLL", tag, 4, 1, value) for tag, value in tags)
    entries += struct.pack(">HHLL", 279, 4, 1, 12_000)
    data = b"MM\0*" + struct.pack(">LH", 8, 9) + entries + bytes(4)
    data += bytes(134 - len(data)) + gradient.tobytes()
    assert error(open_picture(data), np.round(gradient / 257.0)[..., None].repeat(3, 2)) <= 1


def test_sixteen_bit_colour_png_matches_its_values() -> None:
    values = np.linspace(0, 65535, 20 * 30 * 3).astype(">u2").reshape(20, 30, 3)
    rows = b"".join(b"\0" + row.tobytes() for row in values)
    picture = open_picture(png(30, 20, 16, 2, rows))
    assert error(picture, np.round(values / 257.0)) <= 1


def test_sixteen_bit_grey_with_alpha_is_scaled() -> None:
    grey, alpha = np.full((4, 4), 0x8000), np.full((4, 4), 0xFFFF)
    values = np.stack([grey, alpha], axis=2).astype(">u2")
    rows = b"".join(b"\0" + row.tobytes() for row in values)
    assert error(open_picture(png(4, 4, 16, 4, rows)), np.full((4, 4, 3), 128)) <= 1


@pytest.mark.parametrize(
    ("low", "high", "expected"),
    [(0.0, 1.0, (0, 255)), (0.0, 0.5, (0, 128)), (0.0, 255.0, (0, 255)), (-3.0, 900.0, (0, 255))],
)
def test_float_tiff_keeps_its_natural_range(
    low: float, high: float, expected: tuple[int, int]
) -> None:
    ramp = np.linspace(low, high, 600, dtype=np.float32).reshape(20, 30)
    ramp[10, 10] = np.nan
    seen = pixels(open_picture(encoded(Image.fromarray(ramp), "TIFF")))
    assert (seen[0, 0, 0], seen[-1, -1, 0]) == expected


def test_cmyk_jpeg_shows_its_colours() -> None:
    inks = np.zeros((64, 64, 4), np.uint8)
    inks[:32, :32] = (0, 255, 255, 0)  # red
    inks[:32, 32:] = (255, 0, 255, 0)  # green
    inks[32:, :32] = (40, 80, 120, 60)
    inks[32:, 32:] = (0, 0, 0, 200)  # dark grey
    image = Image.frombytes("CMYK", (64, 64), inks.tobytes())
    seen = pixels(open_picture(encoded(image, "JPEG", quality=98)))
    ink = inks.astype(float)
    expected = (255 - ink[..., :3]) * (255 - ink[..., 3:]) / 255
    middles = np.ix_([16, 48], [16, 48])
    assert np.abs(seen[middles] - expected[middles]).max() <= 6


def test_cmyk_tiff_shows_its_colours() -> None:
    image = Image.new("CMYK", (4, 4), (0, 255, 255, 0))
    assert error(open_picture(encoded(image, "TIFF")), np.full((4, 4, 3), (255, 0, 0))) == 0


@pytest.mark.parametrize("kind", ["PNG", "WEBP", "TIFF", "AVIF"])
def test_alpha_lies_over_white(kind: str) -> None:
    if kind == "AVIF" and not has_avif():
        pytest.skip("this Pillow has no AVIF")
    rgba = np.zeros((32, 48, 4), np.uint8)
    rgba[...] = (200, 40, 0, 255)
    rgba[:, 16:32, 3] = 128
    rgba[:, 32:] = (0, 0, 0, 0)  # black hides beneath; white must show
    options = {
        "WEBP": {"lossless": True, "exact": True},
        "AVIF": {"quality": 100, "subsampling": "4:4:4"},
    }.get(kind, {})
    picture = open_picture(encoded(Image.fromarray(rgba), kind, **options))
    alpha = rgba[..., 3:] / 255.0
    expected = np.round(rgba[..., :3] * alpha + 255 * (1 - alpha))
    assert error(picture, expected) <= (6 if kind == "AVIF" else 1)


def test_palette_with_alpha_per_colour_lies_over_white() -> None:
    image = Image.new("P", (3, 1))
    image.putpalette([255, 0, 0, 0, 255, 0, 0, 0, 255])
    image.putdata([0, 1, 2])
    source = encoded(image, "PNG", transparency=bytes([255, 128, 0]))
    assert error(open_picture(source), [[(255, 0, 0), (127, 255, 127), (255, 255, 255)]]) <= 1


def test_grey_alpha_and_transparent_colour_lie_over_white() -> None:
    grey = Image.merge("LA", (Image.new("L", (2, 1), 100), Image.new("L", (2, 1), 0)))
    assert error(open_picture(encoded(grey, "PNG")), np.full((1, 2, 3), 255)) == 0
    keyed = Image.new("RGB", (2, 1), (1, 2, 3))
    keyed.putpixel((1, 0), (9, 9, 9))
    source = encoded(keyed, "PNG", transparency=(1, 2, 3))
    assert error(open_picture(source), [[(255, 255, 255), (9, 9, 9)]]) == 0


@pytest.mark.parametrize("kind", ["GIF", "WEBP", "PNG"])
def test_animation_gives_its_first_frame(kind: str) -> None:
    frames = [Image.new("RGB", (40, 30), colour) for colour in ("red", "lime", "blue")]
    options = {"lossless": True} if kind == "WEBP" else {}
    source = encoded(frames[0], kind, save_all=True, append_images=frames[1:], **options)
    assert error(open_picture(source), frames[0]) == 0


def test_transparent_gif_lies_over_white() -> None:
    image = Image.new("P", (4, 4), 1)
    image.putpalette([255, 0, 0, 0, 0, 255])
    image.putpixel((0, 0), 0)
    seen = pixels(open_picture(encoded(image, "GIF", transparency=1)))
    assert seen[0, 0].tolist() == [255, 0, 0]
    assert seen[3, 3].tolist() == [255, 255, 255]


def test_one_bit_picture_is_black_and_white() -> None:
    checker = Image.fromarray(np.indices((8, 8)).sum(0) % 2 == 0)
    expected = np.asarray(checker.convert("RGB"))
    for kind in ("PNG", "TIFF", "BMP", "PPM", "GIF"):
        assert error(open_picture(encoded(checker, kind)), expected) == 0


@pytest.mark.parametrize("kind", ["PNG", "BMP", "TIFF", "PPM"])
def test_lossless_formats_give_every_pixel(kind: str) -> None:
    assert error(open_picture(encoded(drawn(3), kind)), drawn(3)) == 0


@pytest.mark.parametrize("compression", ["tiff_lzw", "tiff_adobe_deflate", "packbits"])
def test_compressed_tiff_gives_every_pixel(compression: str) -> None:
    assert error(open_picture(encoded(drawn(3), "TIFF", compression=compression)), drawn(3)) == 0


def test_big_tiff_and_many_pages_give_the_first_page() -> None:
    assert error(open_picture(encoded(drawn(3), "TIFF", big_tiff=True)), drawn(3)) == 0
    pages = encoded(drawn(3), "TIFF", save_all=True, append_images=[drawn(4), drawn(5)])
    assert error(open_picture(pages), drawn(3)) == 0
    palette = drawn(3).quantize(32)
    assert error(open_picture(encoded(palette, "TIFF")), palette.convert("RGB")) == 0


def test_tags_that_are_not_about_pixels_do_not_cost_a_tiff_its_picture() -> None:
    source = bytearray(encoded(drawn(3), "TIFF", software="x" * 50, description="y" * 50))
    for tag in (270, 305):
        entry = source.find(struct.pack("<HH", tag, 2))
        struct.pack_into("<LL", source, entry + 4, 0x7FFFFFFF, 0x7FFFFFFF)
    assert error(open_picture(bytes(source)), drawn(3)) == 0


def test_mpo_of_two_views_gives_the_first() -> None:
    views = encoded(drawn(3), "MPO", save_all=True, append_images=[drawn(4)])
    assert error(open_picture(views), Image.open(io.BytesIO(encoded(drawn(3), "JPEG")))) == 0


def test_jpeg_and_webp_agree_with_scikit_image(tmp_path: Path) -> None:
    reader = pytest.importorskip("skimage.io")
    for kind in ("JPEG", "WEBP"):
        path = tmp_path / f"picture.{kind.lower()}"
        path.write_bytes(encoded(drawn(3), kind))
        assert error(open_picture(path), reader.imread(path)) == 0


def _matrix_profile(primaries: NDArray[np.float64], gamma: float) -> bytes:
    """An ICC v2 display profile: RGB to XYZ (D50) by columns of `primaries`, one gamma."""

    def xyz(values: NDArray[np.float64]) -> bytes:
        return b"XYZ \0\0\0\0" + struct.pack(">3i", *np.round(values * 65536).astype(int))

    curve = b"curv\0\0\0\0" + struct.pack(">LH", 1, round(gamma * 256)) + bytes(2)
    text = b"wide test profile\0"
    described = b"desc\0\0\0\0" + struct.pack(">L", len(text)) + text + bytes(78)
    tags = {
        b"desc": described + bytes(-len(described) % 4),
        b"wtpt": xyz(np.array([0.9642, 1.0, 0.8249])),
        b"cprt": b"text\0\0\0\0none" + bytes(4),
        **{name: xyz(primaries[:, i]) for i, name in enumerate((b"rXYZ", b"gXYZ", b"bXYZ"))},
        **dict.fromkeys((b"rTRC", b"gTRC", b"bTRC"), curve),
    }
    position, table, body = 128 + 4 + 12 * len(tags), b"", b""
    for name, data in tags.items():
        table += name + struct.pack(">LL", position + len(body), len(data))
        body += data
    head = struct.pack(">L4sL4s4s4s", position + len(body), b"none", 0x02100000, b"mntr", b"RGB ",
                       b"XYZ ")  # fmt: skip
    head += bytes(12) + b"acsp" + bytes(28) + struct.pack(">3i", 63190, 65536, 54061)
    head += bytes(128 - len(head))
    return head + struct.pack(">L", len(tags)) + table + body


P3_TO_XYZ = np.array(
    [[0.5151, 0.2920, 0.1571], [0.2412, 0.6922, 0.0666], [-0.0011, 0.0419, 0.7841]]
)
SRGB_TO_XYZ = np.array(
    [[0.4361, 0.3851, 0.1431], [0.2225, 0.7169, 0.0606], [0.0139, 0.0971, 0.7141]]
)


@pytest.mark.parametrize("kind", ["PNG", "TIFF", "WEBP"])
def test_wide_gamut_profile_becomes_srgb(kind: str) -> None:
    stored = np.array(
        [[(200, 100, 100), (90, 160, 90), (255, 255, 255), (128, 128, 128)]], np.uint8
    )
    profile = _matrix_profile(P3_TO_XYZ, 2.2)
    options = {"lossless": True} if kind == "WEBP" else {}
    source = encoded(Image.fromarray(stored), kind, icc_profile=profile, **options)
    linear = (
        (stored / 255.0) ** (round(2.2 * 256) / 256) @ P3_TO_XYZ.T @ np.linalg.inv(SRGB_TO_XYZ).T
    )
    linear = linear.clip(0, 1)
    srgb = np.where(linear <= 0.0031308, 12.92 * linear, 1.055 * linear ** (1 / 2.4) - 0.055)
    assert error(open_picture(source), np.round(255 * srgb)) <= 2
    assert np.abs(np.round(255 * srgb) - stored).max() > 8  # the profile matters here


@pytest.mark.parametrize("profile", [b"garbage", bytes(200), _matrix_profile(P3_TO_XYZ, 2.2)[:300]])
def test_damaged_profile_does_not_cost_the_picture(profile: bytes) -> None:
    assert error(open_picture(encoded(drawn(3), "PNG", icc_profile=profile)), drawn(3)) == 0


def test_srgb_profile_leaves_pixels_alone() -> None:
    from PIL import ImageCms

    profile = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()
    assert error(open_picture(encoded(drawn(3), "PNG", icc_profile=profile)), drawn(3)) == 0


def test_oversized_text_in_a_png_does_not_cost_the_picture() -> None:
    bomb = png_chunk(b"zTXt", b"k\0\0" + zlib.compress(bytes(300_000_000), 9))
    assert error(open_picture(png(1, 1, 8, 2, b"\0\x01\x02\x03", bomb)), [[(1, 2, 3)]]) == 0


def test_arrays_of_every_shape_and_type_open() -> None:
    colour = np.asarray(drawn(3))
    assert error(open_picture(colour), colour) == 0
    assert error(open_picture(colour / 255.0), colour) == 0
    assert error(open_picture(colour[:, ::-1]), colour[:, ::-1]) == 0
    assert error(open_picture(colour[..., 0]), colour[..., :1].repeat(3, axis=2)) == 0
    assert error(open_picture(colour[..., :1]), colour[..., :1].repeat(3, axis=2)) == 0
    clear = np.dstack([colour, np.zeros(colour.shape[:2], np.uint8)])
    assert error(open_picture(clear), np.full(colour.shape, 255)) == 0
    assert open_picture(colour).format == "array"
