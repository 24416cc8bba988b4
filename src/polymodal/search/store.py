"""The seam between collections and whatever holds their vectors.

Notable: an item is written whole (vector, metadata, text) by one call, or not at all, and what
`commit` returned for survives a crash of the process and of the machine.
"""

from __future__ import annotations

import builtins
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol
from uuid import UUID

from polymodal.results import Vector
from polymodal.search.filters import Filter

__all__ = ["Found", "Item", "Place", "Progress", "Store", "is_item_id", "merge_places", "point_id"]

ITEM_ID = re.compile(r"[0-9a-f]{64}")


@dataclass(frozen=True)
class Place:
    """Where a picture was found, and what was said about it there.

    Attributes:
        origin: the table (CSV, JSONL) that listed it; empty when a folder or file was added.
    """

    metadata: Mapping[str, Any] = field(default_factory=dict)
    origin: str = ""


@dataclass(frozen=True)
class Item:
    """One picture of a collection; its identity is its content, wherever copies of it lie.

    Attributes:
        id: SHA-256 of the whole file, in hex.
        path: one of the paths it was found at.
        vector: float32, L2-normalised, shape (dimension,); empty when not asked for.
        metadata: the user's metadata, of all places together.
        text: what keyword search sees; made from the metadata on writing, not read back.
        look: a thumbnail to recognise copies by, see `looks`; empty when it was never made.
        places: every path with the metadata given there; empty means `path` with `metadata`.
    """

    id: str
    path: str
    vector: Vector
    metadata: Mapping[str, Any] = field(default_factory=dict)
    text: str = ""
    bytes: int = 0
    width_px: int = 0
    height_px: int = 0
    look: builtins.bytes = b""
    places: Mapping[str, Place] = field(default_factory=dict)

    def all_places(self) -> Mapping[str, Place]:
        """`places`, or the one that `path` and `metadata` describe."""
        return self.places or {self.path: Place(self.metadata)}


@dataclass(frozen=True)
class Found:
    """An item a query found. `similarity` is the cosine to the query's vector, where it has one."""

    item: Item
    score: float
    similarity: float | None = None
    words_match: bool = False
    """Every word of a keyword query is in the item's text."""


@dataclass(frozen=True)
class Progress:
    """How far a long operation has come.

    Attributes:
        stage: `add`, `reembed` or `graph` (of which only the time is known while it is built).
        name: the file last finished.
        eta_s: seconds left, None where it cannot be said.
    """

    stage: str
    done: int
    total: int
    elapsed_s: float
    rate_per_s: float | None = None
    eta_s: float | None = None
    name: str = ""


OnProgress = Callable[[Progress], None]


class Store(Protocol):
    """Vectors with metadata on disk, searchable by vector and by words."""

    def commit(
        self, put: Sequence[Item] = (), remove: Sequence[str] = (), *, rewrite: Sequence[Item] = ()
    ) -> None:
        """Write items and remove ids; durable when it returns.

        Args:
            put: items that are not in the store.
            rewrite: items that may be, to be replaced by these.

        Raises:
            StorageError: the disk is full or read-only; the store stays readable.
        """
        ...

    def query(
        self,
        vector: Vector | None,
        k: int,
        filter: Filter | None = None,  # noqa: A002
        *,
        text: str = "",
        text_weight: float = 1.0,
        exclude: Sequence[str] = (),
        offset: int = 0,
        exact: bool = False,
    ) -> list[Found]:
        """Best first: by cosine, by BM25 when only `text` is given, by both fused with both.

        `text_weight` is what a rank by words counts for beside a rank by cosine.
        """
        ...

    def get(self, ids: Sequence[str], *, vectors: bool = False) -> list[Item]:
        """The items that exist among `ids`; what is no id at all names none."""
        ...

    def at_paths(self, paths: Sequence[str]) -> Iterator[Item]:
        """The items that are remembered at any of these paths."""
        ...

    def scroll(
        self,
        filter: Filter | None = None,  # noqa: A002
        *,
        vectors: bool = False,
    ) -> Iterator[Item]:
        """Every item, in the order of ids."""
        ...

    def count(self, filter: Filter | None = None) -> int:  # noqa: A002
        """How many items pass."""
        ...

    def optimize(self) -> bool:
        """Build what makes large collections fast; False when there was nothing to do."""
        ...

    def close(self) -> None:
        """Release files and memory; calling it again does nothing."""
        ...


def is_item_id(text: str) -> bool:
    """Whether it is written as the id of an item is."""
    return ITEM_ID.fullmatch(text) is not None


def point_id(item_id: str) -> str:
    """The UUID that stores an item: the first 128 bits of its SHA-256."""
    return str(UUID(hex=item_id[:32]))


def merge_places(places: Mapping[str, Place]) -> dict[str, Any]:
    """Metadata of an item found at several paths: in order of path, the first to say it wins."""
    if len(places) == 1:
        return dict(next(iter(places.values())).metadata)
    merged: dict[str, Any] = {}
    for path in sorted(places):
        for key, value in places[path].metadata.items():
            merged.setdefault(key, value)
    return merged
