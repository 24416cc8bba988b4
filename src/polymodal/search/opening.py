"""Opening a collection, by its name or by its path."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

from polymodal.media.pictures import DEFAULT_LIMITS, Limits
from polymodal.models.protocols import Embedder
from polymodal.search.access import Access
from polymodal.search.collection import Collection
from polymodal.search.senses import Senses

__all__ = ["open_collection"]


def open_collection(
    name_or_path: str | os.PathLike[str],
    embedder: Callable[[], Embedder],
    *,
    create: bool = False,
    write: bool = False,
    home: Path | None = None,
    limits: Limits = DEFAULT_LIMITS,
    model_name: str = "",
    senses: Senses | None = None,
) -> Collection:
    """Open a collection by name (in the home folder) or by path (anything with a slash).

    Args:
        embedder: gives the model; called when something has to be embedded, not before.
        create: allow a collection that does not exist; it is created by the first `add`.
        write: allow adding and removing; locks are taken when that happens, not before.
        home: where names are looked up, instead of the user's own folder.
        model_name: the model as the user calls it (`starter`, a folder), for messages.
        senses: what listens to spoken queries and watches videos; without it there are neither.

    Raises:
        CollectionNotFound: there is none, and `create` is false.
        CollectionDamaged: what is there cannot be read as a collection.
    """
    access = Access(
        name_or_path, embedder, limits, writable=write, home=home, model_name=model_name
    )
    if access.folder.exists or not create:
        access.folder.manifest()
    return Collection(access, senses)
