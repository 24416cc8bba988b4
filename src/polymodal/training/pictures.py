"""Pictures as a tower takes them: a square at its size, its own mean and spread, no stretching."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

__all__ = ["CLIP_MEAN", "CLIP_STD", "Preparation"]

CLIP_MEAN = (0.48145466, 0.4578275, 0.40821073)
CLIP_STD = (0.26862954, 0.26130258, 0.27577711)
"""Of CLIP's training pictures, as OpenAI published them; SigLIP takes 0.5 and 0.5."""


@dataclass(frozen=True)
class Preparation:
    """How a picture becomes numbers.

    Attributes:
        size_px: side of the square.
        mean, std: of red, green and blue, where full is 1.
        smallest: the least share of the picture's square that a training crop keeps; 1 trains on
            the middle square alone. Crops are square, so nothing is stretched.
    """

    size_px: int
    mean: tuple[float, ...] = CLIP_MEAN
    std: tuple[float, ...] = CLIP_STD
    smallest: float = 1.0

    @classmethod
    def of_processor(cls, processor: Any, smallest: float = 1.0) -> Preparation:
        """What a checkpoint's own image processor says."""
        size = getattr(processor, "crop_size", None) or processor.size
        side = size.get("height") or size.get("shortest_edge")
        return cls(int(side), tuple(processor.image_mean), tuple(processor.image_std), smallest)

    def __call__(
        self, image: Image.Image, random: np.random.Generator | None = None
    ) -> NDArray[np.float32]:
        """Float32 (3, size_px, size_px).

        Args:
            random: draws the crop; None takes the middle square.
        """
        side = min(image.size)
        if random is not None:
            side = side * float(random.uniform(self.smallest, 1.0)) ** 0.5
        free_x, free_y = image.width - side, image.height - side
        left, top = (free_x / 2, free_y / 2)
        if random is not None and self.smallest < 1:
            left, top = random.uniform(0, free_x), random.uniform(0, free_y)
        square = image.resize(
            (self.size_px, self.size_px),
            Image.Resampling.BICUBIC,
            (left, top, left + side, top + side),
            reducing_gap=3.0,
        )
        pixels = np.asarray(square, np.float32) / 255.0
        scaled = (pixels - np.array(self.mean, np.float32)) / np.array(self.std, np.float32)
        return np.ascontiguousarray(scaled.transpose(2, 0, 1), np.float32)
