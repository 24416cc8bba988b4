"""From whatever names a picture to a model's input and on to its vector."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence

from polymodal.media.pictures import ImageInput, Limits, open_picture
from polymodal.models.protocols import Embedder, Pixels
from polymodal.results import Vector
from polymodal.runtime.batches import pipelined

__all__ = ["embed_pictures", "load_pixels"]


def load_pixels(embedder: Embedder, source: ImageInput, limits: Limits) -> Pixels:
    """Open one picture, at no more resolution than the model uses, and preprocess it.

    Raises:
        MediaError: when the picture cannot be opened.
    """
    picture = open_picture(source, target_px=embedder.image_size_px, limits=limits)
    return embedder.preprocess(picture.image)


def embed_pictures(
    embedder: Embedder,
    sources: Iterable[ImageInput],
    limits: Limits,
    *,
    infer: Callable[[Sequence[Pixels]], Vector] | None = None,
    batch_size: int = 32,
) -> Iterator[tuple[ImageInput, Vector | Exception]]:
    """Yield `(source, vector)` or `(source, MediaError)` for every source, in order, lazily.

    Args:
        infer: what to do with a batch of pixels; the embedder's `embed_images` by default.
    """
    return pipelined(
        sources,
        lambda source: load_pixels(embedder, source, limits),
        lambda batch: list((infer or embedder.embed_images)(batch)),
        batch_size=batch_size,
    )
