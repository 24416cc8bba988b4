"""Where the scenes of a video begin, by what its frames show.

Notable: a frame belongs to the scene that it is alike to, by the embedder that also searches; a
pan or a person walking by is no new scene, a cut to another place is. Frames of one even color look
all alike to an embedder, so those are told apart by the color. Frames come and scenes leave one by
one: memory holds some frames of one scene.
"""

from __future__ import annotations

import io
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field

import numpy as np
from PIL import Image

from polymodal.media.blank import blank_color
from polymodal.results import Vector

__all__ = ["Cut", "Sampled", "cut_scenes"]

SAME_SCENE = 0.70
"""Cosine to the scene so far, from which a frame belongs to it: the middle of those with which
benchmarks/scenes.py finds every cut and invents none."""
SAME_COLOR = 48
"""Levels of 255 by which two frames that show nothing may differ in a channel."""
SHORTEST_S = 1.0
"""What is shorter (a flash, a dissolve) joins the scene before it."""
MOST_KEPT = 48
"""Frames of a scene among which its picture is chosen; a long scene keeps every second."""
JPEG_QUALITY = 85


@dataclass(frozen=True)
class Sampled:
    """A frame, its vector (L2-normalised), and its picture as a JPEG.

    Attributes:
        color: of a frame that shows nothing else (`media.blank`); red, green, blue.
    """

    time_s: float
    vector: Vector
    jpeg: bytes
    color: tuple[int, ...] | None = None

    @classmethod
    def of(cls, time_s: float, vector: Vector, image: Image.Image) -> Sampled:
        """With the picture encoded."""
        out = io.BytesIO()
        image.save(out, "JPEG", quality=JPEG_QUALITY)
        blank = blank_color(image)
        color = None if blank is None else tuple(bytes.fromhex(blank.removeprefix("#")))
        return cls(time_s, vector, out.getvalue(), color)


@dataclass(frozen=True)
class Cut:
    """A scene: its times, and the frame that is most like all of it."""

    start_s: float
    end_s: float
    picture: Sampled


@dataclass
class _Open:
    """A scene that may go on."""

    start_s: float
    total: Vector
    kept: list[Sampled] = field(default_factory=list)
    seen: int = 0
    stride: int = 1
    color: tuple[int, ...] | None = None
    """Of the last frame, where it shows nothing else."""

    def likeness(self, frame: Sampled) -> float:
        """Cosine of a frame to the mean of the scene."""
        return float(frame.vector @ self.total / max(float(np.linalg.norm(self.total)), 1e-12))

    def has(self, frame: Sampled) -> bool:
        """Whether a frame is of this scene."""
        if self.color is not None and frame.color is not None:
            apart = (abs(a - b) for a, b in zip(self.color, frame.color, strict=True))
            return max(apart) <= SAME_COLOR
        return self.likeness(frame) >= SAME_SCENE

    def take(self, frame: Sampled) -> None:
        self.color = frame.color
        self.total = self.total + frame.vector
        if self.seen % self.stride == 0:
            self.kept.append(frame)
        self.seen += 1
        if len(self.kept) > MOST_KEPT:
            self.kept, self.stride = self.kept[::2], self.stride * 2

    def close(self, end_s: float) -> Cut:
        best = max(self.kept, key=self.likeness)
        return Cut(self.start_s, end_s, best)


def cut_scenes(frames: Iterable[Sampled]) -> Iterator[tuple[Cut, bool]]:
    """Scenes, in order, lazily, and whether each is the last; the last ends with its last frame."""
    current: _Open | None = None
    doubtful: list[Sampled] = []
    """Frames unlike the scene, too few yet to be one."""
    last_s = 0.0
    for frame in frames:
        last_s = frame.time_s
        if current is None:
            current = _begin([frame])
        elif current.has(frame):
            for each in doubtful:  # it came back: a flash, or somebody close to the lens
                current.take(each)
            doubtful = []
            current.take(frame)
        else:
            doubtful = _one_scene(doubtful, frame, current)
            if frame.time_s - doubtful[0].time_s >= SHORTEST_S:
                yield current.close(doubtful[0].time_s), False
                current, doubtful = _begin(doubtful), []
    if current is None:
        return
    if len(doubtful) > 1:
        yield current.close(doubtful[0].time_s), False
        current = _begin(doubtful)
    else:
        for each in doubtful:
            current.take(each)
    yield current.close(last_s), True


def _begin(frames: list[Sampled]) -> _Open:
    scene = _Open(frames[0].time_s, np.zeros_like(frames[0].vector))
    for frame in frames:
        scene.take(frame)
    return scene


def _one_scene(doubtful: list[Sampled], frame: Sampled, current: _Open) -> list[Sampled]:
    """Doubtful frames that are of one kind; what does not fit them joins the scene before."""
    if doubtful and not _begin(doubtful).has(frame):
        for each in doubtful:
            current.take(each)
        return [frame]
    return [*doubtful, frame]
