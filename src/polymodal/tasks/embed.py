"""Embed: pictures and texts to vectors of one space, each failure in its place."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from polymodal.media.pictures import ImageInput, Limits, picture_name
from polymodal.models.protocols import Embedder
from polymodal.results import Embedding, Embeddings, ItemError
from polymodal.runtime.pictures import embed_pictures

__all__ = ["embed"]

EMPTY = "the text is empty; a text needs at least one word."


def embed(
    embedder: Embedder,
    images: Iterable[ImageInput] = (),
    texts: Sequence[str] = (),
    *,
    limits: Limits,
) -> Embeddings:
    """Vectors of all `images`, then of all `texts`, in order."""
    items: list[Embedding | ItemError] = []
    for source, outcome in embed_pictures(embedder, images, limits):
        name = picture_name(source)
        if isinstance(outcome, Exception):
            items.append(ItemError.of(name, outcome))
        else:
            items.append(Embedding(name, "image", outcome))
    items += _embed_texts(embedder, texts)
    return Embeddings(embedder.space, tuple(items))


def _embed_texts(embedder: Embedder, texts: Sequence[str]) -> list[Embedding | ItemError]:
    good = [text for text in texts if text.strip()]
    vectors = iter(embedder.embed_texts(good) if good else ())
    return [
        Embedding(text, "text", next(vectors))
        if text.strip()
        else ItemError(text, EMPTY, "UsageError")
        for text in texts
    ]
