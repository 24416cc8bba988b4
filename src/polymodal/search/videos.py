"""Videos in a collection: an item a scene, so that words find the moment.

Notable: a scene's id is made of the file's hash and its number, so a second run asks for the first
scene and, finding it, watches nothing; it is written last, after all the others are durable, and a
run that was cut short watches the video again. So is a video that was added before there was a
captioner, once there is one. A scene's path is the file's with the moment behind it
(`clip.mp4#t=4.000,8.500`); what is said and shown in it are text fields.
"""

from __future__ import annotations

import contextlib
import hashlib
import io
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from polymodal.errors import DamagedMedia, MediaError, MissingDependency, StorageError
from polymodal.media.containers import VIDEO_EXTENSIONS
from polymodal.media.files import hash_file
from polymodal.media.moments import file_of, moment_path
from polymodal.results import AddReport, ItemError
from polymodal.results_speech import Scene, Timeline
from polymodal.search.access import Writing
from polymodal.search.ingest import Meter
from polymodal.search.listing import Listed, Listing
from polymodal.search.looks import look_of
from polymodal.search.senses import Senses
from polymodal.search.store import Item, OnProgress, Place, Store, merge_places
from polymodal.search.words import text_of

__all__ = ["add_videos", "scene_id", "take_videos"]

OURS = ("video", "scene", "scenes", "start_s", "end_s", "caption", "speech")
"""Metadata of a scene that are not the user's."""


def scene_id(video_id: str, number: int) -> str:
    """The id of a scene of the video with this SHA-256."""
    return hashlib.sha256(f"{video_id} scene {number}".encode()).hexdigest()


def take_videos(listing: Listing) -> list[Listed]:
    """Take the videos out of a listing."""
    videos = [
        file
        for path, file in listing.files.items()
        if Path(path).suffix.lower() in VIDEO_EXTENSIONS
    ]
    for file in videos:
        del listing.files[file.path]
    return videos


def add_videos(
    writing: Writing,
    videos: Sequence[Listed],
    senses: Senses,
    *,
    learn: Callable[[Writing, Sequence[Mapping[str, Any]]], tuple[str, ...]],
    progress: OnProgress | None,
) -> VideoIngest:
    """Add videos; before pictures, whose run prunes: a video that moved keeps its scenes."""
    run = VideoIngest(writing.store, senses, lambda about: learn(writing, about))
    try:
        run.run(videos, Meter("watch", len(videos), progress))
    finally:
        with contextlib.suppress(StorageError):  # what stopped the run is told, not this
            writing.count_changes(run.added + run.updated + run.removed)
    return run


@dataclass
class VideoIngest:
    """One run over the videos of an `add`.

    Attributes:
        learn: told the metadata of scenes before they are written; gives the text fields.
        seconds: how long it took.
    """

    store: Store
    senses: Senses
    learn: Callable[[Sequence[Mapping[str, Any]]], tuple[str, ...]]
    added: int = 0
    updated: int = 0
    skipped: int = 0
    removed: int = 0
    seconds: float = 0.0
    errors: list[ItemError] = field(default_factory=list)

    def run(self, videos: Sequence[Listed], meter: Meter) -> None:
        """Add every video; one that fails is in `errors`."""
        started = time.monotonic()
        before = self._scenes_by_file({file.path for file in videos})
        for file in videos:
            try:
                ids = self._add(file)
            except (MediaError, MissingDependency) as error:
                self.errors.append(ItemError.of(file.name or file.path, error))
            else:
                self._leave(file.path, before.get(file.path, set()) - ids)
            meter.step(file.path)
        self.seconds = time.monotonic() - started

    def counted(self, report: AddReport) -> AddReport:
        """The report of the pictures with the scenes added."""
        return replace(
            report,
            added=report.added + self.added,
            updated=report.updated + self.updated,
            skipped=report.skipped + self.skipped,
            removed=report.removed + self.removed,
            seconds=report.seconds + self.seconds,
            errors=(*report.errors, *self.errors),
        )

    def _scenes_by_file(self, files: set[str]) -> dict[str, set[str]]:
        found: dict[str, set[str]] = {}
        for item in self.store.scroll():
            for path in item.places:
                if file_of(path) in files:
                    found.setdefault(file_of(path), set()).add(item.id)
        return found

    def _add(self, file: Listed) -> set[str]:
        """The ids of the video's scenes, which are all there when this returns."""
        video_id = hash_file(file.path)
        known = self.store.get([scene_id(video_id, 0)])
        if known:
            count = int(known[0].metadata["scenes"])
            ids = [scene_id(video_id, number) for number in range(count)]
            scenes = self.store.get(ids, vectors=True)
            if "caption" in known[0].metadata or not self._describes:
                self._keep(file, scenes)
                return set(ids)
            return self._describe(file, video_id, scenes)
        timeline = self._watched(file, video_id)
        items = self._items(file, video_id, timeline, Path(file.path).stat().st_size)
        self._write(items[1:])
        self._write(items[:1])
        self.added += len(items)
        return {item.id for item in items}

    @cached_property
    def _describes(self) -> bool:
        """Asked once, and only where a video without captions is met."""
        return self.senses.describes()

    def _watched(self, file: Listed, video_id: str) -> Timeline:
        assert self.senses.watch is not None
        timeline = self.senses.watch(file.path)
        if hash_file(file.path) != video_id:
            raise DamagedMedia("changed while it was being added; add it again", file.name)
        return timeline

    def _describe(self, file: Listed, video_id: str, scenes: Sequence[Item]) -> set[str]:
        """Scenes from before there was a captioner, made anew at every path that they have."""
        timeline = self._watched(file, video_id)
        holders = {file.path: file}
        for path, place in scenes[0].places.items():
            said = {name: value for name, value in place.metadata.items() if name not in OURS}
            known = Listed(file_of(path), said, place.origin)
            given = holders.setdefault(known.path, known)
            if given is file and file.metadata is None:
                holders[file.path] = replace(known, origin=file.origin or known.origin)
        size_bytes = Path(file.path).stat().st_size
        each = [self._items(one, video_id, timeline, size_bytes) for one in holders.values()]
        items = [
            replace(copies[0], places={path: p for one in copies for path, p in one.places.items()})
            for copies in zip(*each, strict=True)
        ]
        # The first scene last, as ever: until it has its caption, the next run begins again.
        self._rewrite(items[1:])
        self._rewrite(items[:1])
        ids = {item.id for item in items}
        if gone := [item.id for item in scenes if item.id not in ids]:
            self.store.commit(remove=gone)
        self.updated += len(items)
        self.removed += len(gone)
        return ids

    def _write(self, items: Sequence[Item]) -> None:
        """Commit; what an earlier run that was cut short left is written anew."""
        known = {item.id for item in self.store.get([item.id for item in items])}
        self.store.commit(
            [item for item in items if item.id not in known],
            rewrite=[item for item in items if item.id in known],
        )

    def _items(
        self, file: Listed, video_id: str, timeline: Timeline, size_bytes: int
    ) -> list[Item]:
        about = [
            {**(file.metadata or {}), **_about(file.path, timeline, number)}
            for number in range(len(timeline.scenes))
        ]
        names = self.learn(about)
        items = []
        for number, (scene, metadata) in enumerate(zip(timeline.scenes, about, strict=True)):
            path = moment_path(file.path, scene.start_s, scene.end_s)
            text = text_of(metadata, names)
            item = _item(
                path,
                scene_id(video_id, number),
                scene,
                metadata,
                text=text,
                origin=file.origin,
            )
            width_px, height_px = timeline.width_px, timeline.height_px
            items.append(replace(item, bytes=size_bytes, width_px=width_px, height_px=height_px))
        return items

    def _keep(self, file: Listed, scenes: Sequence[Item]) -> None:
        """A video that is there already: bring its places and metadata up to date."""
        changed = []
        for item in scenes:
            path = moment_path(file.path, item.metadata["start_s"], item.metadata["end_s"])
            ours = {name: item.metadata[name] for name in OURS if name in item.metadata}
            before = item.places.get(path)
            said = file.metadata
            if said is None:
                said = before.metadata if before else {}
            origin = file.origin or (before.origin if before else "")
            place = Place({**said, **ours, "video": Path(file.path).name}, origin)
            if before != place:
                changed.append(replace(item, places={**item.places, path: place}))
        self.skipped += len(scenes) - len(changed)
        self.updated += len(changed)
        self._rewrite(changed)

    def _leave(self, path: str, ids: set[str]) -> None:
        """Scenes of what the file at `path` was before."""
        gone, changed = [], []
        for item in self.store.get(sorted(ids), vectors=True):
            places = {each: p for each, p in item.places.items() if file_of(each) != path}
            if places:
                changed.append(replace(item, places=places, path=min(places)))
            else:
                gone.append(item.id)
        self._rewrite(changed)
        if gone:
            self.store.commit(remove=gone)
        self.removed += len(gone)

    def _rewrite(self, items: Sequence[Item]) -> None:
        if not items:
            return
        merged = [merge_places(item.places) for item in items]
        names = self.learn(merged)
        self.store.commit(
            rewrite=[
                replace(item, metadata=metadata, text=text_of(metadata, names))
                for item, metadata in zip(items, merged, strict=True)
            ]
        )


def _about(path: str, timeline: Timeline, number: int) -> dict[str, Any]:
    scene = timeline.scenes[number]
    about = {
        "video": Path(path).name,
        "scene": number + 1,
        "scenes": len(timeline.scenes),
        "start_s": scene.start_s,
        "end_s": scene.end_s,
    }
    if scene.caption:
        about["caption"] = scene.caption
    elif scene.blank and timeline.captioner is not None:
        about["caption"] = ""  # described, and there is nothing to say: `_add` need not watch again
    return {**about, "speech": scene.speech} if scene.speech else about


def _item(
    path: str,
    item_id: str,
    scene: Scene,
    metadata: Mapping[str, Any],
    *,
    text: str,
    origin: str,
) -> Item:
    picture = Image.open(io.BytesIO(scene.thumbnail))
    return Item(
        id=item_id,
        path=path,
        vector=np.asarray(scene.vector, np.float32),
        metadata=metadata,
        text=text,
        look=look_of(picture),
        places={path: Place(metadata, origin)},
    )
