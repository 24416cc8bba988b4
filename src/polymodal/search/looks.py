"""A thumbnail of a few bytes, to recognise copies of a picture by.

Notable: an embedding says what a picture shows, and a smaller or harder compressed copy shows it
less well: measured on the starter, a threshold that confuses no two photographs misses half of
the copies at half the size. Twelve by twelve pixels, compared by correlation, survive compression,
scaling and brightness (all copies down to a quarter of the size were found, and among 9,000
photographs no two others reached the limit), but no crop, which the embedding does survive.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from PIL import Image

from polymodal.results import Vector

__all__ = ["LOOK_BYTES", "SAME_LOOK", "look_of", "looks_to_vectors"]

SIDE_PX = 12
LOOK_BYTES = SIDE_PX * SIDE_PX * 3
SAME_LOOK = 0.985
"""Correlation from which two thumbnails are of one picture."""
LEAST_CONTRAST = 8.0
"""Standard deviation, in levels of 255, under which a thumbnail is too plain to tell anything."""


def look_of(image: Image.Image) -> bytes:
    """The thumbnail of an upright RGB picture: 12 x 12 pixels, rows of RGB, `LOOK_BYTES` bytes."""
    return image.convert("RGB").resize((SIDE_PX, SIDE_PX), Image.Resampling.BOX).tobytes()


def looks_to_vectors(looks: Sequence[bytes]) -> Vector:
    """Thumbnails as vectors whose products are correlations, float32, shape (n, `LOOK_BYTES`).

    What is missing, damaged or too plain becomes zeros, which correlate with nothing.
    """
    blank = bytes(LOOK_BYTES)
    whole = b"".join(look if len(look) == LOOK_BYTES else blank for look in looks)
    levels = np.frombuffer(whole, np.uint8).reshape(len(looks), LOOK_BYTES).astype(np.float32)
    levels -= levels.mean(axis=1, keepdims=True)
    contrast = levels.std(axis=1, keepdims=True)
    levels /= np.maximum(np.linalg.norm(levels, axis=1, keepdims=True), 1e-6)
    vectors: Vector = np.where(contrast >= LEAST_CONTRAST, levels, np.float32(0))
    return vectors
