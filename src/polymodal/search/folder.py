"""Where a collection lies and how its data changes generation.

    collection.json      the manifest; says which generation is current
    lock, commit.lock    empty but for the name of the writer
    data-000002/         the current generation: a shard of the store
    data-000003.new-…/   the next one while it is built; swept away if that was cut short
    views/               clones, for the milliseconds in which a reader opens one

Notable: a generation becomes current by replacing the manifest, nothing else. Whatever the
manifest does not name is a leftover, and the next writer removes it.
"""

from __future__ import annotations

import contextlib
import os
import re
import shutil
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from uuid import uuid4

from polymodal.errors import CollectionDamaged, StorageError, UsageError
from polymodal.runtime.home import default_home
from polymodal.search.edge_files import clone_shard
from polymodal.search.lock import commit_lock, writer_lock
from polymodal.search.manifest import FILE, Manifest, sync_folder

__all__ = ["CollectionFolder"]

VIEW_LEFTOVER_S = 60.0


class CollectionFolder:
    """The files of one collection; knows nothing of what is in the store."""

    def __init__(self, name_or_path: str | os.PathLike[str], home: Path | None = None) -> None:
        """Find the folder: a name lies in the home folder, anything with a separator is a path.

        A collection in the current folder may also be called by its bare name. Other folders may
        not: `polymodal add shop/ -c shop` makes a collection in the home folder.

        Raises:
            UsageError: neither a name nor a path of a folder.
        """
        text = os.fspath(name_or_path)
        separators = os.sep + (os.altsep or "")
        is_path = any(each in text for each in separators) or text in (".", "..", "~")
        if is_path or not isinstance(name_or_path, str) or (Path(text) / FILE).exists():
            self.path = Path(text).expanduser().absolute()
        elif re.fullmatch(r"\w[\w .-]*", text):
            self.path = (home or default_home()).absolute() / "collections" / text
        else:
            raise UsageError(
                f"{text!r} is no name for a collection: use letters, digits, - and _,"
                " or a path with a slash."
            )
        if self.path.exists() and not self.path.is_dir():
            raise UsageError(f"{self.path} is a file, and a collection is a folder.")
        self.name = text

    @property
    def exists(self) -> bool:
        """Whether a collection is here."""
        return (self.path / FILE).exists()

    def manifest(self) -> Manifest:
        """See `Manifest.read`."""
        return Manifest.read(self.path, self.name)

    def stamp(self, data: Path) -> tuple[int, ...]:
        """Changes with every commit to the generation in `data`, and with the generation."""
        found = []
        for path in (self.path / FILE, data / "commit.lock"):
            try:
                found.append(path.stat().st_mtime_ns)
            except OSError:
                found.append(0)
        return tuple(found)

    def data(self, manifest: Manifest | None) -> Path:
        """The folder of the current generation."""
        manifest = manifest or self.manifest()
        return self.path / f"data-{manifest.generation:06d}"

    @property
    def views(self) -> Path:
        """Where readers open their views: here, or in the system's temporary folder."""
        import tempfile

        here = self.path / "views"
        try:
            here.mkdir(exist_ok=True)
        except OSError:
            return Path(tempfile.gettempdir())
        return here if os.access(here, os.W_OK) else Path(tempfile.gettempdir())

    @contextmanager
    def writing(self, *, create: bool = False) -> Iterator[None]:
        """Hold the writer's lock, and sweep what an interrupted writer left.

        Raises:
            CollectionLocked: another process is writing.
            StorageError: the folder cannot be written to.
            UsageError: the folder holds other files than a collection's.
        """
        if create:
            self._make()
        elif not self.exists:
            self.manifest()  # raises CollectionNotFound
        with writer_lock(self.path, self.name):
            self._sweep()
            yield

    def _make(self) -> None:
        try:
            self.path.mkdir(parents=True, exist_ok=True)
            others = [p.name for p in self.path.iterdir() if not _ours(p.name)]
        except OSError as error:
            raise StorageError(
                f"cannot create collection {self.name!r} in {self.path}: {error.strerror}."
            ) from error
        if others and not self.exists:
            raise UsageError(
                f"{self.path} holds other files ({', '.join(sorted(others)[:3])}):"
                " give a collection a folder of its own."
            )

    def remove(self) -> None:
        """Take away a collection that nothing was put in; the writer's lock is held."""
        (self.path / FILE).unlink(missing_ok=True)  # first: from now on there is none
        for path in self.path.iterdir():
            if path.is_dir() and _ours(path.name):
                shutil.rmtree(path, ignore_errors=True)
        (self.path / "lock").unlink(missing_ok=True)
        with contextlib.suppress(OSError):  # someone put something of his own there meanwhile
            self.path.rmdir()

    def _sweep(self) -> None:
        """Remove what no manifest names: only called with the writer's lock held."""
        current = self.data(None).name if self.exists else ""
        for path in self.path.glob("data-*"):
            if path.name != current:
                shutil.rmtree(path, ignore_errors=True)
        for path in self.path.glob(f".{FILE}.*"):
            path.unlink(missing_ok=True)
        for path in (self.path / "views").glob("view-*"):
            with contextlib.suppress(FileNotFoundError):  # its reader is just removing it
                if time.time() - path.stat().st_mtime > VIEW_LEFTOVER_S:
                    shutil.rmtree(path, ignore_errors=True)

    @contextmanager
    def next_generation(self, *, clone: bool) -> Iterator[tuple[Path, Callable[[Manifest], None]]]:
        """A folder to build the next generation in, and what makes it current.

        Args:
            clone: start with the current data rather than with an empty folder.

        Yields:
            The folder and a function of the manifest to write with it (its generation is set
            here). Unless that is called, the folder is removed and nothing has changed.
        """
        number = self.manifest().generation + 1 if self.exists else 1
        building = self.path / f"data-{number:06d}.new-{uuid4().hex[:8]}"
        final = self.path / f"data-{number:06d}"

        def swap(manifest: Manifest) -> None:
            old = self.data(None) if self.exists else None
            building.rename(final)
            sync_folder(self.path)
            manifest.with_(generation=number).write(self.path)
            if old is not None:
                with commit_lock(old, exclusive=True):  # not under a reader's hands
                    shutil.rmtree(old, ignore_errors=True)

        try:
            if clone:
                clone_shard(self.data(None), building)
            yield building, swap
        except OSError as error:
            raise StorageError(f"cannot write to {building}: {error.strerror}.") from error
        finally:
            shutil.rmtree(building, ignore_errors=True)

    def require_data(self, manifest: Manifest) -> Path:
        """The current generation's folder.

        Raises:
            CollectionDamaged: it is gone.
        """
        data = self.data(manifest)
        if not (data / "segments").is_dir():
            raise CollectionDamaged(
                f"collection {self.name!r} has lost its data: {data} is missing or empty."
                " Delete the folder and add the pictures again."
            )
        return data


def _ours(name: str) -> bool:
    return name in (FILE, "lock", "views") or name.startswith((f".{FILE}.", "data-"))
