"""An embedder that looks at a picture several times: as a whole, at its parts, and mirrored.

Notable: a picture costs as many passes as it has views. The vector is the mean of theirs, so it is
compared with texts of the same space and judged by the same calibration.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np

from polymodal.models.protocols import Calibrated, Calibration, Embedder, Pixels
from polymodal.models.vectors import normalised
from polymodal.results import Space, Vector

if TYPE_CHECKING:
    from PIL import Image

__all__ = ["VIEWS", "ViewsEmbedder", "with_views"]

CORNERS = ((0.0, 0.0), (1.0, 0.0), (0.0, 1.0), (1.0, 1.0), (0.5, 0.5))
"""Where a part lies, of the room that it leaves: four corners and the middle."""
PART = 0.8
"""Of a side, that a part shows."""
VIEWS = 2 * (1 + len(CORNERS))


def with_views(embedder: Embedder) -> Embedder:
    """The embedder, looking several times; calibrated where it is."""
    return _Calibrated(embedder) if isinstance(embedder, Calibrated) else ViewsEmbedder(embedder)


class ViewsEmbedder:
    """Fits `Embedder`; texts go through the embedder as they are."""

    def __init__(self, embedder: Embedder) -> None:
        """See `with_views`."""
        self._embedder = embedder

    @property
    def space(self) -> Space:
        """See `Embedder.space`."""
        return self._embedder.space

    @property
    def image_size_px(self) -> int:
        """See `Embedder.image_size_px`; parts need more of the picture."""
        return round(self._embedder.image_size_px / PART)

    def preprocess(self, image: Image.Image) -> Pixels:
        """The model's input for every view, shape (VIEWS, ...)."""
        from PIL import ImageOps

        width, height = image.size
        parts = [image]
        for across, down in CORNERS:
            left, top = across * (1 - PART) * width, down * (1 - PART) * height
            box = (left, top, left + PART * width, top + PART * height)
            parts.append(image.crop(tuple(round(edge) for edge in box)))  # type: ignore[arg-type]
        views = [view for part in parts for view in (part, ImageOps.mirror(part))]
        return np.stack([self._embedder.preprocess(view) for view in views])

    def embed_images(self, batch: Sequence[Pixels]) -> Vector:
        """See `Embedder.embed_images`."""
        views = [view for pixels in batch for view in pixels]
        vectors = self._embedder.embed_images(views)
        return normalised(vectors.reshape(len(batch), VIEWS, -1).mean(1))

    def embed_texts(self, texts: Sequence[str]) -> Vector:
        """See `Embedder.embed_texts`."""
        return self._embedder.embed_texts(texts)


class _Calibrated(ViewsEmbedder):
    @property
    def calibration(self) -> Calibration:
        """See `Calibrated.calibration`."""
        assert isinstance(self._embedder, Calibrated)
        return self._embedder.calibration
