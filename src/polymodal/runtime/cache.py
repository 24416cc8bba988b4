"""Answers that were computed before: content + model + verb + parameters -> the result, as JSON.

Notable: a cache never stops a run and never invents: what cannot be read is a miss, what cannot be
written is not kept, and a warning says so once. Only callers know what is deterministic, complete
and not empty; `through_cache` in `cached.py` is how a verb asks. The file is used by any number of
processes; recency is written at most once a minute for an entry, so that hits stay cheap.
"""

from __future__ import annotations

import hashlib
import json
import os
import sqlite3
import time
import warnings
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from polymodal import __version__
from polymodal.errors import UsageError
from polymodal.runtime.database import FILES, Database, used_bytes
from polymodal.runtime.home import default_home, switched_off

__all__ = ["Cache", "CacheInfo", "cache_key", "canonical_json", "open_cache"]

FILE = "cache-v1.sqlite3"
MAX_BYTES = 512_000_000
KEPT_SHARE = 0.9
"""Of the limit, that is still used after the oldest entries have left."""
TOUCH_AFTER_S = 60
SOME = 500
"""Keys in one statement; SQLite allows 999 in old versions."""
SCHEMA = """
CREATE TABLE entries (
    key TEXT PRIMARY KEY, verb TEXT NOT NULL, value TEXT NOT NULL, digest TEXT NOT NULL,
    used INTEGER NOT NULL
) WITHOUT ROWID;
CREATE INDEX oldest ON entries (used);
"""


@dataclass(frozen=True)
class CacheInfo:
    """What the cache holds.

    Attributes:
        size_bytes: that entries take in the file.
        verbs: number of entries of each verb.
        set_aside: damaged files that were found and renamed; `clear` removes them.
    """

    path: Path
    entries: int
    size_bytes: int
    max_bytes: int
    verbs: Mapping[str, int]
    set_aside: tuple[Path, ...]


def canonical_json(value: Any) -> str:
    """JSON with one spelling for a value: sorted keys, no blanks, ASCII.

    Raises:
        UsageError: it is no JSON value: NaN, a key that is not text, an object.
    """
    _require_text_keys(value)
    try:
        return json.dumps(value, sort_keys=True, allow_nan=False, separators=(",", ":"))
    except (TypeError, ValueError) as error:
        raise UsageError(f"not a JSON value: {error}") from error


def _require_text_keys(value: Any) -> None:
    if isinstance(value, Mapping):
        for key, item in value.items():
            if not isinstance(key, str):  # json would write 1 and "1" alike
                raise UsageError(f"not a JSON value: the key {key!r} is not text")
            _require_text_keys(item)
    elif isinstance(value, (list, tuple)):
        for item in value:
            _require_text_keys(item)


def cache_key(content: str, *, model: str, verb: str, parameters: Mapping[str, Any]) -> str:
    """64 hex digits that name a result.

    Args:
        content: SHA-256 of what the verb looks at (several: joined).
        model: fingerprint of what answers: `GeneratorInfo.fingerprint`, `Space.fingerprint`, or
            all of them where several models take part.
        verb: "caption", "read", ...
        parameters: everything else that the result depends on: options, question, style.
            Results of another version of polymodal are never found.
    """
    parts = [content, model, verb, dict(parameters), __version__]
    return hashlib.sha256(canonical_json(parts).encode()).hexdigest()


class Cache:
    """A file of results with a size limit; the least recently used leave first.

    Safe to use from several threads and processes.
    """

    def __init__(
        self, path: str | os.PathLike[str] | None = None, *, max_bytes: int = MAX_BYTES
    ) -> None:
        """Nothing is opened yet; by default the file lies in polymodal's home folder."""
        if max_bytes < 100_000:
            raise UsageError(f"a cache needs 100,000 bytes or more, not {max_bytes}.")
        where = default_home() / FILE if path is None else path
        self._data = Database(where, SCHEMA, version=1, what="cache")
        self.max_bytes = max_bytes
        self._complained = False

    @property
    def path(self) -> Path:
        """The file; it may not exist yet."""
        return self._data.path

    def get(self, keys: Sequence[str]) -> dict[str, Any]:
        """The values that are there, by key."""
        if not keys or not self.path.exists():
            return {}
        try:
            rows = self._data.read(lambda connection: list(_select(connection, keys)))
            old = int(time.time()) - TOUCH_AFTER_S
            # The disk may have changed a value in a way that SQLite does not notice.
            sound = [row for row in rows if row[2] == _digest(row[0], row[1])]
            if stale := [key for key, *_, used in sound if used < old]:
                self._touch(stale)
            return {key: json.loads(value) for key, value, *_ in sound}
        except (sqlite3.Error, OSError, ValueError, UsageError) as error:
            self._complain(error)
            return {}

    def put(self, entries: Mapping[str, Any], *, verb: str = "") -> None:
        """Keep JSON values under their keys.

        Raises:
            UsageError: a value is not JSON.
        """
        now = int(time.time())
        texts = {key: canonical_json(value) for key, value in entries.items()}
        rows = [(key, verb, text, _digest(key, text), now) for key, text in texts.items()]

        def insert(connection: sqlite3.Connection) -> None:
            connection.executemany("INSERT OR REPLACE INTO entries VALUES (?, ?, ?, ?, ?)", rows)
            self._evict(connection)

        try:
            self._data.write(insert)
        except (sqlite3.Error, OSError, UsageError) as error:
            self._complain(error)

    def info(self) -> CacheInfo:
        """What is there.

        Raises:
            StorageError: the file cannot be read.
        """
        counts: dict[str, int] = {}
        size = 0
        if self.path.exists():
            query = "SELECT verb, count(*) FROM entries GROUP BY verb ORDER BY verb"
            with self._data.named_errors():
                counts = dict(self._data.read(lambda c: c.execute(query).fetchall()))
                size = self._data.read(used_bytes)
        aside = tuple(self._data.all_set_aside())
        return CacheInfo(self.path, sum(counts.values()), size, self.max_bytes, counts, aside)

    def clear(self) -> int:
        """Remove every entry, and damaged files that were set aside; returns how many entries.

        Raises:
            StorageError: the file cannot be written.
        """
        before = self.info()
        for path in before.set_aside:
            for suffix in FILES:
                Path(f"{path}{suffix}").unlink(missing_ok=True)
        if not self.path.exists():
            return 0
        with self._data.named_errors():
            removed = self._data.write(lambda c: c.execute("DELETE FROM entries").rowcount)
            try:
                self._data.read(lambda c: c.execute("VACUUM").fetchall())
                self._data.read(lambda c: c.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchall())
            except sqlite3.OperationalError:  # another process reads: the pages are used again
                pass
        return int(removed)

    def close(self) -> None:
        """Let go of the file; the next use opens it again."""
        self._data.close()

    def _touch(self, keys: Sequence[str]) -> None:
        now = int(time.time())

        def update(connection: sqlite3.Connection) -> None:
            rows = [(now, key) for key in keys]
            connection.executemany("UPDATE entries SET used = ? WHERE key = ?", rows)

        try:
            self._data.write(update)
        except (sqlite3.Error, OSError):
            return  # a read-only cache still answers; only its order is not kept

    def _evict(self, connection: sqlite3.Connection) -> None:
        """Let the oldest tenth go until the rest fits."""
        if used_bytes(connection) <= self.max_bytes:
            return
        while used_bytes(connection) > self.max_bytes * KEPT_SHARE:
            (count,) = connection.execute("SELECT count(*) FROM entries").fetchone()
            if not count:
                return
            connection.execute(
                "DELETE FROM entries WHERE key IN (SELECT key FROM entries ORDER BY used LIMIT ?)",
                (max(1, count // 10),),
            )

    def _complain(self, error: Exception) -> None:
        if not self._complained:
            self._complained = True
            warnings.warn(
                f"the cache {self.path} cannot be used ({error}); going on without it.",
                UserWarning,
                stacklevel=3,
            )


def _select(
    connection: sqlite3.Connection, keys: Sequence[str]
) -> Iterator[tuple[str, str, str, int]]:
    for start in range(0, len(keys), SOME):
        some = keys[start : start + SOME]
        marks = ",".join("?" * len(some))
        query = f"SELECT key, value, digest, used FROM entries WHERE key IN ({marks})"
        yield from connection.execute(query, some)


def _digest(key: str, value: str) -> str:
    return hashlib.sha256(f"{key}:{value}".encode("utf-8", "surrogatepass")).hexdigest()[:16]


def open_cache(
    setting: bool | str | os.PathLike[str] | Cache = True, home: Path | None = None
) -> Cache | None:
    """The cache of a setting: on (in the home folder), off, a file's path, or a `Cache`.

    `POLYMODAL_CACHE=off` turns every cache off.
    """
    if setting is False or switched_off("POLYMODAL_CACHE"):
        return None
    if isinstance(setting, Cache):
        return setting
    return Cache((home or default_home()) / FILE if setting is True else setting)
