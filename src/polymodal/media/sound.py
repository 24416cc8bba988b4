"""The sound of any audio or video file as a stream of blocks, as speech models want it.

Notable: whatever the file holds (8 bit, 96 kHz, 5.1), blocks are mono, 16 kHz, float32, and never
more than one is in memory; a block's time is the time in the file, also where the sound of a video
starts later than its pictures; a file that breaks off is refused, never quietly cut short.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, TypeAlias

import numpy as np
from numpy.typing import NDArray

from polymodal.errors import UnsupportedMedia
from polymodal.media.containers import (
    StreamInput,
    check_duration,
    damaged,
    declared_duration_s,
    has_ended_early,
    open_container,
    stream_name,
)
from polymodal.media.limits import DEFAULT_STREAM_LIMITS, StreamLimits
from polymodal.profiling import profiled_items

if TYPE_CHECKING:
    from av.container import InputContainer

__all__ = ["RATE_HZ", "Samples", "Sound", "SoundInput", "open_sound", "read_sound", "sound_name"]

RATE_HZ = 16_000
BLOCK_S = 10.0

Samples: TypeAlias = NDArray[np.float32]
"""Mono, 16 kHz, -1..1; shape (n,)."""
SoundInput: TypeAlias = StreamInput | NDArray[np.floating[Any]]
"""A path, a file's bytes, or samples: mono, 16 kHz, floats in -1..1."""


class Sound:
    """An opened sound; `blocks` reads it once, from beginning to end.

    Attributes:
        name: what messages and results call it.
        duration_s: as the file declares it; None where it does not. For progress, not for trust.
    """

    def __init__(self, name: str, duration_s: float | None, blocks: Iterator[Samples]) -> None:
        self.name = name
        self.duration_s = duration_s
        self._blocks = blocks

    def blocks(self) -> Iterator[Samples]:
        """Blocks of about ten seconds, in order, without gaps; none for a sound of no length.

        Raises:
            DamagedMedia: when the file cannot be decoded to its end.
            MediaTooLarge: when it plays longer than the limit.
        """
        return profiled_items("decode", self._blocks)


@contextmanager
def open_sound(source: SoundInput, limits: StreamLimits = DEFAULT_STREAM_LIMITS) -> Iterator[Sound]:
    """The sound of a file, closed when the block ends.

    Raises:
        UnsupportedMedia: the file is no sound or video, or a video without sound.
        MediaError: it cannot be opened: see `open_container`.
        MissingDependency: PyAV is not installed.
    """
    name = sound_name(source)
    if isinstance(source, np.ndarray):
        yield _of_samples(source, limits, name)
        return
    with open_container(source, limits) as container:
        if not container.streams.audio:
            raise UnsupportedMedia("has no sound: there is no audio track in it", name)
        blocks = _in_blocks(_decoded(container, limits, name))
        yield Sound(name, declared_duration_s(container), blocks)


def read_sound(source: SoundInput, limits: StreamLimits = DEFAULT_STREAM_LIMITS) -> Samples:
    """All of a sound at once, shape (n,): four megabytes a minute. Raises as `open_sound` does."""
    with open_sound(source, limits) as sound:
        blocks = list(sound.blocks())
    return np.concatenate(blocks) if blocks else np.zeros(0, np.float32)


def sound_name(source: SoundInput) -> str:
    """What messages and results call an input."""
    if isinstance(source, np.ndarray):
        return f"<{source.size / RATE_HZ:.1f} s of sound>"
    return stream_name(source)


def _of_samples(samples: NDArray[Any], limits: StreamLimits, name: str) -> Sound:
    if samples.ndim != 1 or samples.dtype.kind != "f":
        raise UnsupportedMedia(
            f"has shape {samples.shape} of {samples.dtype}; samples are one row of floats: mono,"
            " 16 kHz, -1..1",
            name,
        )
    if not np.isfinite(samples).all():
        raise UnsupportedMedia("holds samples that are not finite", name)
    duration_s = samples.size / RATE_HZ
    check_duration(duration_s, limits, name)
    return Sound(name, duration_s, _in_blocks(iter([samples.astype(np.float32)])))


def _in_blocks(pieces: Iterator[Samples]) -> Iterator[Samples]:
    """Pieces of any length, long or short, as blocks of one length and a rest."""
    size = int(BLOCK_S * RATE_HZ)
    held: list[Samples] = []
    count = 0
    for piece in pieces:
        held.append(piece)
        count += piece.size
        if count >= size:
            whole = np.concatenate(held)
            cut = count - count % size
            yield from whole[:cut].reshape(-1, size)
            held, count = [whole[cut:]], count % size
    if count:
        yield np.concatenate(held)


def _decoded(container: InputContainer, limits: StreamLimits, name: str) -> Iterator[Samples]:
    """The first audio track, decoded frame by frame."""
    import av

    resampler = _Resampler()
    stream = container.streams.audio[0]
    end_s = 0.0
    waiting = True
    try:
        for frame in container.decode(stream):
            if waiting:  # the sound may begin after the pictures
                waiting = False
                yield from _silence(_late_s(container, frame), limits, name)
            end_s = max(end_s, (frame.time or 0.0) + frame.samples / frame.sample_rate)
            for piece in resampler(frame):
                check_duration(resampler.written_s, limits, name)
                yield piece
    except (av.error.FFmpegError, ValueError) as error:
        raise damaged(name, resampler.written_s, error) from error
    if has_ended_early(container, stream, max(end_s, resampler.written_s)):
        raise damaged(name, resampler.written_s)
    yield from resampler(None)


def _late_s(container: InputContainer, frame: Any) -> float:
    start_s = (container.start_time or 0) / 1_000_000
    return max(0.0, (frame.time or 0.0) - start_s)


def _silence(seconds: float, limits: StreamLimits, name: str) -> Iterator[Samples]:
    check_duration(seconds, limits, name)
    block = int(BLOCK_S * RATE_HZ)
    count = round(seconds * RATE_HZ)
    for start in range(0, count, block):
        yield np.zeros(min(block, count - start), np.float32)


class _Resampler:
    """To mono, 16 kHz, floats; starts anew where the format changes in the middle of a file."""

    def __init__(self) -> None:
        self._format: tuple[str, str, int] | None = None
        self._inner: Any = None
        self.written_s = 0.0

    def __call__(self, frame: Any | None) -> Iterator[Samples]:
        """The samples that `frame` completes; None gives the rest."""
        if frame is None:
            yield from self._take(None)
            return
        kind = (frame.format.name, frame.layout.name, frame.sample_rate)
        if kind != self._format:
            from av.audio.resampler import AudioResampler

            yield from self._take(None)
            # Whole numbers: into floats, FFmpeg adds channels without keeping them below 1.
            self._inner = AudioResampler(format="s16", layout="mono", rate=RATE_HZ)
            self._format = kind
        frame.pts = None  # gaps and jumps in time stamps are not filled
        yield from self._take(frame)

    def _take(self, frame: Any | None) -> Iterator[Samples]:
        if self._inner is None:
            return
        for made in self._inner.resample(frame):
            samples = made.to_ndarray().reshape(-1).astype(np.float32) / 32768
            if samples.size:
                self.written_s += samples.size / RATE_HZ
                yield samples
