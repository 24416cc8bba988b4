"""What a generator is shown of a file: a picture, a document's pages, a video's frames, the words
of a recording.

Notable: media go to the model as they are where it takes them; where it does not, a video is a few
frames with their times, and sound is what was heard in it. What is heard and read is data between
fences, like text in a picture. What was left out is said.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, TypeAlias

from polymodal.errors import MissingDependency, ModelUnavailable, UnsupportedMedia
from polymodal.media.blank import blank_color
from polymodal.media.containers import SOUND_EXTENSIONS, VIDEO_EXTENSIONS
from polymodal.media.documents import open_pages
from polymodal.media.hashing import digest_of
from polymodal.media.limits import DEFAULT_STREAM_LIMITS, Limits, StreamLimits
from polymodal.media.pictures import ImageInput, Together, open_picture, picture_name
from polymodal.media.sniff import looks_like, picture_format
from polymodal.models.messages import (
    AudioPart,
    GeneratorInfo,
    ImagePart,
    Part,
    TextPart,
    VideoPart,
)
from polymodal.results import Vector
from polymodal.results_documents import Line
from polymodal.results_speech import Transcript

if TYPE_CHECKING:
    from PIL import Image

__all__ = ["Hear", "MediaKind", "Shower", "Shown", "is_pdf", "kind_of_media"]

MediaKind = Literal["picture", "pictures", "document", "video", "recording"]
Hear: TypeAlias = Callable[[Any], Transcript]
"""Writes down the sound of a file; raises `MissingDependency`, `ModelUnavailable`, `MediaError`."""

FRAMES = 8
"""Of a video, as pictures."""
VIDEO_FRAMES = 16
"""Of a video, for a model that takes videos."""
FRAME_PX = 720
"""Of a frame's shorter side, at most."""
MOST_PAGES, PAGE_PX = 16, 1568
"""Of a document that goes to a model as pictures: pages, and pixels of a longer side. Sixteen
such pages are 90 MB in memory, and several documents are open at once."""
LONGEST_SOUND_S = 300.0
"""Sound that is sent as it is: ten megabytes of WAV. What is longer is written down."""
HEAD_BYTES = 4096


@dataclass(frozen=True, eq=False)
class Shown:
    """What a generator is shown of one source.

    Attributes:
        parts: media, and words that were heard, in order.
        frames: what an answer can be compared with: the picture, or frames of a video.
        times_s: of a video's frames, from its start.
        heard: what was said in it, as lines.
        notes: what was left out, a sentence each.
        blank: the colors of all pictures that the model is shown, where these show nothing else.
        embeddings: of `frames`, for the check, shape (frames, dimension).
    """

    source: ImageInput | Together
    kind: MediaKind
    parts: tuple[Part, ...]
    frames: tuple[Image.Image, ...] = ()
    times_s: tuple[float, ...] = ()
    heard: tuple[Line, ...] = ()
    notes: tuple[str, ...] = ()
    blank: tuple[str, ...] = ()
    embeddings: Vector | None = None

    def with_embeddings(self, vectors: Vector | None) -> Shown:
        """The same, with the vectors of its frames."""
        return replace(self, embeddings=vectors)

    def held_against_blank(self) -> Shown:
        """The same, and whether there is nothing to see."""
        pictures: list[Image.Image] = []
        for part in self.parts:
            pictures += [part.image] if isinstance(part, ImagePart) else ()
            pictures += part.frames if isinstance(part, VideoPart) else ()
        colors = [color for each in pictures if (color := blank_color(each)) is not None]
        return replace(self, blank=tuple(colors)) if len(colors) == len(pictures) else self


def kind_of_media(source: Any) -> MediaKind:
    """By the content's first bytes, and where they do not tell, by the file's name.

    What cannot be read is a "picture": opening it says what is wrong.
    """
    is_path = isinstance(source, str | os.PathLike)
    suffix = Path(source).suffix.lower() if is_path else ""
    head = _head(source)
    if (form := picture_format(head)) is not None:
        return "document" if form == "TIFF" else "picture"
    if is_pdf(source):
        return "document"
    if head and suffix in VIDEO_EXTENSIONS:
        return "video"
    if head and suffix in SOUND_EXTENSIONS:
        return "recording"
    meaning = looks_like(head) if head else ""
    if meaning.endswith("video"):
        return "video"
    return "recording" if meaning.endswith("recording") else "picture"


def is_pdf(source: Any) -> bool:
    """By the content's first bytes: a viewer, too, takes some before the header."""
    return b"%PDF-" in _head(source)


def _head(source: Any) -> bytes:
    if isinstance(source, bytes | bytearray | memoryview):
        return bytes(source[:HEAD_BYTES])
    if not isinstance(source, str | os.PathLike):
        return b""
    try:
        with Path(source).open("rb") as file:
            return file.read(HEAD_BYTES)
    except (OSError, ValueError):
        return b""


@dataclass(frozen=True)
class Shower:
    """Opens files for the generator that `info` describes; safe between threads.

    Attributes:
        taken: of the media that it takes, what examples take already.
        least_px: pictures are opened at no less, for whoever else looks at them.
        hear: writes down what is said; None where nobody listens.
    """

    info: GeneratorInfo
    limits: Limits
    taken: int = 0
    least_px: int = 0
    hear: Hear | None = None
    stream_limits: StreamLimits = DEFAULT_STREAM_LIMITS

    def show(self, source: ImageInput | Together) -> Shown:
        """What the generator is shown.

        Raises:
            MediaError: it cannot be opened, or the model takes nothing of it.
            MissingDependency: it has to be heard or read, and the extra is not installed.
        """
        if isinstance(source, Together):
            return self._together(source)
        kind = kind_of_media(source)
        if kind == "document":
            return self._document(source)
        if kind == "video":
            return self._video(source)
        if kind == "recording":
            return self._recording(source)
        target_px = max(self.info.image_size_px, self.least_px)
        picture = open_picture(source, target_px=target_px, limits=self.limits).image
        part = ImagePart(picture, digest_of(source), picture_name(source))
        return Shown(source, "picture", (part,), (picture,))

    def _together(self, source: Together) -> Shown:
        parts: list[Part] = []
        for each in source.pictures:
            shown = self.show(each)
            if shown.kind != "picture":
                raise UnsupportedMedia(
                    f"is a {shown.kind}: only pictures are asked about together", picture_name(each)
                )
            parts += shown.parts
        return Shown(source, "pictures", tuple(parts))

    def _document(self, source: ImageInput) -> Shown:
        """Pages as pictures, as many as the model takes; to a model without eyes none."""
        if "image" not in self.info.media:
            return Shown(source, "document", ())
        name, digest = picture_name(source), digest_of(source)
        room = max(1, min(MOST_PAGES, self.info.max_media - self.taken))
        parts: list[Part] = []
        first: Image.Image | None = None
        notes: tuple[str, ...] = ()
        with open_pages(source, limits=self.limits, pictures=True) as pages:
            for page in pages:
                if len(parts) == room:
                    notes = (f"only the first {room} page(s) were shown to the model",)
                    break
                assert page.image is not None, "pictures of pages were asked for"
                first = page.image if first is None else first
                parts.append(ImagePart(self._within(page.image), digest, name))
        kind: MediaKind = "picture" if len(parts) == 1 and not notes else "document"
        seen = (first,) if first is not None and kind == "picture" else ()
        return Shown(source, kind, tuple(parts), seen, notes=notes)

    def _within(self, image: Image.Image) -> Image.Image:
        """No larger than the model looks at it; a page of a scan may have ten times that."""
        side = min(PAGE_PX, self.info.image_size_px)
        if max(image.size) <= side:
            return image
        scale = side / max(image.size)
        return image.resize([max(1, round(each * scale)) for each in image.size], reducing_gap=3.0)

    def _video(self, source: Any) -> Shown:
        takes = self.info.media
        parts: list[Part] = []
        video: VideoPart | None = None
        if "video" in takes:
            video = self._frames(source, VIDEO_FRAMES)
            parts = [video]
        elif "image" in takes:
            count = max(1, min(FRAMES, self.info.max_media - self.taken))
            video = self._frames(source, count)
            for frame, time_s in zip(video.frames, video.times_s, strict=True):
                words = TextPart(f"The video at {time_s:.1f} s:")
                parts += [words, ImagePart(frame, video.sha256, video.name)]
        lines, notes = self._sound_of_video(source)
        if not parts and not lines:
            why = notes[0] if notes else "nobody speaks in it"
            raise UnsupportedMedia(
                f"has nothing that {self.info.model} takes: it takes no pictures, and {why}",
                picture_name(source),
            )
        if lines:
            parts.append(_words(lines, "the sound of the video"))
        frames = () if video is None else tuple(video.frames)
        times_s = () if video is None else tuple(video.times_s)
        return Shown(source, "video", tuple(parts), frames, times_s, lines, notes)

    def _frames(self, source: Any, count: int) -> VideoPart:
        from polymodal.media.video import sample_frames

        side_px = min(FRAME_PX, self.info.image_size_px)
        frames, _ = sample_frames(source, count, side_px=side_px, limits=self.stream_limits)
        images, times_s = [each.image for each in frames], [each.time_s for each in frames]
        return VideoPart(images, times_s, digest_of(source), picture_name(source))

    def _sound_of_video(self, source: Any) -> tuple[tuple[Line, ...], tuple[str, ...]]:
        if self.hear is None:
            return (), ("its sound was not listened to",)
        try:
            return _lines(self.hear(source)), ()
        except UnsupportedMedia:  # a silent film is none that is broken
            return (), ()
        except (MissingDependency, ModelUnavailable) as error:
            return (), (f"its sound was not listened to: {error}",)

    def _recording(self, source: Any) -> Shown:
        name = picture_name(source)
        if "audio" in self.info.media:
            from polymodal.media.sound import RATE_HZ, open_sound, read_sound

            with open_sound(source, self.stream_limits) as sound:
                length_s = sound.duration_s
            if length_s is not None and length_s <= LONGEST_SOUND_S:
                samples = read_sound(source, self.stream_limits)
                part = AudioPart(samples, RATE_HZ, digest_of(source), name)
                return Shown(source, "recording", (part,))
        if self.hear is None:
            raise UnsupportedMedia(f"is sound, which {self.info.model} does not take", name)
        lines = _lines(self.hear(source))
        if not lines:
            raise UnsupportedMedia("has nothing to answer from: nobody speaks in it", name)
        return Shown(source, "recording", (_words(lines, "the recording"),), heard=lines)


def _lines(heard: Transcript) -> tuple[Line, ...]:
    """What is said, a line a segment; sound has no page and no box."""
    nowhere = (0.0, 0.0, 0.0, 0.0)
    return tuple(
        Line(f"[{each.start_s:.1f} s] {each.text}", nowhere, each.confidence)
        for each in heard.segments
    )


def _words(lines: tuple[Line, ...], source: str) -> TextPart:
    return TextPart.read("\n".join(line.text for line in lines), source)
