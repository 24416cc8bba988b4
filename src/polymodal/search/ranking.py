"""From what a search is given (words, pictures, examples) to one vector to search with."""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np

from polymodal.errors import UsageError
from polymodal.media.files import hash_file
from polymodal.media.pictures import ImageInput, Limits, picture_name
from polymodal.models.protocols import Embedder
from polymodal.results import Vector
from polymodal.runtime.pictures import load_pixels
from polymodal.search.store import Store, is_item_id

__all__ = ["LIKED_WEIGHT", "UNLIKED_WEIGHT", "Example", "find_example", "mix", "move"]

LIKED_WEIGHT = 0.75
UNLIKED_WEIGHT = 0.25


@dataclass(frozen=True)
class Example:
    """A picture to search with.

    Attributes:
        id: of its content, whether the collection has it or not; empty for a picture in memory.
        path: absolute; empty where it is no file.
    """

    vector: Vector
    id: str
    path: str
    name: str


def find_example(
    source: ImageInput, store: Store, embedder: Callable[[], Embedder], limits: Limits
) -> Example:
    """A picture's vector: the stored one where the collection has the content, else embedded.

    Args:
        source: a picture, or the id of an item.

    Raises:
        MediaError: the picture cannot be opened.
        UsageError: no item has that id.
    """
    name = picture_name(source)
    identity = path = ""
    if isinstance(source, str) and is_item_id(source):
        identity = source
    elif isinstance(source, (str, os.PathLike)):
        identity = hash_file(source)
        path = os.path.abspath(source)  # noqa: PTH100 - links stay links
    for item in store.get([identity] if identity else [], vectors=True):
        return Example(item.vector, identity, path, name)
    if isinstance(source, str) and source == identity:
        raise UsageError(f"the collection has no item with id {source}.")
    model = embedder()
    vector = model.embed_images([load_pixels(model, source, limits)])[0]
    return Example(vector, identity, path, name)


def mix(vectors: Sequence[Vector], weights: Sequence[float]) -> Vector:
    """Weighted sum of unit vectors, normalised.

    Raises:
        UsageError: the weights cancel everything out or are not finite.
    """
    total = np.zeros_like(vectors[0])
    for vector, weight in zip(vectors, weights, strict=True):
        total = total + np.float32(weight) * vector
    length = float(np.linalg.norm(total))
    if not np.isfinite(length) or length < 1e-6:
        raise UsageError(
            f"the weights {', '.join(f'{each:g}' for each in weights)} leave nothing to search for."
        )
    mixed: Vector = (total / length).astype(np.float32)
    return mixed


def move(query: Vector | None, liked: Sequence[Vector], unliked: Sequence[Vector]) -> Vector | None:
    """Towards what is liked and away from what is not (Rocchio 1971; Manning, Raghavan and
    Schütze, "Introduction to Information Retrieval", 2008, section 9.1.1), normalised.

    Without a query the liked pictures are the query.

    Raises:
        UsageError: only unliked pictures were given.
    """
    if not liked and not unliked:
        return query
    if query is None and not liked:
        raise UsageError(
            "unliked pictures alone are nothing to search for: add words or a picture."
        )
    parts: list[Vector] = [] if query is None else [query]
    weights = [1.0] * len(parts)
    for group, weight in ((liked, LIKED_WEIGHT), (unliked, -UNLIKED_WEIGHT)):
        parts += group
        weights += [weight / len(group) for _ in group]
    return mix(parts, weights)
