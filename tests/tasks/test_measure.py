from __future__ import annotations

import numpy as np
import pytest
import skimage.data
from PIL import Image, ImageFilter
from scipy.ndimage import laplace

from polymodal.media.pictures import open_picture
from polymodal.tasks.measure import MEASURES, SIDE_PX, measurable, measure

PHOTOGRAPHS = ("astronaut", "camera", "chelsea", "coffee", "coins", "rocket", "retina")


def photograph(name: str) -> Image.Image:
    return Image.fromarray(getattr(skimage.data, name)()).convert("RGB")


def value(name: str, image: Image.Image | np.ndarray) -> float:
    return measure(name, measurable(open_picture(image)))


@pytest.mark.parametrize("name", PHOTOGRAPHS)
def test_a_sharp_photograph_and_its_blurred_copy_lie_far_apart(name: str) -> None:
    image = photograph(name)
    blurred = image.filter(ImageFilter.GaussianBlur(2.5 * max(image.size) / 512))
    assert value("sharpness", image) > 0.3
    assert value("sharpness", blurred) < 0.08


@pytest.mark.parametrize("name", ["astronaut", "chelsea"])
def test_sharpness_falls_with_every_step_of_blur(name: str) -> None:
    image = photograph(name)
    steps = [value("sharpness", image.filter(ImageFilter.GaussianBlur(s))) for s in (0, 1, 2, 3, 5)]
    assert steps == sorted(steps, reverse=True)


def test_sharpness_of_one_block_is_laplacian_variance_over_variance() -> None:
    pixels = np.random.default_rng(0).integers(0, 255, (10, 10), np.uint8)
    luma = pixels.astype(np.float64) / 255
    inner = (slice(1, -1), slice(1, -1))
    reference = laplace(luma)[inner].var() / luma[inner].var()
    assert value("sharpness", pixels) == pytest.approx(reference, rel=1e-3)


def test_neither_darkness_nor_a_plain_surround_changes_sharpness() -> None:
    image = photograph("coffee")
    dark = image.point(lambda level: int(level * 0.3))
    assert value("sharpness", dark) == pytest.approx(value("sharpness", image), rel=0.1)
    framed = Image.new("RGB", (900, 700), "white")
    framed.paste(image.resize((450, 300)), (225, 200))
    assert value("sharpness", framed) > 0.3


def test_a_picture_of_any_size_is_measured_alike() -> None:
    image = photograph("astronaut")
    large = image.resize((1536, 1536), Image.Resampling.LANCZOS)
    for name in ("brightness", "highlight", "dark_share", "background_uniformity"):
        assert value(name, large) == pytest.approx(value(name, image), abs=0.02)
    assert measurable(open_picture(large)).luma_HW.shape == (SIDE_PX, SIDE_PX)


@pytest.mark.parametrize(
    ("name", "black", "white"),
    [("brightness", 0, 1), ("highlight", 0, 1), ("dark_share", 1, 0), ("blown_share", 0, 1)],
)
def test_exposure_of_black_and_white(name: str, black: float, white: float) -> None:
    assert value(name, np.zeros((20, 30), np.uint8)) == pytest.approx(black)
    assert value(name, np.full((20, 30), 255, np.uint8)) == pytest.approx(white)


def test_resolution_is_that_of_the_original_file(tmp_path_factory: pytest.TempPathFactory) -> None:
    path = tmp_path_factory.mktemp("pictures") / "large.jpg"
    photograph("retina").resize((2822, 1411)).save(path)
    opened = open_picture(path, target_px=200)
    assert opened.image.height < 1411
    assert measure("resolution", measurable(opened)) == 1411


def test_a_plain_ground_is_uniform_and_a_landscape_is_not() -> None:
    product = Image.new("RGB", (600, 600), "white")
    product.paste(photograph("coffee").resize((300, 300)), (150, 150))
    assert value("background_uniformity", product) == 1.0
    assert value("background_uniformity", photograph("astronaut")) < 0.3


def test_grass_is_busy_and_a_cup_on_a_table_is_not() -> None:
    assert value("busyness", photograph("grass")) > 0.4
    assert value("busyness", photograph("coffee")) < 0.2


@pytest.mark.parametrize("shape", [(1, 1), (1, 50), (2, 2), (3, 3), (7, 300)])
@pytest.mark.parametrize("name", MEASURES)
def test_tiny_pictures_have_a_number_too(name: str, shape: tuple[int, int]) -> None:
    assert np.isfinite(value(name, np.full(shape, 90, np.uint8)))


def test_a_picture_without_any_edge_has_no_sharpness() -> None:
    assert value("sharpness", np.full((50, 50, 3), 200, np.uint8)) == 0.0
