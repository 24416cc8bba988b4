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
    reasons = [_wrong(text) for text in texts]
    good = [text for text, reason in zip(texts, reasons, strict=True) if not reason]
    vectors = iter(embedder.embed_texts(good) if good else ())
    return [
        ItemError(text if isinstance(text, str) else repr(text), reason, "UsageError")
        if reason
        else Embedding(text, "text", next(vectors))
        for text, reason in zip(texts, reasons, strict=True)
    ]


def _wrong(text: object) -> str:
    """Why a text cannot be embedded; empty where it can."""
    if not isinstance(text, str):
        return f"is {type(text).__name__}, not a text."
    return "" if text.strip() else EMPTY
