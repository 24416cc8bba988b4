"""Pictures of a video at chosen times: upright, with the time at which a player shows them.

Notable: frames are picked by their own time stamps, so that a variable frame rate is no special
case; they are turned as the file's metadata says; only those that are asked for become pictures,
and they are scaled down at once, since two seconds of 4K fill a gigabyte.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from polymodal.errors import DamagedMedia, MediaTooLarge, UnsupportedMedia
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
    from PIL import Image

__all__ = ["Frame", "Video", "open_video", "sample_frames"]

SEEK_FROM_S = 120.0
"""Videos that are longer are not decoded whole for a few of their frames."""


@dataclass(frozen=True)
class Frame:
    """A picture of a video: mode RGB, upright, and when it is shown."""

    time_s: float
    image: Image.Image


class Video:
    """An opened video; `frames` reads it once, from beginning to end.

    Attributes:
        duration_s: as the file declares it; None where it does not.
        has_sound: whether there is an audio track.
        width_px, height_px: of a frame, upright; 0 until a frame was read.
        end_s: how far `frames` has come.
    """

    def __init__(self, container: Any, stream: Any, limits: StreamLimits, name: str) -> None:
        self.name = name
        self.duration_s = declared_duration_s(container)
        self.has_sound = bool(container.streams.audio)
        self.width_px = self.height_px = 0
        self.end_s = 0.0
        self._container = container
        self._stream = stream
        self._limits = limits

    def frames(self, every_s: float, *, side_px: int, from_s: float = 0.0) -> Iterator[Frame]:
        """A frame about every `every_s` seconds, the first one from `from_s` on included.

        Args:
            side_px: pictures are scaled down until their shorter side has no more pixels.

        Raises:
            DamagedMedia: when the file cannot be decoded to its end.
            MediaTooLarge: when it plays longer, or a frame is larger, than the limits allow.
        """
        return profiled_items("decode", self._frames(every_s, side_px, from_s))

    def _frames(self, every_s: float, side_px: int, from_s: float) -> Iterator[Frame]:
        import av

        next_s = from_s
        try:
            for number, frame in enumerate(self._container.decode(self._stream)):
                self._check(frame)
                time_s = self._time_s(frame, number)
                self.end_s = max(self.end_s, time_s + self._length_s(frame))
                if time_s >= next_s:
                    next_s = max(next_s + every_s, time_s + every_s / 2)
                    yield Frame(time_s, self._picture(frame, side_px))
        except (av.error.FFmpegError, ValueError) as error:
            raise damaged(self.name, self.end_s, error) from error
        start_s = (self._container.start_time or 0) / 1_000_000
        if has_ended_early(self._container, self._stream, self.end_s + start_s):
            raise damaged(self.name, self.end_s)
        if not self.width_px:
            raise DamagedMedia("has a video track without a single frame", self.name)

    def seek(self, at_s: float) -> None:
        """Begin reading at the last frame before `at_s` that stands on its own."""
        start_s = (self._container.start_time or 0) / 1_000_000
        self._container.seek(int((at_s + start_s) * 1_000_000), backward=True)

    def _check(self, frame: Any) -> None:
        if frame.width * frame.height > self._limits.max_pixels:
            raise MediaTooLarge(_size_words(frame.width, frame.height, self._limits), self.name)
        check_duration(self.end_s, self._limits, self.name)

    def _time_s(self, frame: Any, number: int) -> float:
        """When a player shows it: players count from the file's first time stamp."""
        if frame.time is None:
            return number / float(self._stream.average_rate or 25)
        start_s: float = (self._container.start_time or 0) / 1_000_000
        return max(0.0, float(frame.time) - start_s)

    def _length_s(self, frame: Any) -> float:
        if frame.duration and frame.time_base:
            return float(frame.duration * frame.time_base)
        return 1 / float(self._stream.average_rate or 25)

    def _picture(self, frame: Any, side_px: int) -> Image.Image:
        turns = round(frame.rotation / 90) % 4
        width, height = frame.width, frame.height
        self.width_px, self.height_px = (height, width) if turns % 2 else (width, height)
        scale = min(1.0, side_px / min(width, height))
        small = frame.reformat(
            width=max(1, round(width * scale)),
            height=max(1, round(height * scale)),
            format="rgb24",
            interpolation="AREA" if scale < 1 else "BICUBIC",
        )
        image: Image.Image = small.to_image()
        from PIL import Image as Pictures

        turn = {
            1: Pictures.Transpose.ROTATE_90,
            2: Pictures.Transpose.ROTATE_180,
            3: Pictures.Transpose.ROTATE_270,
        }.get(turns)
        return image if turn is None else image.transpose(turn)


@contextmanager
def open_video(
    source: StreamInput, limits: StreamLimits = DEFAULT_STREAM_LIMITS
) -> Iterator[Video]:
    """The first video track of a file, closed when the block ends.

    Raises:
        UnsupportedMedia: the file has no pictures (a cover of a recording is none).
        MediaTooLarge: its frames are larger than the limit.
        MediaError: it cannot be opened: see `open_container`.
        MissingDependency: PyAV is not installed.
    """
    name = stream_name(source)
    with open_container(source, limits) as container:
        from av.stream import Disposition

        moving = [
            each
            for each in container.streams.video
            if not each.disposition & Disposition.attached_pic
        ]
        if not moving:
            raise UnsupportedMedia("has no pictures: there is no video track in it", name)
        stream = moving[0]
        stream.thread_type = "AUTO"
        context = stream.codec_context
        if context is None:
            raise UnsupportedMedia("has pictures coded in a way that cannot be read", name)
        if context.width * context.height > limits.max_pixels:
            raise MediaTooLarge(_size_words(context.width, context.height, limits), name)
        yield Video(container, stream, limits, name)


def sample_frames(
    source: StreamInput,
    count: int,
    *,
    side_px: int,
    limits: StreamLimits = DEFAULT_STREAM_LIMITS,
) -> tuple[list[Frame], float]:
    """At most `count` frames, evenly over a video from its first on, and how long it plays.

    Raises:
        MediaError: see `open_video` and `Video.frames`.
    """
    with open_video(source, limits) as video:
        length_s = video.duration_s or 0.0
        if length_s > SEEK_FROM_S:
            check_duration(length_s, limits, video.name)
            kept = []
            for number in range(count):
                at_s = number * length_s / count
                video.seek(at_s)
                frame = next(video.frames(1.0, side_px=side_px, from_s=at_s - 0.002), None)
                kept += [] if frame is None else [frame]
        else:
            every_s = max(length_s / count, 0.02) if length_s else 1.0
            kept = []
            for frame in video.frames(every_s, side_px=side_px):
                kept.append(frame)
                if not length_s and len(kept) >= 4 * count:  # of a length that nobody knows
                    kept = kept[::2]
        length_s = max(length_s, video.end_s)
    by_time = list({frame.time_s: frame for frame in kept}.values())
    if len(by_time) <= count:
        return by_time, length_s
    wanted = [number * length_s / count for number in range(count)]
    nearest = [min(by_time, key=lambda each: abs(each.time_s - at_s)) for at_s in wanted]
    return list({frame.time_s: frame for frame in nearest}.values()), length_s


def _size_words(width_px: int, height_px: int, limits: StreamLimits) -> str:
    return (
        f"has frames of {width_px:,} x {height_px:,} pixels, more than the limit of"
        f" {limits.max_pixels / 1e6:,.0f} megapixels (StreamLimits.max_pixels)"
    )
