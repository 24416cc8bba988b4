"""How a collection's operations get at its files, its store and its model.

Notable: reading and writing take turns with nobody. A write holds the collection's lock for as
long as it lasts and works on the store itself; everything else reads a view of the last commit,
which is renewed when another commit was made, by whichever process. The model is loaded when a
picture or a text has to be embedded and at no other time.
"""

from __future__ import annotations

import contextlib
import os
import shlex
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

from polymodal.errors import (
    CollectionError,
    CollectionLocked,
    SpaceMismatch,
    StorageError,
    UsageError,
)
from polymodal.media.pictures import Limits
from polymodal.models.protocols import Embedder
from polymodal.results import Space
from polymodal.search.edge import SCAN_LIMIT, EdgeStore
from polymodal.search.folder import CollectionFolder
from polymodal.search.manifest import Manifest
from polymodal.search.store import OnProgress
from polymodal.search.words import text_of

__all__ = ["Access", "Writing"]

OPEN_ATTEMPTS = 5
DEFAULT_MODEL = "starter"
"""What the command line takes where no model is named."""


class Writing:
    """A collection open for writing: its store and its manifest, which it keeps on disk."""

    def __init__(self, folder: CollectionFolder, store: EdgeStore, manifest: Manifest) -> None:
        """Made by `Access.writing`."""
        self._folder = folder
        self.store = store
        self.manifest = manifest

    def update(self, manifest: Manifest) -> None:
        """Replace the manifest, on disk where it differs."""
        if manifest != self.manifest:
            manifest.write(self._folder.path)
            self.manifest = manifest

    def count_changes(self, number: int) -> None:
        """Note that items were written or removed since the graph was built."""
        self.update(self.manifest.with_(loose_items=self.manifest.loose_items + number))


class Access:
    """One collection's folder, model and open view. Safe to use from several threads."""

    def __init__(
        self,
        name_or_path: str | os.PathLike[str],
        embedder: Callable[[], Embedder],
        limits: Limits,
        *,
        writable: bool,
        home: Path | None,
        model_name: str = "",
    ) -> None:
        """Opens nothing yet; `model_name` is how the user calls the model, where that is known."""
        self.folder = CollectionFolder(name_or_path, home)
        self.limits = limits
        self._writable = writable
        self._make_embedder = embedder
        self._model_name = model_name
        self._write_turn = threading.RLock()
        self._view_turn = threading.RLock()
        self._view: EdgeStore | None = None
        self._view_data = Path()
        self._view_stamp: tuple[int, ...] = ()
        self._closed = False

    @property
    def name(self) -> str:
        """The collection as the user calls it."""
        return self.folder.name

    def embedder(self) -> Embedder:
        """The model, which must be that of the collection's space.

        Raises:
            SpaceMismatch: it is another; the message is the command that re-embeds.
        """
        model = self._make_embedder()
        if self.folder.exists:
            self.require_space(model.space)
        return model

    def require_space(self, space: Space) -> None:
        """Raise `SpaceMismatch` unless vectors of that space belong here."""
        own = self.folder.manifest().space
        # A model's folder has a name of its own, which the space does not know.
        model = f" -m {shlex.quote(self._model_name)}" if self._model_name else ""
        command = f"polymodal reembed -c {shlex.quote(self.name)}"
        if own.model == space.model and own.fingerprint != space.fingerprint:
            model = "" if self._model_name == DEFAULT_MODEL else model
            raise SpaceMismatch(
                f"{space.model} has changed since this collection was built (another revision);"
                f" re-embed it: {command}{model}"
            )
        anew = f": {command}{model}" if model else " by this one: collection.reembed(model)"
        remedy = f"Use it with the model that made it, or have all of it embedded anew{anew}"
        own.require_same(space, f"use collection {self.name!r} with this model", remedy)

    def reading(self) -> EdgeStore:
        """A store with what was last committed; for reading only.

        Raises:
            CollectionNotFound: nothing was ever added.
            CollectionDamaged: its files are not readable.
        """
        with self._view_turn:
            self._require_open()
            if self._view is None or self.folder.stamp(self._view_data) != self._view_stamp:
                # Not closed: another thread may be reading the old view; it ends with its readers.
                self._view = self._open_view()
            return self._view

    def _open_view(self) -> EdgeStore:
        for attempt in range(OPEN_ATTEMPTS):
            data = self.folder.require_data(self.folder.manifest())
            stamp = self.folder.stamp(data)
            try:
                view = EdgeStore.view(data, self.folder.views)
            except CollectionError:
                # A new generation may have replaced this one under our hands: look again.
                if attempt + 1 == OPEN_ATTEMPTS or self.folder.data(None) == data:
                    raise
            else:
                self._view_data, self._view_stamp = data, stamp
                return view
        raise AssertionError("unreachable")

    @contextmanager
    def writing(
        self, *, create_in: Space | None = None, keep_empty: bool = True
    ) -> Iterator[Writing]:
        """The collection open for writing, by this process and thread alone.

        Args:
            create_in: create the collection in this space where there is none.
            keep_empty: keep what was created though nothing was put in, or something failed.

        Raises:
            CollectionLocked: another process is writing.
            CollectionNotFound: there is none.
            SpaceMismatch: there is one, in another space than `create_in`.
            StorageError: the disk is full or read-only.
        """
        self._require_open()
        if not self._writable:
            raise UsageError(f"collection {self.name!r} was opened for reading only.")
        with self._write_turn, self.folder.writing(create=create_in is not None):
            created = create_in is not None and not self.folder.exists
            if create_in is not None and created:
                self._create(create_in)
            elif create_in is not None:
                self.require_space(create_in)
            manifest = self.folder.manifest()
            store = EdgeStore.open(self.folder.require_data(manifest))
            empty = False
            try:
                self._repair(store, manifest)
                yield Writing(self.folder, store, manifest)
            finally:
                with contextlib.suppress(CollectionError):  # what stopped the run is told, not this
                    empty = created and not keep_empty and store.count() == 0
                store.close()
                if empty:
                    self.folder.remove()

    def _create(self, space: Space) -> None:
        with self.folder.next_generation(clone=False) as (building, swap):
            EdgeStore.create(building, space.dimension).close()
            swap(Manifest(space=space, created=time.time()))

    def _repair(self, store: EdgeStore, manifest: Manifest) -> None:
        """Write items whole again whose rewriting was cut short by a crash."""
        if ids := store.interrupted():
            items = store.get(ids, vectors=True)
            texts = [text_of(item.metadata, manifest.text_fields) for item in items]
            store.commit(rewrite=[replace(i, text=t) for i, t in zip(items, texts, strict=True)])

    def grow_graph(self, progress: OnProgress | None) -> str:
        """Build the search graph where enough has changed since; the data are safe before.

        Returns:
            A note where it could not be built; empty otherwise.
        """
        try:
            reason = self._grow_graph(progress)
        except CollectionLocked:
            return ""  # someone else writes now, and will build it
        except StorageError as error:
            reason = str(error)
        if not reason:
            return ""
        return f"the search graph was not built ({reason}); searching works, but takes longer"

    def _grow_graph(self, progress: OnProgress | None) -> str:
        from polymodal.search.graph import build_graph

        with self._write_turn, self.folder.writing():
            manifest = self.folder.manifest()
            if manifest.loose_items < SCAN_LIMIT:
                return ""
            with self.folder.next_generation(clone=True) as (building, swap):
                reason = build_graph(building, manifest.loose_items, progress)
                if not reason:
                    swap(manifest.with_(loose_items=0))
            return reason

    def close(self) -> None:
        """Release the view; reading or writing afterwards is an error."""
        with self._view_turn:
            self._closed = True
            view, self._view = self._view, None
        if view is not None:
            view.close()

    def _require_open(self) -> None:
        if self._closed:
            raise UsageError(f"collection {self.name!r} is closed; open it again.")
