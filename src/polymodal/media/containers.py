"""A sound or video file, opened safely: what sound.py and video.py share.

Notable: the file is opened here and handed to FFmpeg as a stream, with lists of the containers and
protocols it may use. Playlists and other formats that name further files or addresses are refused:
a "video" of two lines could otherwise make the program read any file or call any server.
"""

from __future__ import annotations

import io
import os
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, TypeAlias

from polymodal.errors import (
    DamagedMedia,
    MediaError,
    MediaTooLarge,
    MissingDependency,
    UnsupportedMedia,
)
from polymodal.media.files import open_regular, printable_name
from polymodal.media.limits import DEFAULT_STREAM_LIMITS, StreamLimits
from polymodal.media.sniff import looks_like, picture_format

if TYPE_CHECKING:
    from av.container import InputContainer

__all__ = [
    "SOUND_EXTENSIONS",
    "VIDEO_EXTENSIONS",
    "StreamInput",
    "check_duration",
    "damaged",
    "declared_duration_s",
    "has_ended_early",
    "open_container",
    "stream_name",
]

StreamInput: TypeAlias = str | os.PathLike[str] | bytes
"""A path, or an encoded file's bytes."""

_SOUNDS = "wav mp3 flac ogg oga opus m4a m4b aac wma aiff aif aifc amr au caf w64 wv ac3 mka weba"
_VIDEOS = "mp4 m4v mov mkv webm avi mpg mpeg ts m2ts mts wmv asf flv 3gp 3g2 ogv"
SOUND_EXTENSIONS = frozenset(f".{extension}" for extension in _SOUNDS.split())
VIDEO_EXTENSIONS = frozenset(f".{extension}" for extension in _VIDEOS.split())

_CONTAINERS = (
    "aac,ac3,aiff,amr,asf,au,avi,caf,flac,flv,matroska,webm,mov,mp4,m4a,3gp,3g2,mj2,mp3,mpeg,"
    "mpegts,mpegvideo,m4v,ogg,w64,wav,wv"
)
_OPTIONS = {"format_whitelist": _CONTAINERS, "protocol_whitelist": "none"}
_EXACT = {"matroska", "mov", "flac"}
"""Containers that write down how long they are; others let it be guessed from a bit rate."""
_RIFF_UNKNOWN = 0x7FFF0000
"""From here on a RIFF length is what a recorder writes that does not know it yet."""
_MISSING_END_S = 1.0


@contextmanager
def open_container(
    source: StreamInput, limits: StreamLimits = DEFAULT_STREAM_LIMITS
) -> Iterator[InputContainer]:
    """The file, its streams found, nothing decoded; closed when the block ends.

    Raises:
        MediaNotFound: no such file, or no permission.
        UnsupportedMedia: not a sound or video of a known kind.
        DamagedMedia: empty or truncated, or corrupt.
        MediaTooLarge: over a limit.
        MissingDependency: PyAV is not installed.
    """
    name = stream_name(source)
    av = _import_av()
    with _opened(source, name, limits) as file:
        try:
            container = av.open(file, options=_OPTIONS, metadata_errors="replace")
        except (av.error.FFmpegError, ValueError) as error:
            raise _unreadable(file, name) from error
        with container:
            check_duration(declared_duration_s(container), limits, name)
            yield container


def stream_name(source: StreamInput) -> str:
    """What messages and results call an input: its path, or `<4,211 bytes>`."""
    return f"<{len(source):,} bytes>" if isinstance(source, bytes) else printable_name(source)


def declared_duration_s(container: Any) -> float | None:
    """How long the file says it is; None where it does not say or cannot be believed."""
    if container.duration is None or container.duration <= 0:
        return None
    declared: float = container.duration / 1_000_000
    if container.format.name == "wav" and container.bit_rate and container.size > 0:
        # A recorder that streams writes the largest number there is and never corrects it.
        declared = min(declared, container.size * 8 / container.bit_rate)
    return declared


def has_ended_early(container: Any, stream: Any, end_s: float) -> bool:
    """Whether a stream stops before the end that the file wrote down for it."""
    if not _EXACT & set(container.format.name.split(",")):
        return False
    declared = _declared_end_s(container, stream)
    return declared is not None and end_s < declared - max(_MISSING_END_S, declared / 50)


def _declared_end_s(container: Any, stream: Any) -> float | None:
    if stream.duration is not None and stream.time_base is not None:
        start = stream.start_time or 0
        return float((start + stream.duration) * stream.time_base)
    if written := stream.metadata.get("DURATION"):  # Matroska, as FFmpeg writes it
        hours, minutes, seconds = (float(part) for part in written.split(":"))
        return hours * 3600 + minutes * 60 + seconds
    return declared_duration_s(container) if len(container.streams) == 1 else None


def _is_cut_riff(head: bytes, size_bytes: int) -> bool:
    """Whether a WAV or AVI is shorter than its first line says: FFmpeg plays what is left."""
    length = int.from_bytes(head[4:8], "little")
    return head[:4] == b"RIFF" and size_bytes < length + 8 and length < _RIFF_UNKNOWN


def check_duration(duration_s: float | None, limits: StreamLimits, name: str) -> None:
    """Refuse what plays longer than the limit.

    Raises:
        MediaTooLarge: it does.
    """
    if duration_s is not None and duration_s > limits.max_s:
        raise MediaTooLarge(
            f"plays for {duration_s / 3600:,.1f} hours, more than the limit of"
            f" {limits.max_s / 3600:g} (StreamLimits.max_s)",
            name,
        )


def damaged(name: str, at_s: float, error: Exception | None = None) -> MediaError:
    """What to raise when a stream cannot be decoded from `at_s` on."""
    if type(error).__name__ == "DecoderNotFoundError":
        return UnsupportedMedia("is truncated, or coded in a way that cannot be read", name)
    what = "ends too early: it is truncated" if error is None else f"is damaged ({_words(error)})"
    return DamagedMedia(
        f"{what} after {at_s:.1f} s; `ffmpeg -i FILE OUT` saves what can be read", name
    )


def _words(error: Exception) -> str:
    return (getattr(error, "strerror", None) or str(error) or type(error).__name__).lower()


def _import_av() -> Any:
    try:
        import av
    except ModuleNotFoundError as error:
        raise MissingDependency(
            "sound and video are opened with PyAV, which is not installed. Run:"
            " pip install 'polymodal[speech]'"
        ) from error
    return av


@contextmanager
def _opened(source: StreamInput, name: str, limits: StreamLimits) -> Iterator[Any]:
    if not isinstance(source, (str, os.PathLike, bytes)):
        kind = type(source).__name__
        raise UnsupportedMedia(f"is {kind}, not a path or the bytes of a file", name)
    with io.BytesIO(source) if isinstance(source, bytes) else open_regular(source) as file:
        size_bytes = file.seek(0, os.SEEK_END)
        file.seek(0)
        if size_bytes == 0:
            raise DamagedMedia("is empty (0 bytes)", name)
        if size_bytes > limits.max_bytes:
            raise MediaTooLarge(
                f"has {size_bytes:,} bytes, more than the limit of {limits.max_bytes:,}"
                " (StreamLimits.max_bytes)",
                name,
            )
        if _is_cut_riff(file.read(8), size_bytes):
            raise DamagedMedia("is shorter than its header says: it is truncated", name)
        file.seek(0)
        yield file


def _unreadable(file: Any, name: str) -> MediaError:
    """Why FFmpeg found nothing in it, from its first bytes."""
    file.seek(0)
    head: bytes = file.read(4096)
    if not head.strip(b"\0"):
        return DamagedMedia("holds nothing but zero bytes", name)
    kind = picture_format(head)
    what = f"a {kind} picture" if kind else looks_like(head)
    if "video" in what or "recording" in what:
        return DamagedMedia(f"looks like {what}, but is truncated or corrupt", name)
    return UnsupportedMedia(f"is not a sound or video that can be read: it looks like {what}", name)
