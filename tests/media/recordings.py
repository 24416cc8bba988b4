"""Sounds and videos made for tests with PyAV, and damage done to them."""

from __future__ import annotations

from collections.abc import Sequence
from fractions import Fraction
from pathlib import Path

import av
import numpy as np
from PIL import Image

import polymodal.cli

SPOKEN = Path(polymodal.cli.__file__).with_name("spoken-query.flac")
SPOKEN_WORDS = "a cup of coffee"
DATA = Path(__file__).resolve().parents[3] / "shared" / "data"


def tone(seconds: float, *, rate: int = 16_000, hz: float = 440.0) -> np.ndarray:
    """A sine at a third of full scale."""
    return (0.3 * np.sin(2 * np.pi * hz * np.arange(int(rate * seconds)) / rate)).astype(np.float32)


def write_sound(
    path: Path,
    samples: np.ndarray,
    *,
    codec: str = "pcm_s16le",
    rate: int = 16_000,
    layout: str = "mono",
) -> Path:
    """One track of floats in -1..1, in whatever the file's ending and the codec say."""
    with av.open(path, "w") as container:
        _sound_into(container, [samples], codec=codec, rate=rate, layout=layout)
    return path


def write_video(
    path: Path,
    pictures: Sequence[Image.Image],
    *,
    seconds_each: float = 2.0,
    fps: int = 10,
    times: Sequence[float] | None = None,
    sound: np.ndarray | None = None,
    codec: str = "libx264",
    sound_codec: str = "aac",
    size: tuple[int, int] = (160, 120),
) -> Path:
    """Still pictures one after the other; `times` are frame times for a variable frame rate."""
    with av.open(path, "w") as container:
        stream = container.add_stream(codec, rate=fps)
        stream.width, stream.height = size
        stream.pix_fmt = "yuv420p"
        stream.codec_context.time_base = stream.time_base = Fraction(1, 1000)
        stills = [picture.convert("RGB").resize(size) for picture in pictures]
        every = int(seconds_each * fps)
        count = len(stills) * every if times is None else len(times)
        packets = []
        for number in range(count):
            frame = av.VideoFrame.from_image(stills[min(number // every, len(stills) - 1)])
            at_s = number / fps if times is None else times[number]
            frame.pts, frame.time_base = round(at_s * 1000), Fraction(1, 1000)
            packets += stream.encode(frame)
        packets += stream.encode(None)
        if sound is None:
            for packet in packets:
                container.mux(packet)
        else:
            _sound_into(container, [sound], codec=sound_codec, rate=16_000, layout="mono",
                        others=packets)  # fmt: skip
    return path


def _sound_into(container, pieces, *, codec, rate, layout, others=()):
    stream = container.add_stream(codec, rate=rate)
    stream.layout = layout
    kind = stream.codec_context.codec.audio_formats[0].name
    stream.format = kind
    for packet in others:
        container.mux(packet)
    channels = 2 if layout == "stereo" else 1
    samples = np.concatenate(pieces)
    step = stream.codec_context.frame_size or 1024
    planar = kind.endswith("p")
    for start in range(0, len(samples), step):
        piece = np.tile(_scaled(samples[start : start + step], kind.rstrip("p")), (channels, 1))
        array = piece if planar else piece.T.reshape(1, -1)
        frame = av.AudioFrame.from_ndarray(np.ascontiguousarray(array), format=kind, layout=layout)
        frame.sample_rate, frame.pts = rate, start
        frame.time_base = Fraction(1, rate)
        for packet in stream.encode(frame):
            container.mux(packet)
    for packet in stream.encode(None):
        container.mux(packet)


def _scaled(samples: np.ndarray, kind: str) -> np.ndarray:
    if kind == "u8":
        return np.rint(samples * 127 + 128).astype(np.uint8)
    if kind == "s16":
        return np.rint(samples * 32767).astype(np.int16)
    if kind == "s32":
        return np.rint(samples * (2**31 - 1) * 0.999).astype(np.int32)
    return samples.astype(np.float32)


def turned_by_metadata(video: bytes) -> bytes:
    """An MP4 whose track header says: show me turned by a quarter, clockwise."""
    matrix = video.index(b"tkhd") + 4 + 4 + 36
    numbers = [0, 1 << 16, 0, -(1 << 16), 0, 0, 0, 0, 1 << 30]
    packed = b"".join(number.to_bytes(4, "big", signed=True) for number in numbers)
    return video[:matrix] + packed + video[matrix + 36 :]


def cut_off(path: Path, share: float) -> Path:
    """A copy that ends early."""
    data = path.read_bytes()
    cut = path.with_name(f"cut-{path.name}")
    cut.write_bytes(data[: int(len(data) * share)])
    return cut
