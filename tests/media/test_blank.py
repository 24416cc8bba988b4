"""What is blank: empty pages and black scenes from scanners and codecs, and nothing else."""

from __future__ import annotations

import io
from pathlib import Path

import av
import numpy as np
import pytest
import skimage.data
from PIL import Image, ImageDraw, ImageFilter, ImageFont

import polymodal as pm
from polymodal.media.blank import blank_color, refuse_blank
from tests.media.recordings import DATA

A4_150_DPI = (1240, 1754)
PIXELS_A_POINT = 150 / 72


def with_noise(picture: Image.Image, noise: float, quality: int) -> Image.Image:
    """Noise of a sensor, and what JPEG makes of it."""
    random = np.random.default_rng(0)
    pixels = np.asarray(picture, np.float64)
    light = random.normal(0, noise, (*pixels.shape[:2], 1))
    pixels = pixels + light + random.normal(0, noise / 2, pixels.shape)
    out = io.BytesIO()
    Image.fromarray(pixels.clip(0, 255).astype(np.uint8)).save(out, "JPEG", quality=quality)
    return Image.open(out).convert("RGB")


def page(
    text: str = "", *, ink: int = 40, fall: float = 12, noise: float = 4, quality: int = 80
) -> Image.Image:
    """A scan: paper that is darker to its corners by `fall` levels, and a text of 10 points."""
    width, height = A4_150_DPI
    y, x = np.mgrid[-1 : 1 : height * 1j, -1 : 1 : width * 1j]
    paper = (245 - fall * (x * x + y * y) / 2)[..., None] * np.array([1, 1, 0.97])
    picture = Image.fromarray(paper.astype(np.uint8))
    if text:
        font = ImageFont.load_default(10 * PIXELS_A_POINT)
        where = (0.45 * width, 0.93 * height)
        ImageDraw.Draw(picture).text(where, text, (ink, ink, ink), font)
    return with_noise(picture, noise, quality)


def sky(top: tuple[int, int, int], bottom: tuple[int, int, int], *, bird: bool) -> Image.Image:
    share = np.linspace(0, 1, 375)[:, None, None] * np.ones((1, 500, 1))
    pixels = np.array(top) * (1 - share) + np.array(bottom) * share
    picture = Image.fromarray(pixels.astype(np.uint8))
    if bird:
        ImageDraw.Draw(picture).ellipse((300, 80, 306, 83), (60, 60, 70))
    return with_noise(picture, 2, 85)


@pytest.mark.parametrize("quality", [30, 80, 95])
@pytest.mark.parametrize("noise", [0, 2, 8])
def test_an_empty_page_is_blank_whatever_the_scanner_adds(noise: float, quality: int) -> None:
    color = blank_color(page(noise=noise, quality=quality))
    assert color is not None
    # It is told as it looks in the middle of the page's levels.
    assert np.abs(np.array(bytearray.fromhex(color[1:])) - np.array([241, 241, 234])).max() <= 4


@pytest.mark.parametrize("text", ["7", ".", "Appendix"])
@pytest.mark.parametrize("noise", [0, 8])
def test_one_word_or_digit_of_ten_points_is_something(text: str, noise: float) -> None:
    assert blank_color(page(text, noise=noise)) is None
    assert blank_color(page(text, noise=noise).resize((256, 362))) is None


def test_pale_print_is_something() -> None:
    assert blank_color(page("Appendix", ink=200)) is None


@pytest.mark.parametrize(
    ("source", "color"),
    [
        ("color=black", (0, 0, 0)),
        ("color=black,noise=alls=5:allf=t", (0, 0, 0)),
        ("color=black,noise=alls=20:allf=t", (4, 4, 4)),
        ("color=white,fade=in:0:10", None),
    ],
)
def test_frames_of_one_color_are_blank_after_a_codec(
    source: str, color: tuple[int, int, int] | None, tmp_path: Path
) -> None:
    for frame in frames_of(source, tmp_path / "scene.mp4"):
        found = blank_color(frame)
        assert found is not None
        if color is not None:
            assert np.abs(np.array(bytearray.fromhex(found[1:])) - color).max() <= 6


def test_a_fade_to_a_picture_is_blank_until_something_is_to_be_seen(tmp_path: Path) -> None:
    found = [blank_color(each) for each in frames_of("testsrc,fade=in:0:10", tmp_path / "s.mp4")]
    assert found[0] == "#000000"
    assert found[2:] == [None] * (len(found) - 2)


def frames_of(source: str, path: Path, count: int = 12) -> list[Image.Image]:
    """Frames of a source of FFmpeg, 320 x 180 pixels, through H.264."""
    first, *filters = source.split(",")
    name, _, value = first.partition("=")
    graph = av.filter.Graph()
    arguments = f"{f'c={value}:' if value else ''}s=320x180:r=10"
    steps = [graph.add(name, arguments)]
    steps += [graph.add(each.partition("=")[0], each.partition("=")[2]) for each in filters]
    steps += [graph.add("format", "yuv420p"), graph.add("buffersink")]
    graph.link_nodes(*steps).configure()
    with av.open(path, "w") as container:
        stream = container.add_stream("libx264", rate=10)
        stream.width, stream.height, stream.pix_fmt = 320, 180, "yuv420p"
        for number in range(count):
            frame = graph.vpull()
            frame.pts = number
            container.mux(stream.encode(frame))
        container.mux(stream.encode(None))
    with av.open(path) as container:
        return [frame.to_image() for frame in container.decode(video=0)]


@pytest.mark.parametrize(
    "picture",
    [
        sky((110, 160, 220), (190, 215, 245), bird=False),
        sky((110, 160, 220), (190, 215, 245), bird=True),
        sky((200, 200, 205), (208, 208, 212), bird=True),
        sky((165, 167, 172), (215, 216, 220), bird=False),
    ],
    ids=["sky", "bird", "bird before clouds", "fog"],
)
def test_a_sky_is_something(picture: Image.Image) -> None:
    assert blank_color(picture) is None


def test_a_night_with_one_light_is_something() -> None:
    night = with_noise(Image.new("RGB", (640, 480), (6, 6, 6)), 4, 85)
    assert blank_color(night) is not None
    ImageDraw.Draw(night).ellipse((400, 120, 402, 122), (200, 180, 120))
    assert blank_color(night) is None


def test_a_white_thing_on_white_and_a_gray_icon_are_something() -> None:
    product = Image.new("RGB", (600, 600), "white")
    ImageDraw.Draw(product).ellipse((150, 120, 450, 480), (246, 246, 246))
    assert blank_color(product.filter(ImageFilter.GaussianBlur(2))) is None
    for side in (16, 64, 512):
        icon = Image.new("RGB", (side, side), "white")
        edge = side // 4
        ImageDraw.Draw(icon).rectangle((edge, edge, 3 * edge, 3 * edge), (235, 235, 235))
        assert blank_color(icon) is None


def test_two_colors_of_the_same_light_are_something() -> None:
    picture = Image.new("RGB", (256, 256), (190, 120, 120))
    picture.paste((110, 151, 150), (100, 100, 140, 140))
    light = np.asarray(picture.convert("L"))
    assert np.ptp(light) <= 4
    assert blank_color(picture) is None


@pytest.mark.parametrize("size", [(1, 1), (3, 2), (8, 8), (3000, 1), (1, 500), (4000, 3000)])
def test_any_size_of_one_color_is_blank(size: tuple[int, int]) -> None:
    assert blank_color(Image.new("RGB", size, (40, 90, 200))) == "#285ac8"
    assert blank_color(Image.new("L", size, 7)) == "#070707"


def test_noise_and_texture_are_no_even_color() -> None:
    random = np.random.default_rng(0)
    for low, high in ((0, 256), (90, 166)):
        static = random.integers(low, high, (256, 256, 3), dtype=np.uint8)
        assert blank_color(Image.fromarray(static)) is None
    for name in ("brick", "grass", "gravel"):
        texture = Image.fromarray(getattr(skimage.data, name)())
        assert blank_color(texture) is None
        paler = Image.blend(texture.convert("RGB"), Image.new("RGB", texture.size, "white"), 0.75)
        assert blank_color(paler) is None


def test_photographs_and_pages_are_something() -> None:
    names = ["astronaut", "camera", "coffee", "chelsea", "coins", "horse", "immunohistochemistry",
             "microaneurysms", "moon", "page", "rocket", "text"]  # fmt: skip
    for name in names:
        assert blank_color(Image.fromarray(getattr(skimage.data, name)())) is None, name


def test_no_receipt_is_blank() -> None:
    scans = sorted((DATA / "sroie" / "img").glob("*.jpg"))[::8]
    if not scans:
        pytest.skip("the receipts are not here")
    assert [scan.name for scan in scans if blank_color(Image.open(scan)) is not None] == []


def test_a_blank_picture_is_refused_with_its_name_and_color() -> None:
    with pytest.raises(pm.BlankPicture) as caught:
        refuse_blank(Image.new("RGB", (9, 9), "white"), "page.png")
    assert isinstance(caught.value, pm.MediaError)
    assert str(caught.value) == (
        "page.png: is blank (one even color, #ffffff): there is nothing to describe"
    )
