"""A moment of a video as a path: `clip.mp4#t=4.000,8.500`, the media fragment that players know."""

from __future__ import annotations

import re
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING

from polymodal.errors import DamagedMedia
from polymodal.media.limits import DEFAULT_STREAM_LIMITS, StreamLimits

if TYPE_CHECKING:
    from PIL import Image

__all__ = ["file_of", "moment_of", "moment_path", "picture_at", "picture_of_moment"]

FRAGMENT = re.compile(r"(.*)#t=(\d+\.\d{3}),(\d+\.\d{3})", re.DOTALL)
SIDE_PX = 360


def moment_path(file: str, start_s: float, end_s: float) -> str:
    """The path of a stretch of a video."""
    return f"{file}#t={start_s:.3f},{end_s:.3f}"


def moment_of(path: str) -> tuple[str, float, float] | None:
    """File, beginning and end in seconds; None for the path of a whole file."""
    found = FRAGMENT.fullmatch(path)
    return (found[1], float(found[2]), float(found[3])) if found else None


def file_of(path: str) -> str:
    """The file that a path is in, itself or a moment of it."""
    found = moment_of(path)
    return found[0] if found else path


def picture_at(
    file: str, at_s: float, *, side_px: int = SIDE_PX, limits: StreamLimits = DEFAULT_STREAM_LIMITS
) -> Image.Image:
    """The picture that a video shows at a time.

    Raises:
        MediaError: the video cannot be opened, or ends before that time.
    """
    from polymodal.media.video import open_video

    with open_video(file, limits) as video:
        video.seek(at_s)
        for frame in video.frames(0.0, side_px=side_px):
            if frame.time_s >= at_s - 0.002:
                return frame.image
    raise DamagedMedia(f"ends before {at_s:.1f} s", file)


@lru_cache(maxsize=256)
def _cached(path: str, changed_ns: int, at_s: float) -> Image.Image:
    return picture_at(file_of(path), at_s)


def picture_of_moment(path: str) -> Image.Image:
    """A picture for a moment: from its middle.

    Raises:
        MediaError: the video cannot be opened.
    """
    found = moment_of(path)
    assert found is not None
    file, start_s, end_s = found
    changed_ns = Path(file).stat().st_mtime_ns if Path(file).is_file() else 0
    return _cached(path, changed_ns, (start_s + end_s) / 2)
