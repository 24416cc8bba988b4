"""Indexes over the metadata in Edge: which fields get one, and where it is kept.

Notable: an index that a filter reads once for every candidate (numbers, categories) is kept in
memory, which takes a third off a filtered search; at 1,000,000 items such a field takes 30 to 90
MB. What is as long as the collection (titles, and everything for `contains`) stays in mapped files.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING, Any

from polymodal.search import edge_filter

if TYPE_CHECKING:
    import qdrant_edge as edge

__all__ = ["FieldIndexes"]

PAGE = 1000


class FieldIndexes:
    """The indexes of one open shard; remembers which there are."""

    def __init__(self, shard: edge.EdgeShard) -> None:
        """Asks the shard nothing yet."""
        self._shard = shard
        self._made: set[str] | None = None

    def cover(self, views: Iterable[Mapping[str, Any]]) -> None:
        """Index every field of these views (`edge_filter.view`) that has no index yet."""
        import qdrant_edge as edge

        if self._made is None:
            self._made = set(self._shard.info().payload_schema)
        held = [*views]
        kinds = {path: kind for each in held for path, kind in edge_filter.indexes(each).items()}
        new = {path: kind for path, kind in kinds.items() if path not in self._made}
        repeating = edge_filter.repeating(held) if new else set()
        wanted = {path: _index_of(kind, path in repeating) for path, kind in new.items()}
        if "at" not in self._made:
            wanted["at"] = edge.IntegerIndexParams(
                lookup=True, range=False, memory=edge.Memory.Cold, enable_hnsw=False
            )
        for path, params in wanted.items():
            self._shard.update(edge.UpdateOperation.create_field_index(path, params))
            self._made.add(path)

    def cover_all(self) -> None:
        """Index every field that any item has."""
        import qdrant_edge as edge

        offset: Any = None
        while True:
            only: Any = edge.PayloadSelector.Include(["find"])
            page = edge.ScrollRequest(offset=offset, limit=PAGE, with_payload=only)
            records, offset = self._shard.scroll(page)
            self.cover((record.payload or {}).get("find", {}) for record in records)
            if offset is None:
                return


def _index_of(kind: edge.PayloadSchemaType, repeats: bool) -> Any:
    import qdrant_edge as edge

    if kind == edge.PayloadSchemaType.Float:
        return edge.FloatIndexParams(memory=edge.Memory.Pinned, enable_hnsw=False)
    memory = edge.Memory.Pinned if repeats else edge.Memory.Cold
    return edge.KeywordIndexParams(memory=memory, enable_hnsw=False)
