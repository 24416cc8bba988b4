"""Writing in commits, on a thread of its own, while the next pictures are embedded."""

from __future__ import annotations

import time
from collections.abc import Iterable, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import replace
from types import TracebackType

from polymodal.search.store import Item, Store

__all__ = ["COMMIT_ITEMS", "Writer"]

COMMIT_ITEMS = 2048
COMMIT_EVERY_S = 5.0
"""A commit syncs to disk (100 to 300 ms), and a killed run loses what came after the last one."""


class Writer:
    """Collects items and commits them; use as a context manager, which commits what is left."""

    def __init__(self, store: Store) -> None:
        """The store is used by this object alone until it is closed, reading excepted."""
        self._store = store
        self._pool = ThreadPoolExecutor(1, thread_name_prefix="polymodal-write")
        self._new: dict[str, Item] = {}
        self._changed: dict[str, Item] = {}
        self._flying: dict[str, Item] = {}
        self._commit: Future[None] | None = None
        self._first_at = 0.0

    def __enter__(self) -> Writer:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        try:
            # Also when interrupted: what is embedded is worth keeping. Not when writing failed.
            if self._commit is None or not self._commit.done() or self._commit.exception() is None:
                self.flush()
        except Exception:
            if error is None:
                raise
        finally:
            self._pool.shutdown(wait=True)

    def put(self, item: Item, *, is_new: bool) -> None:
        """Write an item with the next commit; a changed one may come without its vector."""
        if not self._new and not self._changed:
            self._first_at = time.monotonic()
        if is_new or item.id in self._new:
            self._new[item.id] = item
        else:
            self._changed[item.id] = item
        waiting = len(self._new) + len(self._changed)
        if waiting >= COMMIT_ITEMS or time.monotonic() - self._first_at > COMMIT_EVERY_S:
            self._start()

    def pending(self, ids: Iterable[str]) -> dict[str, Item]:
        """Items of these ids that may not be in the store yet, as they will be."""
        stages = (self._flying, self._new, self._changed)
        return {each: stage[each] for stage in stages for each in ids if each in stage}

    def flush(self) -> None:
        """Return when everything put so far is durable."""
        self._start()
        self._wait()

    def remove(self, ids: Sequence[str]) -> None:
        """Remove items, after everything put so far."""
        self.flush()
        if ids:
            self._store.commit(remove=ids)

    def _start(self) -> None:
        self._wait()
        if not self._new and not self._changed:
            return
        new, changed = self._new, self._changed
        self._flying = {**new, **changed}
        self._new, self._changed = {}, {}
        self._commit = self._pool.submit(self._write, list(new.values()), list(changed.values()))

    def _wait(self) -> None:
        if self._commit is not None:
            self._commit.result()
        self._flying = {}

    def _write(self, new: Sequence[Item], changed: Sequence[Item]) -> None:
        bare = [item.id for item in changed if not len(item.vector)]
        vectors = {item.id: item.vector for item in self._store.get(bare, vectors=True)}
        whole = [
            item if len(item.vector) else replace(item, vector=vectors[item.id])
            for item in changed
            if len(item.vector) or item.id in vectors
        ]
        self._store.commit(new, rewrite=whole)
