# ruff: noqa: N803, N806, N815 - names end in their shape
"""What can be measured about a photograph without a model: sharpness, exposure, background, size.

Notable: a picture is measured at no more than `SIDE_PX` on its longer side, so that a number means
the same for a telephone's photograph and a thumbnail. Numpy only.

Shapes: H W rows and columns of the picture; L is luma in 0..1.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from polymodal.media.pictures import Picture

__all__ = ["MEASURES", "SIDE_PX", "Measurable", "measurable", "measure"]

SIDE_PX = 512
BLOCK_PX = 8
STRONGEST = 0.1
"""Share of the blocks, by contrast, that sharpness looks at."""
FLAT = 1e-5
"""Variance of luma (0..1) under which a block holds nothing but noise."""
BORDER = 0.06
LUMA = np.array([0.299, 0.587, 0.114], np.float32)

Floats = NDArray[np.float32]


@dataclass(frozen=True)
class Measurable:
    """A picture made ready: RGB and luma in 0..1 at the normalised size, and its original size."""

    rgb_HWC: Floats
    luma_HW: Floats
    width_px: int
    height_px: int


def measurable(picture: Picture) -> Measurable:
    """Scale the picture down, never up, to `SIDE_PX` on its longer side."""
    image = picture.image
    scale = min(1.0, SIDE_PX / max(image.size))
    size = (max(1, round(image.width * scale)), max(1, round(image.height * scale)))
    if size != image.size:
        image = image.resize(size, Image.Resampling.BICUBIC, reducing_gap=2.0)
    rgb_HWC = np.asarray(image, np.float32) / 255.0
    return Measurable(
        rgb_HWC, (rgb_HWC @ LUMA).astype(np.float32), picture.width_px, picture.height_px
    )


def measure(name: str, picture: Measurable) -> float:
    """The measure `name` (a key of `MEASURES`) of a picture."""
    return MEASURES[name](picture)


def sharpness(picture: Measurable) -> float:
    """Variance of the Laplacian over the variance of luma, where contrast is highest; 0 and up.

    Relative to the contrast, so that a pale product is not called blurred; in small blocks with
    the strongest edges, so that neither a plain nor a blurred background counts against a sharp
    subject. An edge one pixel wide gives 0.3 and more, one smeared over five gives under 0.1.
    0 for a picture without any edge.
    """
    luma = picture.luma_HW
    if min(luma.shape) < 3:
        return 0.0
    centre = luma[1:-1, 1:-1]
    laplacian = luma[:-2, 1:-1] + luma[2:, 1:-1] + luma[1:-1, :-2] + luma[1:-1, 2:] - 4.0 * centre
    energy, contrast = _block_variance(laplacian), _block_variance(centre)
    strongest = np.argsort(-contrast)[: max(1, round(len(contrast) * STRONGEST))]
    strongest = strongest[contrast[strongest] > FLAT]
    if not len(strongest):
        return 0.0
    return float(np.median(energy[strongest] / contrast[strongest]))


def brightness(picture: Measurable) -> float:
    """Mean luma, 0 (black) to 1 (white)."""
    return float(picture.luma_HW.mean())


def highlight(picture: Measurable) -> float:
    """Luma that the brightest twentieth reaches, 0 to 1: a dark photograph has no bright spot."""
    return float(np.quantile(picture.luma_HW, 0.95))


def dark_share(picture: Measurable) -> float:
    """Share of pixels that are nearly black (luma under 0.12)."""
    return float((picture.luma_HW < 0.12).mean())


def blown_share(picture: Measurable) -> float:
    """Share of pixels that are burnt out (every channel over 0.98), background included."""
    return float((picture.rgb_HWC.min(-1) > 0.98).mean())


def resolution(picture: Measurable) -> float:
    """The shorter side of the original, in pixels."""
    return float(min(picture.width_px, picture.height_px))


def background_uniformity(picture: Measurable) -> float:
    """How alike the border's pixels are, 0 to 1; 1 is one flat colour.

    The share of border pixels within a small distance of the border's median colour: what stands
    on the ground and leaves through one edge costs only its own width.
    """
    rgb = picture.rgb_HWC
    band = max(1, round(BORDER * min(rgb.shape[:2])))
    edges = (rgb[:band], rgb[-band:], rgb[:, :band], rgb[:, -band:])
    border = np.concatenate([edge.reshape(-1, 3) for edge in edges])
    distance = np.abs(border - np.median(border, axis=0)).max(-1)
    return float((distance < 0.08).mean())


def busyness(picture: Measurable) -> float:
    """Share of pixels on a visible edge, 0 to 1: high where many things lie about."""
    luma = picture.luma_HW
    if min(luma.shape) < 3:
        return 0.0
    across = np.abs(luma[1:-1, 2:] - luma[1:-1, :-2])
    along = np.abs(luma[2:, 1:-1] - luma[:-2, 1:-1])
    return float((np.maximum(across, along) > 0.12).mean())


MEASURES: dict[str, Callable[[Measurable], float]] = {
    "background_uniformity": background_uniformity,
    "blown_share": blown_share,
    "brightness": brightness,
    "busyness": busyness,
    "dark_share": dark_share,
    "highlight": highlight,
    "resolution": resolution,
    "sharpness": sharpness,
}


def _block_variance(values_HW: Floats) -> Floats:
    """Variance in each block of `BLOCK_PX` squared; what is left at the edges is not counted."""
    height, width = values_HW.shape
    rows, columns = min(BLOCK_PX, height), min(BLOCK_PX, width)
    whole = values_HW[: height // rows * rows, : width // columns * columns]
    blocks = whole.reshape(height // rows, rows, width // columns, columns)
    variance: Floats = blocks.var((1, 3)).ravel()
    return variance
