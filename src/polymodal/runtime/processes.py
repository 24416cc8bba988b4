"""Which processes of this user hold models: each answers for itself, on a socket in a folder.

Notable: a process tells what it holds in the moment it is asked, so nothing is ever out of date; a
socket that nobody answers is of a process that is gone, and is removed. The folder is the user's
own, and so are the sockets. A process listens from its first load on. Where there are no such
sockets (Windows), processes do not see each other.
"""

from __future__ import annotations

import atexit
import json
import os
import socket
import stat
import sys
import tempfile
import threading
import weakref
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Protocol

__all__ = ["HeldBy", "LoadedModel", "announce", "ask_all", "runtime_folder"]

ANSWER_S = 10.0
"""How long a process may take to unload and answer."""
MOST_BYTES = 1 << 20


@dataclass(frozen=True)
class LoadedModel:
    """A part of a model that is in memory now.

    Attributes:
        model: the name by which it was opened.
        part: which part of it: "image tower", "weights".
        device: where it runs.
        host_bytes, device_bytes: by which this process grew, on the machine and on the accelerator,
            while it was loaded; of weights on an accelerator, the first is what stayed behind.
        age_s: since it was loaded.
        idle_s: since it was last used; 0 while it is.
        uses: how often it was used.
        in_use: by how many, now.
    """

    model: str
    part: str
    device: str
    host_bytes: int
    device_bytes: int
    age_s: float
    idle_s: float
    uses: int
    in_use: int

    def to_dict(self) -> dict[str, Any]:
        """For JSON."""
        return asdict(self)

    @classmethod
    def from_dict(cls, values: dict[str, Any]) -> LoadedModel:
        """Of what `to_dict` gave."""
        return cls(**values)


@dataclass(frozen=True)
class HeldBy:
    """What one process answered.

    Attributes:
        program: the name of its program.
        models: what it holds, or what it unloaded.
    """

    pid: int
    program: str
    models: tuple[LoadedModel, ...]


class _Holder(Protocol):
    """A pool, as far as other processes are concerned."""

    def models(self) -> Sequence[LoadedModel]: ...

    def unload(self, name: str | None = None) -> Sequence[LoadedModel]: ...


_pools: weakref.WeakSet[Any] = weakref.WeakSet()
_lock = threading.Lock()
_listening: set[int] = set()
"""Ids of this process and, in one that was forked, of those before it."""


def announce(pool: _Holder) -> None:
    """Answer for `pool` from now on."""
    with _lock:
        _pools.add(pool)
        if os.getpid() in _listening:
            return
        _listening.add(os.getpid())
    with suppress(OSError):  # a folder that cannot be written only means that nobody sees us
        _listen()


def ask_all(*, unload: str | None = None) -> list[HeldBy]:
    """What all processes of this user hold; or, with a name, what they unloaded of it."""
    request = {"do": "list"} if unload is None else {"do": "unload", "name": unload}
    found = []
    folder = runtime_folder()
    for path in sorted(folder.glob("*.sock")) if folder.is_dir() else ():
        answer = _asked(path, request)
        if answer is not None:
            models = tuple(LoadedModel.from_dict(each) for each in answer["models"])
            found.append(HeldBy(answer["pid"], answer["program"], models))
    return found


def runtime_folder() -> Path:
    """`$XDG_RUNTIME_DIR/polymodal`, or a folder of the user's own among temporary files."""
    if base := os.environ.get("XDG_RUNTIME_DIR"):
        return Path(base) / "polymodal"
    return Path(tempfile.gettempdir()) / f"polymodal-{os.getuid() if _unix() else ''}"


def _unix() -> bool:
    return hasattr(socket, "AF_UNIX") and hasattr(os, "getuid")


def _listen() -> None:
    if not _unix():
        return
    folder = runtime_folder()
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    found = folder.lstat()
    if found.st_uid != os.getuid() or not stat.S_ISDIR(found.st_mode) or found.st_mode & 0o077:
        return  # another user made it, who could then answer in our place
    path = folder / f"{os.getpid()}.sock"
    path.unlink(missing_ok=True)
    server = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    server.bind(str(path))
    server.listen()
    atexit.register(_gone, path, os.getpid())
    threading.Thread(target=_serve, args=(server,), name="polymodal-ps", daemon=True).start()


def _gone(path: Path, pid: int) -> None:
    if os.getpid() == pid:
        path.unlink(missing_ok=True)


def _serve(server: socket.socket) -> None:
    while True:
        try:
            connection, _ = server.accept()
        except OSError:
            return
        with connection, suppress(OSError, ValueError, KeyError):
            connection.settimeout(ANSWER_S)
            asked = json.loads(connection.makefile("rb").readline(MOST_BYTES))
            connection.sendall(json.dumps(_answer(asked)).encode() + b"\n")


def _answer(asked: dict[str, Any]) -> dict[str, Any]:
    with _lock:
        pools = list(_pools)
    models: list[LoadedModel] = []
    for pool in pools:
        models += pool.models() if asked["do"] == "list" else pool.unload(asked["name"])
    program = Path(sys.argv[0] or "python").name
    return {"pid": os.getpid(), "program": program, "models": [each.to_dict() for each in models]}


def _asked(path: Path, request: dict[str, Any]) -> dict[str, Any] | None:
    """The answer of a process; None where it is gone, or does not answer."""
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as client:
        client.settimeout(ANSWER_S)
        try:
            client.connect(str(path))
        except ConnectionRefusedError:
            path.unlink(missing_ok=True)
            return None
        except OSError:
            return None
        try:
            client.sendall(json.dumps(request).encode() + b"\n")
            answer: dict[str, Any] = json.loads(client.makefile("rb").readline(MOST_BYTES))
        except (OSError, ValueError):
            return None
    return answer
