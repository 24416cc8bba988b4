"""`watch`: a video to a timeline of scenes, each with a picture, its vector, words and speech.

Notable: pictures and sound are read in two passes over the file, each a stream; the vectors are of
the embedder's space, so a scene is found like any picture. A model that is not there leaves its
field empty and a note; the others answer. A black scene is a scene, and nobody is asked about it.
"""

from __future__ import annotations

import io
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, TypeAlias

from PIL import Image

from polymodal.errors import MediaError, MissingDependency, ModelUnavailable
from polymodal.media.blank import blank_color
from polymodal.media.containers import StreamInput
from polymodal.media.limits import DEFAULT_LIMITS, DEFAULT_STREAM_LIMITS, StreamLimits
from polymodal.media.moments import moment_path
from polymodal.media.video import Frame, Video, open_video
from polymodal.models.describing import Captioner
from polymodal.models.protocols import Embedder
from polymodal.results import CaptionCandidate, Provenance
from polymodal.results_speech import Scene, SpeechSegment, Timeline, Transcript
from polymodal.runtime.batches import pipelined
from polymodal.runtime.cache import Cache
from polymodal.runtime.journal import Journal
from polymodal.tasks.caption import CaptionOptions, caption
from polymodal.tasks.scenes import Cut, Sampled, cut_scenes

if TYPE_CHECKING:
    from polymodal.models.protocols import Pixels

__all__ = ["OnWatched", "SceneCaptioner", "Watcher", "captions_by", "watch", "watch_one"]

OnWatched: TypeAlias = Callable[[float, float | None], None]
"""Told how many seconds of a video are seen, and of how many (None where the file does not say)."""
EVERY_S = 0.5
EVERY_S_LONG = 1.0
LONG_S = 600.0
SIDE_PX = 360
"""Shorter side of a scene's picture: enough for any embedder here and for a page."""
BATCH = 16


@dataclass(frozen=True)
class SceneCaptioner:
    """What puts pictures into words, in the order of the pictures, and which model it is."""

    caption: Callable[[Sequence[Image.Image]], Sequence[CaptionCandidate]]
    provenance: Provenance


@dataclass(frozen=True)
class Watcher:
    """The models that look, describe and listen.

    Attributes:
        hear: writes down the sound of a video; None listens to nothing.
        captioner: opens what puts scenes into words; None describes nothing.
    """

    embedder: Embedder
    hear: Callable[[StreamInput], Transcript] | None = None
    captioner: Callable[[], SceneCaptioner] | None = None
    limits: StreamLimits = DEFAULT_STREAM_LIMITS
    progress: OnWatched | None = None


def captions_by(
    captioner: Captioner, *, cache: Cache | None = None, journal: Journal | None = None
) -> SceneCaptioner:
    """The verb `caption` for scenes: the same words as for a scene's picture in a file."""

    def describe(pictures: Sequence[Image.Image]) -> list[CaptionCandidate]:
        found = []
        for _, outcome in caption(
            captioner,
            pictures,
            CaptionOptions(),
            limits=DEFAULT_LIMITS,
            cache=cache,
            journal=journal,
        ):
            if isinstance(outcome, MediaError):
                raise outcome
            found.append(outcome.candidates[0])
        return found

    return SceneCaptioner(describe, captioner.provenance)


def watch(
    watcher: Watcher, sources: Iterable[StreamInput]
) -> Iterator[tuple[StreamInput, Timeline | MediaError]]:
    """Yield every source with its timeline or its `MediaError`, in order, lazily."""
    for source in sources:
        try:
            yield source, watch_one(watcher, source)
        except MediaError as error:
            yield source, error


def watch_one(watcher: Watcher, source: StreamInput) -> Timeline:
    """The timeline of one video.

    Raises:
        MediaError: it cannot be opened, or read to its end.
    """
    with open_video(source, watcher.limits) as video:
        cuts = [cut for cut, _ in cut_scenes(_sampled(watcher, video))]
    duration_s = video.end_s
    if cuts:
        cuts[-1] = Cut(cuts[-1].start_s, max(duration_s, cuts[-1].end_s), cuts[-1].picture)
    space = watcher.embedder.space
    notes: list[str] = []
    transcript = _heard(watcher, source, video, notes)
    segments = transcript.segments if transcript else ()
    pictures = [_picture(video.name, cut) for cut in cuts]
    colors = [blank_color(picture) for picture in pictures]
    seen = [number for number, color in enumerate(colors) if color is None]
    said, described_by = _described(watcher, [pictures[number] for number in seen], notes)
    captions = dict(zip(seen, said, strict=True))
    scenes = tuple(
        Scene(
            start_s=round(cut.start_s, 3),
            end_s=round(cut.end_s, 3),
            picture_s=round(cut.picture.time_s, 3),
            thumbnail=cut.picture.jpeg,
            vector=cut.picture.vector,
            caption=found.text if (found := captions.get(number)) else None,
            speech=_said_during(cut, segments),
            caption_fit=found.fit if found else None,
            blank=number not in captions,
        )
        for number, cut in enumerate(cuts)
    )
    return Timeline(
        input=video.name,
        scenes=scenes,
        duration_s=round(duration_s, 3),
        width_px=video.width_px,
        height_px=video.height_px,
        space=space,
        provenance=Provenance(space.model, space.revision),
        captioner=described_by,
        transcriber=transcript.provenance if transcript else None,
        notes=tuple(notes),
    )


def _sampled(watcher: Watcher, video: Video) -> Iterator[Sampled]:
    """Frames with their vectors."""
    embedder = watcher.embedder
    every_s = EVERY_S if (video.duration_s or 0.0) <= LONG_S else EVERY_S_LONG

    def frames() -> Iterator[Frame]:
        for frame in video.frames(every_s, side_px=SIDE_PX):
            if watcher.progress:
                watcher.progress(frame.time_s, video.duration_s)
            yield frame

    def prepare(frame: Frame) -> Pixels:
        return embedder.preprocess(frame.image)

    results = pipelined(
        frames(), prepare, lambda batch: list(embedder.embed_images(batch)), batch_size=BATCH
    )
    for frame, vector in results:
        if isinstance(vector, Exception):
            raise vector
        yield Sampled.of(frame.time_s, vector, frame.image)


def _heard(
    watcher: Watcher, source: StreamInput, video: Video, notes: list[str]
) -> Transcript | None:
    if watcher.hear is None:
        notes.append("speech: not listened to")
        return None
    if not video.has_sound:
        notes.append("speech: the video has no audio track")
        return None
    try:
        transcript = watcher.hear(source)
    except (MissingDependency, ModelUnavailable) as error:
        notes.append(f"speech: {error}")
        return None
    if not transcript.segments:
        notes.append("speech: nobody speaks")
    return transcript


def _described(
    watcher: Watcher, pictures: Sequence[Image.Image], notes: list[str]
) -> tuple[Sequence[CaptionCandidate | None], Provenance | None]:
    """Captions in the order of the scenes' pictures, and whose they are."""
    unknown = [None] * len(pictures)
    if watcher.captioner is None:
        notes.append("caption: not asked for")
        return unknown, None
    try:
        captioner = watcher.captioner()
        return captioner.caption(pictures) if pictures else (), captioner.provenance
    except (MissingDependency, ModelUnavailable) as error:
        notes.append(f"caption: {error}")
        return unknown, None


def _picture(name: str, cut: Cut) -> Image.Image:
    """The picture of a scene, called by its moment, as the journal names it."""
    picture: Any = Image.open(io.BytesIO(cut.picture.jpeg))
    picture.filename = moment_path(name, cut.start_s, cut.end_s)
    return picture  # type: ignore[no-any-return]


def _said_during(cut: Cut, segments: Sequence[SpeechSegment]) -> str:
    return " ".join(
        each.text for each in segments if each.start_s < cut.end_s and each.end_s > cut.start_s
    )
