"""A mock that can look closer at pictures."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from PIL import Image

from polymodal.models.mock import MockEmbedder
from polymodal.models.protocols import CloseLook, Pixels
from polymodal.results import Vector


class CloseMock(MockEmbedder):
    """A mock that can look closer."""

    @property
    def close_up(self) -> CloseColours:
        return CloseColours()


class CloseColours:
    """The colours of two quarters, of a picture of 64 pixels."""

    look = CloseLook(64, 2)
    image_size_px = 64

    def preprocess(self, image: Image.Image) -> Pixels:
        return np.asarray(image.convert("RGB").resize((64, 64)))

    def extract_features(self, batch: Sequence[Pixels]) -> Vector:
        """The colours of the left half's two quarters."""
        assert all(pixels.shape == (64, 64, 3) for pixels in batch)
        halves = [pixels.reshape(2, 32, 64, 3)[:, :, :32].mean((1, 2)) for pixels in batch]
        return np.stack(halves).reshape(len(batch), 6).astype(np.float32)
