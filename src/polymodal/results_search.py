"""What a collection returns: hits, groups of duplicates, and what `add` did."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from polymodal.results_core import ItemError, Provenance

__all__ = ["AddReport", "DuplicateGroup", "Hit", "SearchResult"]


@dataclass(frozen=True)
class Hit:
    """An item found. `score` is what ranks; `similarity` the cosine where a vector was compared.

    Where hits were ordered anew, `score` is of what did that, and `first_score` of the search.
    """

    id: str
    path: str
    score: float
    metadata: Mapping[str, Any]
    similarity: float | None = None
    relevant: bool | None = None
    first_score: float | None = None


@dataclass(frozen=True)
class SearchResult:
    """Hits best first, and what was understood of the query.

    Attributes:
        notes: what was inferred, for a person ("price < 2000, read from 'under 2000 rupees'").
        where: the filter that was applied, as an expression; empty when none.
        ranked_by: what ordered the first hits anew; None where the search alone ranks.
    """

    query: str
    hits: tuple[Hit, ...]
    notes: tuple[str, ...] = ()
    where: str = ""
    ranked_by: Provenance | None = None

    def __iter__(self) -> Any:
        return iter(self.hits)

    def __len__(self) -> int:
        return len(self.hits)


@dataclass(frozen=True)
class DuplicateGroup:
    """Items that show the same picture; the first is the one to keep (most pixels, then bytes)."""

    hits: tuple[Hit, ...]
    similarity: float
    """The lowest similarity of a member to the first."""


@dataclass(frozen=True)
class AddReport:
    """What `Collection.add` did."""

    added: int = 0
    updated: int = 0
    """Known pictures whose metadata or path changed."""
    skipped: int = 0
    removed: int = 0
    seconds: float = 0.0
    errors: tuple[ItemError, ...] = field(default=())
    notes: tuple[str, ...] = ()
    """What did not fit together, for a person (rows of a table that match no picture)."""
    dropped: tuple[ItemError, ...] = ()
    """Removed as asked, because their picture can no longer be opened; they are no failures."""

    @property
    def failed(self) -> int:
        """Number of inputs that failed."""
        return len(self.errors)

    def to_dict(self) -> dict[str, Any]:
        """The counters, as the last JSON line of `polymodal add` gives them."""
        return {
            "added": self.added,
            "updated": self.updated,
            "skipped": self.skipped,
            "failed": self.failed,
            "removed": self.removed,
            "seconds": round(self.seconds, 3),
        }
