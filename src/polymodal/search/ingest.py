"""One run of `add`: decide about every file, embed what is new, write in commits.

Notable: the hash of a file's bytes is its identity, so a second run reads and hashes, and does
nothing else. Hashing threads, decoding threads, inference and writing overlap. What a run has
committed is complete and durable; one that is cut short is finished by running it again: an old
item is removed only after the new one at its path is written, and every run repairs what an
earlier one left double.
"""

from __future__ import annotations

import hashlib
import os
import time
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field, replace

import numpy as np

from polymodal.errors import DamagedMedia, MediaError
from polymodal.media.files import hash_file, printable_name, read_bytes
from polymodal.media.pictures import Limits, open_picture
from polymodal.models.protocols import Embedder, Pixels
from polymodal.results import AddReport, ItemError, Vector
from polymodal.runtime.batches import pipelined
from polymodal.search.listing import Listed, Listing
from polymodal.search.looks import look_of
from polymodal.search.store import Item, OnProgress, Place, Progress, Store, merge_places
from polymodal.search.words import text_of
from polymodal.search.writer import Writer

__all__ = ["Ingest", "Meter"]

CHUNK = 256
"""Files decided about at a time."""
PROGRESS_EVERY_S = 0.1


@dataclass(frozen=True)
class Job:
    """A picture to embed."""

    id: str
    path: str


@dataclass(frozen=True)
class Decoded:
    """A picture as the model takes it, and what is stored about it."""

    pixels: Pixels
    size_bytes: int
    width_px: int
    height_px: int
    look: bytes


@dataclass
class Meter:
    """Counts finished files and reports them now and then."""

    stage: str
    total: int
    report: OnProgress | None
    done: int = 0
    started: float = field(default_factory=time.monotonic)
    reported: float = 0.0

    def step(self, path: str) -> None:
        """One more is finished."""
        self.done += 1
        now = time.monotonic()
        if self.report and (now - self.reported > PROGRESS_EVERY_S or self.done == self.total):
            self.reported = now
            elapsed_s = now - self.started
            rate = self.done / elapsed_s if elapsed_s > 0 else None
            eta_s = (self.total - self.done) / rate if rate else None
            name = printable_name(path)
            self.report(Progress(self.stage, self.done, self.total, elapsed_s, rate, eta_s, name))


class Ingest:
    """The state of one run; `run` it once."""

    def __init__(
        self,
        store: Store,
        embedder: Embedder,
        listing: Listing,
        text_names: Sequence[str],
        limits: Limits,
    ) -> None:
        """`store` is open for writing; `text_names` are the fields that keyword search sees."""
        self._store = store
        self._embedder = embedder
        self._listing = listing
        self._text_names = text_names
        self._limits = limits
        self._meter = Meter("add", len(listing.files), None)
        self._owners: dict[str, set[str]] = {}
        self._embedding: dict[str, dict[str, Place]] = {}
        """Ids on their way through the model, with the places to write them with."""
        self._left: dict[str, set[str]] = {}
        """Ids that lost paths to other content."""
        self._errors = list(listing.errors)
        self._added = self._updated = self._skipped = self._removed = 0

    @property
    def changes(self) -> int:
        """How many items were written or removed."""
        return self._added + self._updated + self._removed

    def run(self, *, prune: bool, progress: OnProgress | None) -> AddReport:
        """Add everything listed; failures of single files are in the report."""
        started = time.monotonic()
        self._meter = Meter("add", len(self._listing.files), progress)
        self._owners = self._known_paths()
        workers = os.cpu_count() or 1
        with Writer(self._store) as writer, ThreadPoolExecutor(workers) as hashers:
            outcomes = pipelined(
                self._jobs(writer, hashers), self._decode, self._embed, workers=workers
            )
            for job, outcome in outcomes:
                self._finish(job, outcome, writer)
            writer.flush()
            if prune:
                self._prune()
            self._leave(writer)
        return AddReport(
            added=self._added,
            updated=self._updated,
            skipped=self._skipped,
            removed=self._removed,
            seconds=time.monotonic() - started,
            errors=tuple(self._errors),
            notes=tuple(self._listing.notes),
        )

    def _known_paths(self) -> dict[str, set[str]]:
        """Which items claim the listed paths; more than one after a run that was cut short."""
        owners: dict[str, set[str]] = {}
        for item in self._store.at_paths(list(self._listing.files)):
            for path in item.places:
                if path in self._listing.files:
                    owners.setdefault(path, set()).add(item.id)
        return owners

    def _jobs(self, writer: Writer, hashers: ThreadPoolExecutor) -> Iterator[Job]:
        """Hash a chunk ahead, decide about the chunk before."""
        files = list(self._listing.files.values())
        chunks = [files[start : start + CHUNK] for start in range(0, len(files), CHUNK)]
        hashing = [hashers.submit(_identify, each) for each in chunks[0]] if chunks else []
        for number, chunk in enumerate(chunks):
            identities = [future.result() for future in hashing]
            if number + 1 < len(chunks):
                hashing = [hashers.submit(_identify, each) for each in chunks[number + 1]]
            # Decided as a whole before the first is given out: results come in between.
            yield from self._decide(chunk, identities, writer)

    def _decide(
        self, chunk: Sequence[Listed], identities: Sequence[str | ItemError], writer: Writer
    ) -> list[Job]:
        ids = [each for each in dict.fromkeys(identities) if isinstance(each, str)]
        known = writer.pending(ids)
        known.update({item.id: item for item in self._store.get(ids) if item.id not in known})
        jobs = []
        for file, identity in zip(chunk, identities, strict=True):
            if isinstance(identity, ItemError):
                self._errors.append(identity)
                self._meter.step(file.path)
            elif identity in self._embedding:
                self._embedding[identity][file.path] = _place(file, None)
                self._skipped += 1
                self._meter.step(file.path)
            elif identity in known:
                known[identity] = self._keep(file, known[identity], writer)
                self._meter.step(file.path)
            else:
                self._embedding[identity] = {file.path: _place(file, None)}
                jobs.append(Job(identity, file.path))
        return jobs

    def _keep(self, file: Listed, item: Item, writer: Writer) -> Item:
        """Content that is there already: bring its places and metadata up to date."""
        self._claim(file.path, item.id)
        place = _place(file, item.places.get(file.path))
        if item.places.get(file.path) == place:
            self._skipped += 1
            return item
        changed = self._placed(item, {**item.places, file.path: place})
        writer.put(changed, is_new=False)
        self._updated += 1
        return changed

    def _decode(self, job: Job) -> Decoded:
        """On a decoding thread: the bytes once more, since they are not kept from hashing."""
        data = read_bytes(job.path, self._limits)
        name = printable_name(job.path)
        if hashlib.sha256(data).hexdigest() != job.id:
            raise DamagedMedia("changed while it was being added; add it again", name)
        picture = open_picture(
            data, target_px=self._embedder.image_size_px, limits=self._limits, name=name
        )
        pixels = self._embedder.preprocess(picture.image)
        look = look_of(picture.image)
        return Decoded(pixels, len(data), picture.width_px, picture.height_px, look)

    def _embed(self, batch: Sequence[Decoded]) -> list[tuple[Vector, Decoded]]:
        vectors = self._embedder.embed_images([each.pixels for each in batch])
        return list(zip(vectors, batch, strict=True))

    def _finish(
        self, job: Job, outcome: tuple[Vector, Decoded] | Exception, writer: Writer
    ) -> None:
        places = self._embedding.pop(job.id)
        self._meter.step(job.path)
        if not isinstance(outcome, Exception) and not np.isfinite(outcome[0]).all():
            outcome = DamagedMedia("gives a vector that is not finite")
        if isinstance(outcome, Exception):
            self._skipped -= len(places) - 1  # copies of what turned out to be bad
            files = self._listing.files
            self._errors += [ItemError.of(_name(files[path]), outcome) for path in places]
            return
        vector, decoded = outcome
        bare = Item(
            id=job.id,
            path=job.path,
            vector=np.asarray(vector, np.float32),
            bytes=decoded.size_bytes,
            width_px=decoded.width_px,
            height_px=decoded.height_px,
            look=decoded.look,
        )
        writer.put(self._placed(bare, places), is_new=True)
        self._added += 1
        for path in places:
            self._claim(path, job.id)

    def _placed(self, item: Item, places: Mapping[str, Place]) -> Item:
        metadata = merge_places(places)
        return replace(
            item,
            path=item.path if item.path in places else min(places),
            places=dict(places),
            metadata=metadata,
            text=text_of(metadata, self._text_names),
        )

    def _claim(self, path: str, owner: str) -> None:
        """The path holds this content now, so no other item does."""
        for other in self._owners.get(path, ()):
            if other != owner:
                self._left.setdefault(other, set()).add(path)

    def _prune(self) -> None:
        for item in self._store.scroll():
            for path, place in item.places.items():
                if self._listing.lost(path, place):
                    self._left.setdefault(item.id, set()).add(path)

    def _leave(self, writer: Writer) -> None:
        """Take lost paths from their items, and remove the items that have none left."""
        gone = []
        for item in self._store.get(list(self._left)):
            places = {p: each for p, each in item.places.items() if p not in self._left[item.id]}
            if not places:
                gone.append(item.id)
            elif len(places) < len(item.places):
                writer.put(self._placed(item, places), is_new=False)
        writer.remove(gone)
        self._removed += len(gone)


def _name(file: Listed) -> str:
    """The file as the user named it, or its folder."""
    return file.name or printable_name(file.path)


def _identify(file: Listed) -> str | ItemError:
    try:
        return hash_file(file.path)
    except MediaError as error:
        return ItemError.of(_name(file), error)


def _place(file: Listed, known: Place | None) -> Place:
    """What is known of a file at its path now: what was said this time, or else before."""
    before = known or Place()
    return Place(
        metadata=before.metadata if file.metadata is None else dict(file.metadata),
        origin=file.origin or before.origin,
    )
