"""Small pictures for tests with the mock model."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from PIL import Image, ImageStat

from polymodal.models.mock import COLOURS


def plain(colour: str, seed: int | None = None, side: int = 40) -> Image.Image:
    """A picture of one colour; with a seed, a little different from the next."""
    pixels = np.full((side, side, 3), COLOURS[colour], np.int16)
    if seed is not None:
        pixels += np.random.default_rng(seed).integers(-12, 13, pixels.shape, np.int16)
    return Image.fromarray(pixels.clip(0, 255).astype(np.uint8))


def marked(
    colour: str | tuple[int, int, int], seed: int | None = None, side: int = 40
) -> Image.Image:
    """A picture of one colour with a small square in it, so that there is something to describe.

    Pictures of one colour alone are blank, and nothing is said of them.
    """
    picture = (
        plain(colour, seed, side)
        if isinstance(colour, str)
        else Image.new("RGB", (side, side), colour)
    )
    dark = ImageStat.Stat(picture.convert("L")).mean[0] < 60
    start, end = round(0.45 * side), round(0.6 * side)
    picture.paste("white" if dark else "black", (start, start, end, end))
    return picture


def save(picture: Image.Image, path: Path) -> Path:
    """Write it where folders may not be there yet."""
    path.parent.mkdir(parents=True, exist_ok=True)
    picture.save(path)
    return path
