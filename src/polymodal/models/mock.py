"""An embedder without weights, for tests: pictures by their colours, texts by their words.

Notable: both sides share the colour axes, so "a red square" really is nearest to a red picture
and a test of search or classification can tell right from wrong. Vectors are deterministic on
every machine.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from PIL import Image

from polymodal.errors import UsageError
from polymodal.models.protocols import Pixels
from polymodal.results import Space, Vector

__all__ = ["MockCalibration", "MockEmbedder"]

COLOURS: dict[str, tuple[int, int, int]] = {
    "black": (0, 0, 0),
    "blue": (30, 60, 220),
    "brown": (130, 80, 40),
    "cyan": (40, 210, 220),
    "green": (40, 160, 60),
    "grey": (128, 128, 128),
    "orange": (250, 150, 30),
    "pink": (250, 170, 200),
    "purple": (130, 50, 170),
    "red": (215, 30, 40),
    "white": (255, 255, 255),
    "yellow": (250, 230, 50),
}
LAYOUT = 16
"""Axes for where in a picture it is light; they tell pictures of one colour apart."""


@dataclass(frozen=True)
class MockCalibration:
    """Made-up numbers in the range of a real model's."""

    classify_temperature: float = 0.1
    match_scale: float = 12.0
    match_bias: float = -6.0
    relevant_cosine: float = 0.5
    templates: tuple[str, ...] = ("{}", "a photo of {}")


class MockEmbedder:
    """Fits `Embedder`, `Calibrated` and `FeatureExtractor`; give it to `Suite(MockEmbedder())`.

    Attributes:
        images_seen, texts_seen: how many inputs have gone through, for tests of caching.
    """

    def __init__(self, name: str = "mock", *, dimension: int = 64) -> None:
        """Two embedders with different `name` or `dimension` have different spaces."""
        if dimension < len(COLOURS) + LAYOUT + 4:
            raise UsageError(f"a mock space needs {len(COLOURS) + LAYOUT + 4} dimensions or more.")
        self._space = Space(name, "1", dimension, "32x32 squash", "words")
        self.calibration = MockCalibration()
        self.images_seen = 0
        self.texts_seen = 0

    @property
    def space(self) -> Space:
        """See `Embedder.space`."""
        return self._space

    @property
    def image_size_px(self) -> int:
        """See `Embedder.image_size_px`."""
        return 32

    def preprocess(self, image: Image.Image) -> Pixels:
        """uint8, shape (32, 32, 3)."""
        return np.asarray(image.convert("RGB").resize((32, 32), Image.Resampling.BOX))

    def embed_images(self, batch: Sequence[Pixels]) -> Vector:
        """Share of each named colour, and a little of the layout."""
        self.images_seen += len(batch)
        vectors = np.zeros((len(batch), self._space.dimension), np.float32)
        for row, pixels in zip(vectors, batch, strict=True):
            row[: len(COLOURS) + LAYOUT] = _describe(pixels)
        return _normalise(vectors)

    def extract_features(self, batch: Sequence[Pixels]) -> Vector:
        """Colour shares and layout, shape (n, 28)."""
        rows = [_describe(pixels) for pixels in batch]
        return np.stack(rows) if rows else np.zeros((0, len(COLOURS) + LAYOUT), np.float32)

    def embed_texts(self, texts: Sequence[str]) -> Vector:
        """Colour words on the colour axes, any other word on an axis of its hash."""
        self.texts_seen += len(texts)
        vectors = np.zeros((len(texts), self._space.dimension), np.float32)
        for position, (row, text) in enumerate(zip(vectors, texts, strict=True)):
            words = re.findall(r"\w+", text.lower())
            if not words:
                raise UsageError(f"text {position} is empty; a text needs at least one word.")
            for word in words:
                axis, weight = self._axis(word)
                row[axis] += weight
        return _normalise(vectors)

    def _axis(self, word: str) -> tuple[int, float]:
        if word in COLOURS:
            return list(COLOURS).index(word), 1.0
        first = len(COLOURS) + LAYOUT
        digest = int.from_bytes(hashlib.sha256(word.encode()).digest()[:4], "big")
        return first + digest % (self._space.dimension - first), 0.3


def _describe(pixels: Pixels) -> Vector:
    flat = np.asarray(pixels, np.float32).reshape(-1, 3)
    palette = np.array(list(COLOURS.values()), np.float32)
    nearest = ((flat[:, None] - palette) ** 2).sum(-1).argmin(1)
    shares = np.bincount(nearest, minlength=len(COLOURS)) / len(flat)
    light = flat.mean(1).reshape(4, 8, 4, 8).mean((1, 3)).ravel() / 255
    # Centred, so that the layout of a plain picture is zero and its colour decides alone.
    return np.concatenate([shares, 0.5 * (light - light.mean())]).astype(np.float32)


def _normalise(vectors: Vector) -> Vector:
    norms = np.linalg.norm(vectors, axis=1, keepdims=True)
    normalised: Vector = vectors / np.maximum(norms, 1e-12)
    return normalised
