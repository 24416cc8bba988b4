"""Moving a collection to another model: all vectors anew, beside the old ones, then one swap."""

from __future__ import annotations

import hashlib
import os
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
from PIL import Image

from polymodal.errors import CollectionError, DamagedMedia, MediaError
from polymodal.media.files import hash_file, printable_name, read_bytes
from polymodal.media.moments import file_of, moment_of, picture_of_moment
from polymodal.media.pictures import Limits, open_picture
from polymodal.models.protocols import Embedder, Pixels
from polymodal.results import AddReport, ItemError, Vector
from polymodal.runtime.batches import pipelined
from polymodal.search.access import Access, Writing
from polymodal.search.edge import EdgeStore
from polymodal.search.ingest import Meter
from polymodal.search.store import Item, OnProgress, Store
from polymodal.search.videos import scene_id
from polymodal.search.words import text_of
from polymodal.search.writer import Writer

__all__ = ["reembed"]

NAMED = 5


def reembed(
    access: Access, embedder: Embedder, *, drop_missing: bool, progress: OnProgress | None
) -> AddReport:
    """Build the next generation of a collection with another model; see `Collection.reembed`."""
    with access.writing() as writing:
        if writing.manifest.space.fingerprint == embedder.space.fingerprint:
            return _stay(writing, access.limits, drop_missing=drop_missing)
        return _move(access, writing, embedder, drop_missing=drop_missing, progress=progress)


def _stay(writing: Writing, limits: Limits, *, drop_missing: bool) -> AddReport:
    """All vectors are of that space already, for no item is ever stored without its vector."""
    started = time.monotonic()
    total = writing.store.count()
    dropped: dict[str, ItemError] = {}
    for item in writing.store.scroll() if drop_missing else ():
        try:
            if moment_of(item.path):
                _moment(item)
            else:
                _content(item, limits)
        except MediaError as error:
            dropped[item.id] = ItemError.of(printable_name(item.path), error)
    if dropped:
        writing.store.commit(remove=list(dropped))
        writing.count_changes(len(dropped))
    model = writing.manifest.space
    note = f"nothing to embed anew: the vectors are of {model.model}@{model.revision} already"
    return AddReport(
        skipped=total - len(dropped),
        removed=len(dropped),
        seconds=time.monotonic() - started,
        notes=(note,),
        dropped=tuple(dropped.values()),
    )


def _move(
    access: Access,
    writing: Writing,
    embedder: Embedder,
    *,
    drop_missing: bool,
    progress: OnProgress | None,
) -> AddReport:
    with access.folder.next_generation(clone=False) as (new, swap):
        store = EdgeStore.create(new, embedder.space.dimension)
        try:
            run = Reembedding(
                old=writing.store,
                new=store,
                embedder=embedder,
                text_names=writing.manifest.text_fields,
                limits=access.limits,
                drop_missing=drop_missing,
            )
            report = run.run(progress)
        finally:
            store.close()
        manifest = writing.manifest.with_(
            space=embedder.space,
            loose_items=report.updated,
        )
        swap(manifest)
    return report


@dataclass(frozen=True)
class Reembedding:
    """One run: every item of `old` into `new`, which is empty.

    Attributes:
        drop_missing: go on without pictures that can no longer be opened; else nothing changes.
    """

    old: Store
    new: Store
    embedder: Embedder
    text_names: Sequence[str]
    limits: Limits
    drop_missing: bool

    def run(self, progress: OnProgress | None) -> AddReport:
        """Embed everything anew.

        Raises:
            CollectionError: pictures are gone and may not be dropped; found before the long work
                where their files are missing.
        """
        started = time.monotonic()
        if not self.drop_missing:
            self._require_files()
        total = self.old.count()
        meter = Meter("reembed", total, progress)
        errors: list[ItemError] = []
        with Writer(self.new) as writer:
            outcomes = pipelined(
                self.old.scroll(), self._decode, self._embed, workers=os.cpu_count() or 1
            )
            for item, outcome in outcomes:
                if isinstance(outcome, Exception):
                    errors.append(ItemError.of(printable_name(item.path), outcome))
                else:
                    text = text_of(item.metadata, self.text_names)
                    vector = np.asarray(outcome, np.float32)
                    writer.put(replace(item, vector=vector, text=text), is_new=True)
                meter.step(item.path)
        if errors and not self.drop_missing:
            raise _refusal([f"{error.input} ({error.reason})" for error in errors], total)
        return AddReport(
            updated=total - len(errors),
            removed=len(errors),
            seconds=time.monotonic() - started,
            dropped=tuple(errors),
        )

    def _require_files(self) -> None:
        gone = [
            printable_name(item.path)
            for item in self.old.scroll()
            if not any(Path(file_of(path)).is_file() for path in item.places)
        ]
        if gone:
            raise _refusal(gone, self.old.count())

    def _decode(self, item: Item) -> Pixels:
        if moment_of(item.path):
            return self.embedder.preprocess(_moment(item))
        data = _content(item, self.limits)
        picture = open_picture(
            data,
            target_px=self.embedder.image_size_px,
            limits=self.limits,
            name=printable_name(item.path),
        )
        return self.embedder.preprocess(picture.image)

    def _embed(self, batch: Sequence[Pixels]) -> list[Vector]:
        return list(self.embedder.embed_images(batch))


def _moment(item: Item) -> Image.Image:
    """A picture of a scene, from whichever of its paths still has the video.

    Raises:
        MediaError: none has.
    """
    failure: MediaError | None = None
    number = int(item.metadata["scene"]) - 1
    for path in _preferred(item):
        try:
            if scene_id(hash_file(file_of(path)), number) == item.id:
                return picture_of_moment(path)
            failure = DamagedMedia("holds another video now", printable_name(path))
        except MediaError as error:
            failure = failure or error
    raise failure or DamagedMedia("has no path", printable_name(item.path))


def _content(item: Item, limits: Limits) -> bytes:
    """The bytes that the item is, from whichever of its paths still has them.

    Raises:
        MediaError: none has.
    """
    failure: MediaError | None = None
    for path in _preferred(item):
        try:
            data = read_bytes(path, limits)
        except MediaError as error:
            failure = failure or error
            continue
        if hashlib.sha256(data).hexdigest() == item.id:
            return data
        failure = DamagedMedia("holds another picture now", printable_name(path))
    raise failure or DamagedMedia("has no path", printable_name(item.path))


def _preferred(item: Item) -> Iterator[str]:
    yield item.path
    yield from (path for path in item.places if path != item.path)


def _refusal(names: Sequence[str], total: int) -> CollectionError:
    shown = ", ".join(names[:NAMED]) + (", ..." if len(names) > NAMED else "")
    return CollectionError(
        f"{len(names)} of {total} pictures cannot be embedded anew: {shown}. The collection is"
        " unchanged. Put the files back (or add them at their new place, then --prune), or drop"
        " these items with drop_missing=True (--drop-missing)."
    )
