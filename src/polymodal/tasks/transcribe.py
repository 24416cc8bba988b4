"""`transcribe`: sound to words with times, whichever speech model it is.

Notable: the sound streams: it is decoded, searched for speech and transcribed in pieces, and memory
does not grow with its length. A file speaks one language: where it is not given, what most of its
beginning is recognised as is used for the whole.
"""

from __future__ import annotations

import difflib
from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import replace
from itertools import islice
from typing import TypeAlias

from polymodal.errors import UsageError
from polymodal.media.limits import StreamLimits
from polymodal.media.sound import RATE_HZ, Samples, SoundInput, open_sound
from polymodal.models.protocols import Spoken, Transcriber
from polymodal.models.voice import Piece, speech_pieces
from polymodal.results_speech import SpeechSegment, Transcript
from polymodal.runtime.batches import pipelined

__all__ = ["OnHeard", "check_language", "transcribe", "transcribe_one"]

OnHeard: TypeAlias = Callable[[float, float | None], None]
"""Told how many seconds of a sound are done, and of how many (None where the file does not say)."""
AT_ONCE = 8
"""Pieces given to the model together."""


def transcribe(
    transcriber: Transcriber,
    sources: Iterable[SoundInput],
    *,
    language: str | None,
    limits: StreamLimits,
    progress: OnHeard | None = None,
    workers: int = 2,
) -> Iterator[tuple[SoundInput, Transcript | Exception]]:
    """Yield every source with its transcript or its `MediaError`, in order, lazily."""
    check_language(transcriber, language)
    return pipelined(
        sources,
        lambda source: transcribe_one(
            transcriber, source, language=language, limits=limits, progress=progress
        ),
        lambda batch: batch,
        batch_size=1,
        workers=workers,
    )


def check_language(transcriber: Transcriber, language: str | None) -> None:
    """Refuse a language that the model does not know.

    Raises:
        UsageError: with the nearest codes.
    """
    if language is not None and language not in transcriber.languages:
        close = difflib.get_close_matches(language.lower()[:2], transcriber.languages, cutoff=0.5)
        hint = f" Did you mean {' or '.join(repr(code) for code in close)}?" if close else ""
        raise UsageError(
            f"language {language!r} is not one that {transcriber.provenance.model} knows: give a"
            f" code of two letters, such as 'en'.{hint}"
        )


def transcribe_one(
    transcriber: Transcriber,
    source: SoundInput,
    *,
    language: str | None,
    limits: StreamLimits,
    progress: OnHeard | None = None,
) -> Transcript:
    """The transcript of one sound; without segments where nobody speaks.

    Raises:
        MediaError: it cannot be opened or read to its end.
    """
    heard_s = 0.0

    def counted(blocks: Iterable[Samples], total_s: float | None) -> Iterator[Samples]:
        nonlocal heard_s
        for block in blocks:
            yield block
            heard_s += block.size / RATE_HZ
            if progress:
                progress(heard_s, total_s)

    segments: list[SpeechSegment] = []
    known, probability = language, 1.0
    with open_sound(source, limits) as sound:
        name = sound.name
        pieces = speech_pieces(counted(sound.blocks(), sound.duration_s), transcriber.longest_s)
        while batch := list(islice(pieces, AT_ONCE)):
            spoken = transcriber.transcribe([piece.samples for piece in batch], language=known)
            if known is None:
                known, probability, spoken = _settle(transcriber, batch, spoken)
            segments += _moved(batch, spoken)
    return Transcript(
        input=name,
        language=known if segments else None,
        language_probability=round(probability, 4) if segments else 0.0,
        text=" ".join(segment.text for segment in segments),
        segments=tuple(segments),
        duration_s=round(heard_s, 3),
        provenance=transcriber.provenance,
    )


def _settle(
    transcriber: Transcriber, batch: Sequence[Piece], spoken: Sequence[Spoken]
) -> tuple[str | None, float, list[Spoken]]:
    """The language of most of the speech, and all pieces in it; None where nothing was said."""
    votes: dict[str, float] = defaultdict(float)
    length = 0
    for piece, each in zip(batch, spoken, strict=True):
        if each.segments:
            votes[each.language] += each.language_probability * piece.samples.size
            length += piece.samples.size
    if not votes:
        return None, 0.0, list(spoken)
    language = max(votes, key=lambda code: votes[code])
    others = [
        index for index, each in enumerate(spoken) if each.language != language and each.segments
    ]
    settled = list(spoken)
    again = transcriber.transcribe([batch[index].samples for index in others], language=language)
    for index, each in zip(others, again, strict=True):
        settled[index] = each
    return language, votes[language] / length, settled


def _moved(batch: Sequence[Piece], spoken: Sequence[Spoken]) -> Iterator[SpeechSegment]:
    """Segments with times from the beginning of the file."""
    for piece, each in zip(batch, spoken, strict=True):
        for segment in each.segments:
            yield replace(
                segment,
                start_s=round(piece.start_s + segment.start_s, 3),
                end_s=round(piece.start_s + segment.end_s, 3),
            )
