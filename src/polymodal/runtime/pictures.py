"""From whatever names a picture to a model's input and on to its vector."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from polymodal.media.pictures import ImageInput, Limits, open_picture
from polymodal.models.protocols import Embedder, Eye, Pixels
from polymodal.results import Vector
from polymodal.runtime.batches import pipelined

__all__ = ["embed_pictures", "load_pixels"]


def load_pixels(eye: Eye, source: ImageInput, limits: Limits) -> Pixels:
    """Open one picture, at no more resolution than the model uses, and preprocess it.

    Raises:
        MediaError: when the picture cannot be opened.
    """
    picture = open_picture(source, target_px=eye.image_size_px, limits=limits)
    return eye.preprocess(picture.image)


def embed_pictures(
    embedder: Embedder,
    sources: Iterable[ImageInput],
    limits: Limits,
) -> Iterator[tuple[ImageInput, Vector | Exception]]:
    """Yield `(source, vector)` or `(source, MediaError)` for every source, in order, lazily."""
    return pipelined(
        sources,
        lambda source: load_pixels(embedder, source, limits),
        lambda batch: list(embedder.embed_images(batch)),
    )
