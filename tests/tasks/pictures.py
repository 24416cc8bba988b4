"""Small pictures for tests with the mock model."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from PIL import Image

from polymodal.models.mock import COLOURS


def plain(colour: str, seed: int | None = None, side: int = 40) -> Image.Image:
    """A picture of one colour; with a seed, a little different from the next."""
    pixels = np.full((side, side, 3), COLOURS[colour], np.int16)
    if seed is not None:
        pixels += np.random.default_rng(seed).integers(-12, 13, pixels.shape, np.int16)
    return Image.fromarray(pixels.clip(0, 255).astype(np.uint8))


def save(picture: Image.Image, path: Path) -> Path:
    """Write it where folders may not be there yet."""
    path.parent.mkdir(parents=True, exist_ok=True)
    picture.save(path)
    return path
