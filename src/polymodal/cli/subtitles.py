"""Transcripts as text, SubRip and WebVTT."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from polymodal.results_speech import SpeechSegment, Transcript

__all__ = ["ENDINGS", "clock", "moment", "written"]

ENDINGS = {"text": ".txt", "json": ".json", "srt": ".srt", "vtt": ".vtt"}


def written(transcript: Transcript, format_: str) -> str:
    """The transcript as the content of a file: `text`, `srt` or `vtt`."""
    if format_ == "text":
        return "".join(f"{segment.text}\n" for segment in transcript.segments)
    if format_ == "srt":
        return _srt(transcript.segments)
    return "WEBVTT\n\n" + "".join(
        f"{clock(each.start_s, '.')} --> {clock(each.end_s, '.')}\n{_cue(each.text)}\n\n"
        for each in transcript.segments
    )


def _srt(segments: Sequence[SpeechSegment]) -> str:
    return "".join(
        f"{number}\n{clock(each.start_s, ',')} --> {clock(each.end_s, ',')}\n{each.text}\n\n"
        for number, each in enumerate(segments, 1)
    )


def _cue(text: str) -> str:
    """WebVTT reads markup in cues; speech has none."""
    return text.replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")


def clock(seconds: float, point: str = ".") -> str:
    """`01:02:03.456`."""
    whole, thousandths = divmod(round(seconds * 1000), 1000)
    minutes, second = divmod(whole, 60)
    hour, minute = divmod(minutes, 60)
    return f"{hour:02}:{minute:02}:{second:02}{point}{thousandths:03}"


def moment(seconds: float) -> str:
    """The same for a person: `2:03.4`, and `1:02:03.4` after an hour."""
    minutes, second = divmod(round(seconds * 10), 600)
    hour, minute = divmod(minutes, 60)
    start = f"{hour}:{minute:02}" if hour else str(minute)
    return f"{start}:{second / 10:04.1f}"
