"""One writer at a time, by the operating system's file locks.

Notable: a lock is the kernel's (`flock`), so it ends with the process that holds it, however that
dies, and nobody ever has to delete a stale lock file. What is written in the file only serves to
name the holder in a message.
"""

from __future__ import annotations

import errno
import fcntl
import json
import os
import socket
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from polymodal.errors import CollectionLocked, StorageError

__all__ = ["commit_lock", "writer_lock"]

REFUSED = (errno.EROFS, errno.EACCES, errno.EPERM, errno.ENOSPC, errno.EDQUOT)


@contextmanager
def writer_lock(folder: Path, name: str) -> Iterator[None]:
    """Hold the right to write to a collection.

    Args:
        folder: the collection's folder.
        name: the collection as the user calls it, for messages.

    Raises:
        CollectionLocked: another process has it; the message names that process.
        StorageError: the folder cannot be written to.
    """
    path = folder / "lock"
    try:
        handle = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o644)
    except OSError as error:
        raise StorageError(
            f"cannot write to collection {name!r} in {folder}: {error.strerror}."
        ) from error
    try:
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise CollectionLocked(
                f"collection {name!r} is being written to by {_holder(path)}."
                " Try again when it has finished; searching works meanwhile."
            ) from None
        _sign(handle)
        yield
    finally:
        os.close(handle)


def _sign(handle: int) -> None:
    """Write who holds the lock. Failing to does not matter: the lock is the kernel's."""
    who = {
        "pid": os.getpid(),
        "host": socket.gethostname(),
        "command": " ".join(sys.argv)[:200] or "python",
        "started": time.strftime("%Y-%m-%d %H:%M:%S"),
    }
    try:
        os.ftruncate(handle, 0)
        os.pwrite(handle, json.dumps(who).encode(), 0)
    except OSError:
        return


def _holder(path: Path) -> str:
    for _ in range(5):
        try:
            who = json.loads(path.read_text())
            return (
                f"process {who['pid']} on {who['host']} ({who['command']}, since {who['started']})"
            )
        except (OSError, ValueError, KeyError):
            time.sleep(0.02)  # it may be just signing
    return "another process"


@contextmanager
def commit_lock(folder: Path, *, exclusive: bool) -> Iterator[None]:
    """Held by a writer while files change, shared by readers while they take their view.

    A commit takes a fraction of a second, so readers wait for it. Where the folder is read-only
    and has no such file, nobody can be writing and nothing is locked.
    """
    path = folder / "commit.lock"
    flags = (os.O_RDWR | os.O_CREAT) if exclusive else os.O_RDONLY
    try:
        handle = os.open(path, flags | os.O_CLOEXEC, 0o644)
    except OSError as error:
        if exclusive:
            raise StorageError(f"cannot write to {folder}: {error.strerror}.") from error
        yield
        return
    try:
        fcntl.flock(handle, fcntl.LOCK_EX if exclusive else fcntl.LOCK_SH)
        yield
    finally:
        os.close(handle)
