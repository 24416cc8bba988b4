"""A collection: pictures with metadata that are kept, found, compared and looked after."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from types import TracebackType
from typing import Any

from polymodal.errors import StorageError, UsageError
from polymodal.media.pictures import ImageInput
from polymodal.media.sound import SoundInput
from polymodal.models.protocols import Embedder
from polymodal.results import AddReport, DuplicateGroup, SearchResult, Space
from polymodal.runtime.judging import Judge
from polymodal.search.access import Access, Writing
from polymodal.search.edge_files import folder_bytes
from polymodal.search.filters import Filter, to_filter
from polymodal.search.finding import TOP, Wanted, find, find_similar
from polymodal.search.info import CollectionInfo
from polymodal.search.senses import Senses
from polymodal.search.store import Item, OnProgress
from polymodal.search.words import merge_kinds, text_fields, text_of

__all__ = ["Collection", "CollectionInfo"]

Where = str | Mapping[str, Any] | Filter | None


class Collection:
    """A persistent, searchable set of pictures and their metadata; see `open_collection`.

    Safe to use from several threads and processes at once: one writes, any number read.
    """

    def __init__(self, access: Access, senses: Senses | None = None) -> None:
        """Use `open_collection`."""
        self._access = access
        self._senses = senses or Senses()

    @property
    def name(self) -> str:
        """The collection as it was asked for: a name or a path."""
        return self._access.name

    @property
    def path(self) -> Path:
        """The folder it lies in."""
        return self._access.folder.path

    @property
    def space(self) -> Space:
        """The space of its vectors.

        Raises:
            CollectionNotFound: nothing was ever added.
        """
        return self._access.folder.manifest().space

    def add(
        self,
        paths: str | os.PathLike[str] | Iterable[str | os.PathLike[str]],
        *,
        metadata: str | os.PathLike[str] | None = None,
        prune: bool = False,
        progress: OnProgress | None = None,
    ) -> AddReport:
        """Add pictures and videos; what is there already and unchanged is only hashed.

        A picture is known by its content. The same content at two paths is one item; new content
        at a known path replaces the old. Items without metadata this time keep what they have.
        A video becomes an item a scene, with its times and what is said in it as metadata. One that
        was added by a model without a captioner is watched again once there is one.

        Args:
            paths: files, folders, globs, or tables (CSV, JSONL) whose rows name a picture,
                relative to the table's folder; the other columns become metadata.
            metadata: a table joined to the pictures by path or file name.
            prune: remove items whose files are gone from `paths`, or that a table no longer lists.
            progress: called with how far it is, on this thread.

        Returns:
            Counts, the files that failed with the reason, and notes on what did not fit together.

        Raises:
            CollectionLocked: another process is writing.
            SpaceMismatch: the collection's vectors are another model's.
            StorageError: the disk is full or read-only; what was written before is kept.
            UsageError: a table cannot be read.
        """
        from polymodal.search.ingest import Ingest
        from polymodal.search.listing import list_inputs
        from polymodal.search.videos import add_videos, take_videos

        given = [paths] if isinstance(paths, (str, os.PathLike)) else paths
        listing = list_inputs(given, metadata, self._senses.extensions)
        # Asked for before the lock is taken: finding a model can take a while, and can fail.
        embedder = self._access.embedder()
        watch = self._senses.watch
        videos = take_videos(listing) if watch else []
        with self._access.writing(create_in=embedder.space, keep_empty=False) as writing:
            watched = (
                add_videos(
                    writing, videos, self._senses, learn=self._learn_fields, progress=progress
                )
                if watch and videos
                else None
            )
            about = [each.metadata for each in listing.files.values() if each.metadata]
            names = self._learn_fields(writing, about)
            run = Ingest(writing.store, embedder, listing, names, self._access.limits)
            try:
                report = run.run(prune=prune, progress=progress)
            finally:
                with contextlib.suppress(StorageError):  # what stopped the run is told, not this
                    writing.count_changes(run.changes)
        report = watched.counted(report) if watched else report
        note = self._access.grow_graph(progress) if self._access.folder.exists else ""
        return replace(report, notes=(*report.notes, note)) if note else report

    def _learn_fields(
        self, writing: Writing, metadata: Sequence[Mapping[str, Any]]
    ) -> tuple[str, ...]:
        """Note new fields before items with them are written; gives the text fields."""
        before = writing.manifest
        names = tuple(sorted({*before.text_fields, *text_fields(metadata)}))
        kinds = merge_kinds(before.fields, metadata)
        late = [name for name in names if name in before.fields and name not in before.text_fields]
        writing.update(before.with_(fields=kinds, text_fields=names))
        if late:  # items with such a field were written when it was none of text
            from polymodal.search.writer import Writer

            with Writer(writing.store) as writer:
                for item in writing.store.scroll():
                    text = text_of(item.metadata, names)
                    if text != text_of(item.metadata, before.text_fields):
                        writer.put(replace(item, text=text), is_new=False)
        return names

    def search(
        self,
        text: str | None = None,
        *,
        image: ImageInput | None = None,
        audio: SoundInput | None = None,
        k: int = 10,
        offset: int = 0,
        where: Where = None,
        weights: tuple[float, float] = (1.0, 1.0),
        like: Sequence[ImageInput] = (),
        unlike: Sequence[ImageInput] = (),
        hybrid: bool | None = None,
        understand: bool = True,
        relevant: bool = False,
        rerank: str | Judge | None = None,
        top: int = TOP,
    ) -> SearchResult:
        """Find pictures, best first.

        Args:
            text: what to find, in words.
            image: a picture to find the like of; with `text` the two are mixed by `weights`.
            audio: a recording of the words, instead of `text`; a note says what was heard.
            k: how many hits at most.
            offset: how many of the best to leave out.
            where: a filter on metadata, an expression or a dict (`price < 2000`).
            weights: of text and picture, when both are given.
            like: pictures or ids of items to move towards; they are not among the hits.
            unlike: the same, to move away from.
            hybrid: match the words of `text` in text fields too (BM25, ranks fused by RRF, which
                is then the score); on by default where the collection has text fields.
            understand: read prices and sizes in `text` as filters; the result's notes say so.
            relevant: only hits that the model's calibration calls relevant.
            rerank: what orders the first `top` hits anew: a name for `Suite.judge`, or a `Judge`.

        Raises:
            UsageError: nothing to search for or to rerank by, or a filter that cannot be parsed.
            MediaError: a picture or recording cannot be opened, or nobody speaks in it.
            SpaceMismatch: the collection's vectors are another model's.
        """
        if heard := audio is not None:
            text = self._heard(text, audio)
        wanted = Wanted(
            text=text,
            image=image,
            weights=weights,
            like=like,
            unlike=unlike,
            where=to_filter(where),
            k=k,
            offset=offset,
            hybrid=hybrid,
            understand=understand,
            relevant=relevant,
            rerank=self._senses.judge_of(rerank),
            top=top,
        )
        result = find(self._access, wanted)
        return replace(result, notes=(f"heard: {text}", *result.notes)) if heard else result

    def _heard(self, text: str | None, audio: SoundInput) -> str:
        if text is not None:
            raise UsageError("give the query in words or spoken, not both.")
        return self._senses.words_of(audio)

    def similar(self, image: ImageInput, k: int = 10, *, where: Where = None) -> SearchResult:
        """Find what looks like a picture, the picture itself and its copies left out.

        Args:
            image: a picture, or the id of an item. For pictures that the collection has, no model
                is loaded.
        """
        return find_similar(self._access, image, k, to_filter(where))

    def duplicates(self, threshold: float | None = None) -> list[DuplicateGroup]:
        """Group items that show the same picture; no model is loaded.

        Args:
            threshold: cosine from which two pictures are the same; chosen on re-encoded, resized
                and cropped copies by default.
        """
        from polymodal.search.duplicates import find_duplicates

        return find_duplicates(self, threshold)

    def items(self, where: Where = None, *, vectors: bool = False) -> Iterator[Item]:
        """Every item that passes the filter, in the order of ids."""
        return self._access.reading().scroll(to_filter(where), vectors=vectors)

    def get(self, ids: Sequence[str], *, vectors: bool = False) -> list[Item]:
        """The items that exist among `ids`, in the order of `ids`."""
        found = {item.id: item for item in self._access.reading().get(ids, vectors=vectors)}
        return [found[each] for each in ids if each in found]

    def put(self, items: Iterable[Item], space: Space) -> int:
        """Write items with vectors that were made elsewhere; known ids are replaced.

        Args:
            space: of the vectors; a collection that does not exist is created in it.

        Returns:
            How many items were written.

        Raises:
            SpaceMismatch: the collection is of another space.
        """
        from polymodal.search.writer import COMMIT_ITEMS

        written = 0
        with self._access.writing(create_in=space) as writing:
            batch: list[Item] = []
            for item in items:
                batch.append(item)
                if len(batch) == COMMIT_ITEMS:
                    written += self._put_batch(writing, batch)
                    batch = []
            written += self._put_batch(writing, batch)
            writing.count_changes(written)
        self._access.grow_graph(None)
        return written

    def _put_batch(self, writing: Writing, batch: Sequence[Item]) -> int:
        names = self._learn_fields(writing, [item.metadata for item in batch])
        known = {item.id for item in writing.store.get([item.id for item in batch])}
        whole = {item.id: replace(item, text=text_of(item.metadata, names)) for item in batch}
        writing.store.commit(
            [item for item in whole.values() if item.id not in known],
            rewrite=[item for item in whole.values() if item.id in known],
        )
        return len(whole)

    def delete(self, ids: str | Iterable[str] = (), *, where: Where = None) -> int:
        """Remove items, by id or by filter; the files stay.

        Returns:
            How many items were removed.

        Raises:
            UsageError: neither or both were given.
        """
        chosen = [ids] if isinstance(ids, str) else list(ids or ())
        passing = to_filter(where)
        if bool(chosen) == (passing is not None):
            raise UsageError("say what to delete: ids, or a filter.")
        with self._access.writing() as writing:
            found = writing.store.scroll(passing) if passing else writing.store.get(chosen)
            gone = [item.id for item in found]
            for start in range(0, len(gone), 1000):
                writing.store.commit(remove=gone[start : start + 1000])
            writing.count_changes(len(gone))
        return len(gone)

    def export(self, path: str | os.PathLike[str], *, vectors: bool = True) -> int:
        """Write all items to JSONL or Parquet, by the file's ending; no model is loaded.

        Returns:
            How many items were written.
        """
        from polymodal.search.transfer import export_items

        return export_items(self, path, vectors=vectors)

    def import_(self, path: str | os.PathLike[str]) -> int:
        """Add the items of an export, vectors included; no picture is opened.

        Returns:
            How many items were added.
        """
        from polymodal.search.transfer import import_items

        return import_items(self, path)

    def reembed(
        self,
        embedder: Embedder,
        *,
        drop_missing: bool = False,
        progress: OnProgress | None = None,
    ) -> AddReport:
        """Embed all pictures with another model, beside the old vectors, then swap at once.

        Searches go on with the old vectors until then, and anything that stops this leaves them.

        Args:
            drop_missing: drop items whose picture can no longer be opened, instead of refusing.

        Returns:
            `updated` items were embedded, `removed` were dropped, which `dropped` names. Where
            the vectors are of that space already, nothing is embedded and a note says so.

        Raises:
            CollectionError: pictures are gone and may not be dropped.
        """
        from polymodal.search.reembed import reembed

        report = reembed(self._access, embedder, drop_missing=drop_missing, progress=progress)
        note = self._access.grow_graph(progress)
        return replace(report, notes=(*report.notes, note)) if note else report

    def info(self) -> CollectionInfo:
        """What it holds; no model is loaded."""
        manifest = self._access.folder.manifest()
        items = len(self)
        return CollectionInfo(
            name=self.name,
            path=str(self.path),
            items=items,
            space=manifest.space,
            fields=manifest.fields,
            text_fields=manifest.text_fields,
            indexed=max(0, items - manifest.loose_items),
            bytes=folder_bytes(self.path),
            generation=manifest.generation,
            created=manifest.created,
        )

    def close(self) -> None:
        """Release files and memory."""
        self._access.close()

    def __enter__(self) -> Collection:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()

    def __len__(self) -> int:
        return self._access.reading().count()
