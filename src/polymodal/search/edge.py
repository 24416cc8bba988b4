"""Qdrant Edge behind the store protocol.

Notable, and measured (qdrant-edge-py 0.9.0, 100,000 vectors of 512, two cores):

- One query takes 0.65 ms at recall@10 over 0.99, hits with metadata included: int8 vectors find
  three times as many candidates as wanted, the original vectors (memory-mapped) rank them.
- Edge's write-ahead log is off: it is not synced to disk, and between its flushes the files are
  nothing another process could read. A commit is one update and one flush instead, which does
  sync; a process killed in between leaves the state of the last commit.
- Edge writes through memory maps into files with holes, and a full disk then kills the process
  (SIGBUS) instead of raising. So free space is checked before every commit.
- Edge holds Python's global lock in every call; long work (the graph) belongs in a process of
  its own (`graph`).
- It can panic, and a panic is a BaseException: `_mapped` makes an error of this package of it.
"""

from __future__ import annotations

import os
import re
import shutil
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any
from uuid import uuid4

from polymodal.errors import CollectionDamaged, CollectionError, PolymodalError, StorageError
from polymodal.profiling import profiled, span
from polymodal.results import Vector
from polymodal.search import edge_payload
from polymodal.search.edge_files import clone_shard
from polymodal.search.edge_indexes import FieldIndexes
from polymodal.search.edge_payload import IMAGE, SHOWN, TEXT, WHOLE
from polymodal.search.edge_query import (
    SCAN_LIMIT,
    by_vector,
    by_words,
    condition,
    config,
    fuse,
    fusion_depth,
    search_params,
)
from polymodal.search.filters import Filter
from polymodal.search.lock import commit_lock
from polymodal.search.store import Found, Item, is_item_id, point_id

if TYPE_CHECKING:
    import qdrant_edge as edge

__all__ = ["SCAN_LIMIT", "EdgeStore"]

TIES = 8
"""Hits fetched beyond those wanted, so that pages follow each other although scores tie."""
AVERAGE_WORDS = 16
"""BM25's average length of a text: titles and captions, not pages."""
RESERVE_BYTES = 64 << 20
"""A commit needs this much free space beyond its own size."""


class EdgeStore:
    """A shard of Qdrant Edge in a folder; see `Store` for what the methods promise."""

    def __init__(self, shard: edge.EdgeShard, folder: Path, *, read_only: bool) -> None:
        """Use `create`, `open` or `view`."""
        self._shard: edge.EdgeShard | None = shard
        self._folder = folder
        self._read_only = read_only
        self._indexes = FieldIndexes(shard)
        self._bm25: edge.Bm25 | None = None
        self._points: int | None = None

    @classmethod
    def create(cls, folder: Path, dimension: int) -> EdgeStore:
        """A new, empty store in a folder that does not exist or is empty."""
        import qdrant_edge as edge

        with _mapped(f"create a store in {folder}"):
            folder.mkdir(parents=True, exist_ok=True)
            require_space(folder, 0)
            shard = edge.EdgeShard.create(str(folder), config(dimension))
            return cls(shard, folder, read_only=False)

    @classmethod
    def open(cls, folder: Path) -> EdgeStore:
        """For reading and writing; the caller holds the writer's lock."""
        import qdrant_edge as edge

        with _mapped(f"open the store in {folder}", CollectionDamaged):
            require_space(folder, 0)
            with commit_lock(folder, exclusive=True):  # loading tidies files up
                return cls(edge.EdgeShard.load(str(folder)), folder, read_only=False)

    @classmethod
    def view(cls, folder: Path, views: Path) -> EdgeStore:
        """For reading: the last commit, whoever writes meanwhile.

        Args:
            views: where the clone lives for the milliseconds that opening it takes; on the same
                file system, so that large files are shared.
        """
        import qdrant_edge as edge

        clone = views / f"view-{uuid4().hex}"
        with _mapped(f"read the store in {folder}", CollectionDamaged):
            try:
                with commit_lock(folder, exclusive=False):
                    clone_shard(folder, clone)
                return cls(edge.EdgeShard.load(str(clone)), folder, read_only=True)
            finally:
                # What is open stays readable; this way no crash of a reader leaves anything.
                shutil.rmtree(clone, ignore_errors=True)

    @profiled("store")
    def commit(
        self, put: Sequence[Item] = (), remove: Sequence[str] = (), *, rewrite: Sequence[Item] = ()
    ) -> None:
        """See `Store.commit`."""
        import qdrant_edge as edge

        assert not self._read_only, "a view is never written to"
        items = [*put, *rewrite]
        with _mapped(f"write to the store in {self._folder}"):
            require_space(self._folder, sum(item.vector.nbytes + 8192 for item in items))
            points = [self._point(item) for item in items]
            with commit_lock(self._folder, exclusive=True):
                if rewrite:
                    edge_payload.write_intent(self._folder, [item.id for item in rewrite])
                # An index is ten files to sync in every commit and to open in every view; without
                # one a filter takes 10 ms over `SCAN_LIMIT` items.
                if not self._is_small(len(points)):
                    self._indexes.cover((each.payload or {}).get("find", {}) for each in points)
                if points:
                    self._open.update(edge.UpdateOperation.upsert_points(points))
                if remove:
                    gone: list[edge.PointId] = [point_id(each) for each in remove]
                    self._open.update(edge.UpdateOperation.delete_points(gone))
                self._open.flush()
                if rewrite:
                    edge_payload.clear_intent(self._folder)
                os.utime(self._folder / "commit.lock")  # tells readers that their view is old

    def add(self, items: Sequence[Item]) -> None:
        """Write items that are not in the store; `commit` in short."""
        self.commit(items)

    def interrupted(self) -> list[str]:
        """Ids of items whose rewriting was cut short by a crash; rewrite them, whole."""
        return edge_payload.read_intent(self._folder)

    @profiled("store")
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
        """See `Store.query`."""
        words = self._words(text)
        with _mapped(f"search the store in {self._folder}"):
            wanted = condition(filter, exclude)
            params = search_params(filter, self._size(), exact=exact)
            limit = k + offset
            if words is None:
                if vector is None:
                    return []
                points = self._open.query(by_vector(vector, limit + 1, wanted, params))
                if len(points) > limit and points[limit].score == points[limit - 1].score:
                    asked = by_vector(vector, limit + TIES, wanted, params)
                    points = self._open.query(asked)
                best = _ranked(points)[offset:limit]
                return [edge_payload.to_found(each, each.score, vector, None) for each in best]
            many = limit + TIES if vector is None else fusion_depth(limit)
            worded = _ranked(self._open.query(by_words(words, many, wanted)))
            scored = [(point.id, point.score) for point in worded]
            if vector is not None:
                asked = by_vector(vector, many, wanted, params, payload=False)
                scored = fuse(_ranked(self._open.query(asked)), worded, text_weight)
            scored = scored[offset:limit]
            ids = [point for point, _ in scored]
            records = {r.id: r for r in self._open.retrieve(ids, _selected(SHOWN), [IMAGE, TEXT])}
        return [
            edge_payload.to_found(records[point], score, vector, words)
            for point, score in scored
            if point in records
        ]

    @profiled("store")
    def query_ids(
        self,
        vector: Vector,
        k: int,
        filter: Filter | None = None,  # noqa: A002
        *,
        exact: bool = False,
    ) -> list[tuple[str, float]]:
        """Point ids and cosines only: what a benchmark of the index compares."""
        with _mapped(f"search the store in {self._folder}"):
            params = search_params(filter, self._size(), exact=exact)
            asked = by_vector(vector, k, condition(filter), params)
            return [(str(point.id), point.score) for point in self._open.query(asked)]

    @profiled("store")
    def get(self, ids: Sequence[str], *, vectors: bool = False) -> list[Item]:
        """See `Store.get`."""
        points: list[edge.PointId] = [point_id(each) for each in ids if is_item_id(each)]
        with _mapped(f"read the store in {self._folder}"):
            held = [IMAGE] if vectors else False
            records = self._open.retrieve(points, _selected(WHOLE), held)
        asked = set(ids)  # a point is found by half of its id
        items = [edge_payload.to_item(record) for record in records]
        return [item for item in items if item.id in asked]

    def at_paths(self, paths: Sequence[str]) -> Iterator[Item]:
        """See `Store.at_paths`."""
        import qdrant_edge as edge

        if self._is_small():  # and has no index of paths
            wanted = set(paths)
            yield from (item for item in self.scroll() if not wanted.isdisjoint(item.places))
            return
        for start in range(0, len(paths), 500):
            keys = [edge_payload.path_key(path) for path in paths[start : start + 500]]
            condition = edge.FieldCondition("at", match=edge.MatchAny(keys))
            yield from self._scroll(edge.Filter(must=[condition]), vectors=False)

    def scroll(
        self,
        filter: Filter | None = None,  # noqa: A002
        *,
        vectors: bool = False,
    ) -> Iterator[Item]:
        """See `Store.scroll`."""
        return self._scroll(condition(filter), vectors=vectors)

    def _scroll(self, wanted: edge.Filter | None, *, vectors: bool) -> Iterator[Item]:
        import qdrant_edge as edge

        offset: Any = None
        while True:
            page = edge.ScrollRequest(
                offset=offset,
                limit=1000,
                filter=wanted,
                with_payload=_selected(WHOLE),
                with_vector=[IMAGE] if vectors else False,
            )
            with _mapped(f"read the store in {self._folder}"), span("store"):
                records, offset = self._open.scroll(page)
            for record in records:
                yield edge_payload.to_item(record)
            if offset is None:
                return

    @profiled("store")
    def count(self, filter: Filter | None = None) -> int:  # noqa: A002
        """See `Store.count`."""
        import qdrant_edge as edge

        with _mapped(f"read the store in {self._folder}"):
            return self._open.count(edge.CountRequest(filter=condition(filter)))

    @profiled("store")
    def optimize(self) -> bool:
        """Build the graph over everything and reclaim space; blocks the whole interpreter."""
        with _mapped(f"build the search graph in {self._folder}"):
            require_space(self._folder, 0)
            if not self._is_small():
                self._indexes.cover_all()
            built = self._open.optimize()
            self._open.flush()
            return built

    def close(self) -> None:
        """See `Store.close`."""
        shard, self._shard = self._shard, None
        if shard is None:
            return
        with _mapped(f"close the store in {self._folder}"):
            if self._read_only or not self._folder.exists():  # replaced by the next generation
                shard.close()
                return
            with commit_lock(self._folder, exclusive=True):
                shard.close()

    @property
    def _open(self) -> edge.EdgeShard:
        if self._shard is None:
            raise CollectionError(f"the store in {self._folder} is closed; open it again.")
        return self._shard

    def _point(self, item: Item) -> edge.Point:
        import qdrant_edge as edge

        words = self._model().embed_document(item.text)
        vector: dict[str, Any] = {IMAGE: edge_payload.floats(item.vector), TEXT: words}
        return edge.Point(point_id(item.id), vector, edge_payload.to_payload(item))

    def _words(self, text: str) -> edge.SparseVector | None:
        words = self._model().embed_query(text) if text else None
        return words if words is not None and len(words.indices) else None

    def _model(self) -> edge.Bm25:
        import qdrant_edge as edge

        if self._bm25 is None:
            self._bm25 = edge.Bm25(
                edge.Bm25Config(language="english", avg_len=AVERAGE_WORDS, ascii_folding=True)
            )
        return self._bm25

    def _size(self) -> int:
        """How many points there are; a view is asked once."""
        if self._points is None or not self._read_only:
            self._points = self._open.info().points_count
        return self._points

    def _is_small(self, more: int = 0) -> bool:
        return self._open.info().points_count + more < SCAN_LIMIT


def _ranked(points: list[edge.ScoredPoint]) -> list[edge.ScoredPoint]:
    """Best first; what ties, as fused ranks and near-copies do, in the order of ids."""
    scores = [point.score for point in points]
    if len(set(scores)) < len(scores):
        points.sort(key=lambda point: (-point.score, point.id))
    return points


def _selected(fields: Sequence[str]) -> Any:
    import qdrant_edge as edge

    return edge.PayloadSelector.Include(list(fields))


def require_space(folder: Path, size_bytes: int) -> None:
    """Raise `StorageError` unless a write of that size leaves room on the disk."""
    free = shutil.disk_usage(folder).free
    needed = size_bytes + RESERVE_BYTES
    if free < needed:
        raise StorageError(
            f"the disk is full: {free / 1e6:,.0f} MB free at {folder}, {needed / 1e6:,.0f} MB"
            " needed. Free some space and run the same command again; what was written is kept."
        )


_FULL = re.compile(r"os error (28|122)\b|no space left|quota exceeded", re.IGNORECASE)
_TOO_LARGE = re.compile(r"os error 27\b|file too large", re.IGNORECASE)
_REFUSED = re.compile(
    r"os error (1|13|30)\b|read-only file system|permission denied", re.IGNORECASE
)


@contextmanager
def _mapped(doing: str, otherwise: type[CollectionError] = CollectionError) -> Iterator[None]:
    """Turn what Edge or the system raises into an error of this package."""
    try:
        yield
    except (PolymodalError, KeyboardInterrupt, SystemExit, GeneratorExit, MemoryError):
        raise
    except BaseException as error:
        text = str(error) or type(error).__name__
        if _FULL.search(text):
            raise StorageError(
                f"cannot {doing}: the disk is full. Free some space first."
            ) from error
        if _TOO_LARGE.search(text):
            raise StorageError(
                f"cannot {doing}: the system's file size limit is too low."
            ) from error
        if _REFUSED.search(text) or isinstance(error, OSError):
            raise StorageError(f"cannot {doing}: {text}") from error
        raise otherwise(f"cannot {doing}: {text}") from error
