"""Whether a picture shows anything: an empty page and a black scene are of one even color.

Notable: even is not flat. A scan has noise, JPEG blocks and a lamp that is brighter in the middle;
a black scene has what its codec left. So a smooth surface is taken away, and what is left must be
noise: small, and nowhere far beyond itself. One printed digit or a bird in the sky stands out from
it, and texture (snow, cloth) is more than noise. `python -m benchmarks.blank_pictures` prints what
is called blank. One color that fills a picture is blank whatever it is of: pixels do not tell a
wall from a page.

Legend: H W rows and columns of the picture, scaled down; one channel of YCbCr at a time.
"""
# ruff: noqa: N803, N806 - names end in their shape

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import numpy as np

from polymodal.errors import BlankPicture

if TYPE_CHECKING:
    from numpy.typing import NDArray
    from PIL import Image

    Floats = NDArray[np.float32]

__all__ = ["blank_color", "refuse_blank"]

SIDE_PX = 320
"""Of the longer side: the pixels of larger pictures are averaged, and with them their noise; a
digit of 10 points on a page stays two by three pixels."""
SMALL_PX = 64
"""Of the shorter side, from which pictures are halved at least: single pixels are mostly noise."""
PROBES = 32
"""Rows and columns of pixels that are looked at first."""
MOST_SPREAD = 24.0
"""Standard deviation of their levels, above which a picture shows something; most stop here."""
BLOCK_PX = 4
"""Means of such squares show what is faint and wide."""
FAR = 3.0
"""What lies this many times further out than 99 of 100 pixels stands out. Of Gaussian noise of
80,000 pixels the furthest lies 1.8 times as far."""
NEUTRAL = 20.0
"""Distance from gray, in levels of Cb or Cr, up to which a picture is paper, or black."""
PALE = 12.0
"""Levels by which a colored picture's light may change: a sky changes more from top to bottom."""


@dataclass(frozen=True)
class _Most:
    """What a channel of a blank picture has at most, in levels of 255.

    Attributes:
        bend: between the lowest and the highest place of the surface.
        noise: deviation from it of 99 pixels in 100.
        faint: the same of the means of squares.
        one, one_faint: deviation of the furthest pixel and square, where the noise is less.
    """

    bend: float
    noise: float
    faint: float
    one: float
    one_faint: float


LIGHT = _Most(bend=32.0, noise=14.0, faint=3.0, one=8.0, one_faint=2.5)
TINT = _Most(bend=8.0, noise=30.0, faint=6.0, one=12.0, one_faint=5.0)
"""Codecs are coarse with color, above all in the dark."""


def blank_color(image: Image.Image) -> str | None:
    """The color of a picture that shows nothing, as `#rrggbb`; None where it shows something."""
    from PIL import Image as Pillow

    if image.mode != "RGB":
        image = image.convert("RGB")
    probes = np.asarray(image.resize((PROBES, PROBES), Pillow.Resampling.NEAREST))
    if probes.reshape(-1, 3).std(axis=0).max() > MOST_SPREAD:
        return None
    least = 2 if min(image.size) >= SMALL_PX else 1
    small = image.reduce(max(least, -(-max(image.size) // SIDE_PX)))
    light, *tints = (np.asarray(each, np.float32) for each in small.convert("YCbCr").split())
    is_colored = max(abs(float(tint.mean()) - 128.0) for tint in tints) > NEUTRAL
    if not _is_even(light, replace(LIGHT, bend=PALE) if is_colored else LIGHT):
        return None
    if not all(_is_even(tint, TINT) for tint in tints):
        return None
    red, green, blue = np.median(np.asarray(small).reshape(-1, 3), axis=0).astype(int)
    return f"#{red:02x}{green:02x}{blue:02x}"


def refuse_blank(image: Image.Image, name: str) -> None:
    """Raise `BlankPicture` for a picture that has nothing in it to describe."""
    if (color := blank_color(image)) is not None:
        why = f"is blank (one even color, {color}): there is nothing to describe"
        raise BlankPicture(why, name)


def _is_even(level_HW: Floats, most: _Most) -> bool:
    surface_HW = _surface(level_HW)
    if float(np.ptp(surface_HW)) > most.bend:
        return False
    left_HW = level_HW - surface_HW
    return _is_noise(left_HW, most.noise, most.one) and _is_noise(
        _means(left_HW), most.faint, most.one_faint
    )


def _is_noise(left_HW: Floats, most: float, one: float) -> bool:
    """Whether nothing is large, and nothing stands out."""
    far = np.abs(left_HW).ravel()
    rank = (99 * (len(far) - 1)) // 100
    usual = float(np.partition(far, rank)[rank])
    return usual <= most and float(far.max()) <= max(one, FAR * usual)


def _surface(level_HW: Floats) -> Floats:
    """The polynomial of second degree that is nearest to a channel: light falls off smoothly."""
    height, width = level_HW.shape
    y_H, x_W = np.linspace(-1.0, 1.0, height), np.linspace(-1.0, 1.0, width)
    step = max(1, min(height, width) // PROBES)
    few = slice(step // 2, None, step)
    y, x = (each.ravel() for each in np.meshgrid(y_H[few], x_W[few], indexing="ij"))
    terms = np.stack([np.ones_like(x), x, y, x * x, x * y, y * y])
    a, b, c, d, e, f = np.linalg.lstsq(terms @ terms.T, terms @ level_HW[few, few].ravel())[0]
    along_y = np.stack([np.ones_like(y_H), y_H, y_H**2], axis=1)
    of_y = np.stack([a + b * x_W + d * x_W**2, c + e * x_W, np.full_like(x_W, f)])
    surface: Floats = (along_y @ of_y).astype(np.float32)
    return surface


def _means(left_HW: Floats) -> Floats:
    """Of squares of `BLOCK_PX`; of a smaller picture the mean of all."""
    rows, columns = (each // BLOCK_PX for each in left_HW.shape)
    if not rows or not columns:
        return np.full((1, 1), left_HW.mean(), np.float32)
    whole = left_HW[: rows * BLOCK_PX, : columns * BLOCK_PX]
    means: Floats = whole.reshape(rows, BLOCK_PX, columns, BLOCK_PX).mean(axis=(1, 3))
    return means
