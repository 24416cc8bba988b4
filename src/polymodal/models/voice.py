"""Where in a sound somebody speaks: the pieces that go to a speech model.

Notable: a speech model asked about silence or music invents words, so it is never asked; the sound
arrives in blocks and leaves in pieces, and memory holds two minutes however long it is. The
detector is Silero's, which faster-whisper ships.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass

import numpy as np

from polymodal.models.protocols import Samples
from polymodal.profiling import profiled

__all__ = ["Piece", "speech_pieces"]

RATE_HZ = 16_000
SECTION_S = 120.0
"""Looked at in one go; also what memory is bounded by."""
PAUSE_S = 0.5
"""A silence this long ends a stretch of speech."""
PAD_S = 0.2
JOIN_S = 1.0
"""Stretches closer than this go to the model together: sentences help each other."""
THRESHOLD = 0.5
SHORTEST_S = 0.2


@dataclass(frozen=True)
class Piece:
    """A stretch of sound with speech in it, and when it begins."""

    start_s: float
    samples: Samples


def speech_pieces(blocks: Iterable[Samples], longest_s: float) -> Iterator[Piece]:
    """Pieces of at most `longest_s`, in order, lazily; none where nobody speaks.

    Args:
        blocks: consecutive samples, mono, 16 kHz, of any length.
    """
    held = np.zeros(0, np.float32)
    begin = 0  # of `held`, in samples
    waiting: list[Samples] = []
    count = 0
    for block in blocks:
        waiting.append(block)
        count += block.size
        if held.size + count < SECTION_S * RATE_HZ:
            continue
        held, waiting, count = np.concatenate([held, *waiting]), [], 0
        stretches = _stretches(held, longest_s)
        # The last stretch may go on in the next block; before it, everything is decided.
        keep = max(held.size - RATE_HZ, 0)
        if stretches and stretches[-1][1] > keep:
            keep = stretches.pop()[0]
        yield from _pieces(held, stretches, begin)
        begin += keep
        held = held[keep:].copy()
    held = np.concatenate([held, *waiting])
    yield from _pieces(held, _stretches(held, longest_s), begin)


@profiled("preprocess")
def _stretches(samples: Samples, longest_s: float) -> list[tuple[int, int]]:
    """First and last sample of every stretch of speech."""
    if samples.size < SHORTEST_S * RATE_HZ:
        return []
    from faster_whisper.vad import VadOptions, get_speech_timestamps

    options = VadOptions(
        threshold=THRESHOLD,
        min_speech_duration_ms=int(SHORTEST_S * 1000),
        max_speech_duration_s=longest_s,
        min_silence_duration_ms=int(PAUSE_S * 1000),
        speech_pad_ms=int(PAD_S * 1000),
    )
    found = [
        (int(each["start"]), int(each["end"])) for each in get_speech_timestamps(samples, options)
    ]
    joined: list[tuple[int, int]] = []
    for start, end in found:
        if (
            joined
            and start - joined[-1][1] < JOIN_S * RATE_HZ
            and end - joined[-1][0] <= longest_s * RATE_HZ
        ):
            joined[-1] = (joined[-1][0], end)
        else:
            joined.append((start, end))
    return joined


def _pieces(samples: Samples, stretches: list[tuple[int, int]], begin: int) -> Iterator[Piece]:
    for start, end in stretches:
        yield Piece((begin + start) / RATE_HZ, samples[start:end].copy())
