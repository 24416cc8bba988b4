"""One SQLite file that several threads and processes use at once, and that is never in the way.

Notable: a file that is damaged is renamed, a warning says to what, and an empty one takes its
place. Whoever finds it first does so under a lock; the others notice that the file under the path
is another one and open that. A connection is not carried over a fork. Files are private to the
user, since they hold what was asked and answered.
"""

from __future__ import annotations

import fcntl
import os
import sqlite3
import threading
import time
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import TypeVar
from uuid import uuid4

from polymodal.errors import StorageError, UsageError
from polymodal.profiling import profiled

__all__ = ["FILES", "Database", "used_bytes"]

BUSY_S = 15.0
"""How long to wait for another process that is writing."""
FILES = ("", "-wal", "-shm")
"""Endings of what SQLite makes of one database."""
DAMAGED = (sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB)
Result = TypeVar("Result")
_OF_PARENTS: list[sqlite3.Connection] = []
"""Connections that came over a fork: closing one here could end a transaction of the parent."""


class Database:
    """The file at `path`, opened on first use.

    Attributes:
        path: absolute.
        set_aside: where a damaged file went, when one was found.
    """

    def __init__(
        self, path: str | os.PathLike[str], schema: str, *, version: int, what: str
    ) -> None:
        """Nothing is opened or made yet.

        Args:
            schema: SQL statements that make the tables of an empty file.
            version: the schema's, kept in the file; any number but 0.
            what: "cache", for messages.
        """
        self.path = Path(path).expanduser().absolute()
        self.set_aside: Path | None = None
        self._schema = schema
        self._version = version
        self._what = what
        self._lock = threading.RLock()
        self._connection: sqlite3.Connection | None = None
        self._identity: tuple[int, ...] = ()

    @profiled("store")
    def read(self, work: Callable[[sqlite3.Connection], Result]) -> Result:
        """What `work` makes of a connection.

        Raises:
            sqlite3.Error, OSError: the file cannot be used.
            UsageError: it is an SQLite file of something else.
        """
        with self._lock:
            try:
                return work(self._open())
            except sqlite3.DatabaseError as error:
                if not _is_damage(error):
                    raise
                self._replace(str(error))
                return work(self._open())

    @profiled("store")
    def write(self, work: Callable[[sqlite3.Connection], Result]) -> Result:
        """The same in a transaction: all of it is in the file afterwards, or nothing."""

        def whole(connection: sqlite3.Connection) -> Result:
            connection.execute("BEGIN IMMEDIATE")
            try:
                result = work(connection)
                connection.execute("COMMIT")
            except BaseException:
                with suppress(sqlite3.Error):  # where the commit failed there may be none
                    connection.execute("ROLLBACK")
                raise
            return result

        return self.read(whole)

    @contextmanager
    def named_errors(self) -> Iterator[None]:
        """Turn what SQLite and the system say into a `StorageError` that names the file."""
        try:
            yield
        except (sqlite3.Error, OSError) as error:
            raise StorageError(f"cannot use the {self._what} {self.path}: {error}.") from error

    def all_set_aside(self) -> list[Path]:
        """Damaged files that were found here, by anyone, oldest first."""
        found = self.path.parent.glob(f"{self.path.name}.damaged-*")
        return sorted(path for path in found if not path.name.endswith(FILES[1:]))

    def close(self) -> None:
        """Let go of the file; the next use opens it again."""
        with self._lock:
            if self._connection is not None:
                if self._identity[:1] == (os.getpid(),):
                    self._connection.close()
                else:
                    _OF_PARENTS.append(self._connection)
            self._connection = None

    def __del__(self) -> None:
        with suppress(Exception):  # the interpreter may be ending
            self.close()

    def _open(self) -> sqlite3.Connection:
        """The connection, made anew after a fork or when the file has been replaced."""
        if self._connection is not None and self._identity == self._found():
            return self._connection
        self.close()
        self.path.parent.mkdir(parents=True, exist_ok=True)
        with self._alone():
            # SQLite gives its side files the mode of this one.
            os.close(os.open(self.path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600))
            try:
                self._connection = self._connect()
            except sqlite3.DatabaseError as error:
                if not _is_damage(error):
                    raise
                self._rename(str(error))
                self._connection = self._connect()
            self._identity = self._found()
        return self._connection

    def _connect(self) -> sqlite3.Connection:
        connection = sqlite3.connect(
            self.path, timeout=BUSY_S, isolation_level=None, check_same_thread=False
        )
        # Of a damaged text what can be read, so that one row does not hide the others.
        connection.text_factory = lambda data: data.decode("utf-8", "replace")
        try:
            connection.execute("PRAGMA journal_mode=WAL")
            connection.execute("PRAGMA synchronous=NORMAL")
            (found,) = connection.execute("PRAGMA user_version").fetchone()
            (tables,) = connection.execute("SELECT count(*) FROM sqlite_master").fetchone()
            if not tables and not found:
                number = f"PRAGMA user_version={self._version};"
                connection.executescript(f"BEGIN IMMEDIATE; {self._schema} {number} COMMIT;")
            else:
                self._require_version(found)
        except BaseException:
            connection.close()
            raise
        return connection

    def _require_version(self, found: int) -> None:
        if found != self._version:
            raise UsageError(
                f"{self.path} is not a {self._what} of this version of polymodal:"
                " name another file, or move it away."
            )

    def _found(self) -> tuple[int, ...]:
        try:
            status = self.path.stat()
        except OSError:
            return ()
        return (os.getpid(), status.st_dev, status.st_ino)

    def _replace(self, reason: str) -> None:
        """Set the damaged file aside, unless somebody else has done so meanwhile."""
        with self._alone():
            same = self._identity == self._found()
            self.close()
            if same:
                self._rename(reason)

    def _rename(self, reason: str) -> None:
        stamp = time.strftime("%Y%m%d-%H%M%S")
        target = self.path.with_name(f"{self.path.name}.damaged-{stamp}-{uuid4().hex[:6]}")
        for suffix in FILES:
            with suppress(FileNotFoundError):
                Path(f"{self.path}{suffix}").rename(f"{target}{suffix}")
        self.set_aside = target
        warnings.warn(
            f"the {self._what} {self.path} is damaged ({reason}); it is now {target},"
            " and a new one is begun.",
            UserWarning,
            stacklevel=2,
        )
        os.close(os.open(self.path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600))

    @contextmanager
    def _alone(self) -> Iterator[None]:
        """Held while the file is made or replaced; ends with the process, however that dies."""
        path = self.path.with_name(f"{self.path.name}.lock")
        handle = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        try:
            fcntl.flock(handle, fcntl.LOCK_EX)
            yield
        finally:
            os.close(handle)


def _is_damage(error: sqlite3.DatabaseError) -> bool:
    code = getattr(error, "sqlite_errorcode", None)
    return code is not None and (code & 0xFF) in DAMAGED


def used_bytes(connection: sqlite3.Connection) -> int:
    """Bytes of the file that hold something; free pages are not counted."""
    page, pages, free = (
        connection.execute(f"PRAGMA {name}").fetchone()[0]
        for name in ("page_size", "page_count", "freelist_count")
    )
    return int(page * (pages - free))
