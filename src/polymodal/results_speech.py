"""What `transcribe` and `watch` return: speech with its times, and the scenes of a video.

Notable: times are seconds from the beginning of the file, so that a player can go there; where
nothing is said there are no segments, and where no model could answer a field is empty and the
notes say so.
"""

from __future__ import annotations

from dataclasses import dataclass

from polymodal.results import Provenance, Space, Vector

__all__ = ["Scene", "SpeechSegment", "Timeline", "Transcript"]


@dataclass(frozen=True)
class SpeechSegment:
    """A stretch of speech.

    Attributes:
        start_s, end_s: from the beginning of the file.
        confidence: the model's mean probability of a word piece, 0..1.
    """

    start_s: float
    end_s: float
    text: str
    confidence: float


@dataclass(frozen=True)
class Transcript:
    """What is said in a sound or video.

    Attributes:
        language: a code such as "en"; None where nothing is said.
        language_probability: 0..1; 1 where the language was given.
        text: all of it.
        duration_s: of the sound.
    """

    input: str
    language: str | None
    language_probability: float
    text: str
    segments: tuple[SpeechSegment, ...]
    duration_s: float
    provenance: Provenance


@dataclass(frozen=True)
class Scene:
    """A stretch of a video in which the picture stays the same place or view.

    Attributes:
        start_s, end_s: from the beginning of the file.
        picture_s: when the picture that stands for the scene is shown.
        thumbnail: that picture as a small JPEG.
        vector: its embedding, L2-normalised, shape (dimension,), in the timeline's space.
        caption: what it shows; None where no captioner was asked, or there is nothing to see.
        caption_fit: probability, by the captioner's embedder, that the caption fits the picture;
            None where it was not asked.
        blank: its picture is of one even color, as a black one is; nothing is said of it.
        speech: what is said meanwhile; a segment that spans two scenes stands in both.
    """

    start_s: float
    end_s: float
    picture_s: float
    thumbnail: bytes
    vector: Vector
    caption: str | None = None
    speech: str = ""
    caption_fit: float | None = None
    blank: bool = False


@dataclass(frozen=True)
class Timeline:
    """The scenes of a video, in order.

    Attributes:
        width_px, height_px: of a frame, upright.
        provenance: of the scenes' vectors.
        captioner, transcriber: what put the scenes into words and wrote down the speech; None where
            it was not asked, or could not be.
        notes: what is missing and why ("no sound: the video has no audio track").
    """

    input: str
    scenes: tuple[Scene, ...]
    duration_s: float
    width_px: int
    height_px: int
    space: Space
    provenance: Provenance
    captioner: Provenance | None = None
    transcriber: Provenance | None = None
    notes: tuple[str, ...] = ()

    @property
    def models(self) -> tuple[Provenance, ...]:
        """Every model that was asked."""
        asked = (self.provenance, self.captioner, self.transcriber)
        return tuple(each for each in asked if each is not None)
