"""`transcribe`: sound to words with times, whichever speech model it is.

Notable: the sound streams: it is decoded, searched for speech and transcribed in pieces, and memory
does not grow with its length. A file speaks one language: where it is not given, what most of its
beginning is recognised as is used for the whole. What was heard before of the same content comes
from the cache, and no model is loaded for it.
"""

from __future__ import annotations

import difflib
import time
from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from functools import partial
from itertools import islice
from typing import Any, TypeAlias

from polymodal.errors import MediaError, UsageError, did_you_mean
from polymodal.media.hashing import content_of, digest_of
from polymodal.media.limits import StreamLimits
from polymodal.media.sound import RATE_HZ, Samples, SoundInput, open_sound, sound_name
from polymodal.models.protocols import Spoken, Transcriber
from polymodal.models.voice import Piece, speech_pieces
from polymodal.results_speech import SpeechSegment, Transcript
from polymodal.runtime.batches import pipelined
from polymodal.runtime.cache import Cache
from polymodal.runtime.cached import through_cache
from polymodal.runtime.journal import Call, Journal

__all__ = ["OnHeard", "check_language", "transcribe", "transcribe_one"]

OnHeard: TypeAlias = Callable[[float, float | None], None]
"""Told how many seconds of a sound are done, and of how many (None where the file does not say)."""
VERB = "transcribe"
AT_ONCE = 8
"""Pieces given to the model together."""
AHEAD = 16
"""Sounds hashed and looked up together: they may be large, and nothing is heard meanwhile."""


@dataclass
class _Work:
    """Sounds to transcripts by the model, recorded in the journal."""

    transcriber: Transcriber
    language: str | None
    limits: StreamLimits
    progress: OnHeard | None
    journal: Journal | None
    workers: int

    def run(self, sources: Iterator[SoundInput]) -> Iterator[tuple[SoundInput, Any]]:
        """What `through_cache` calls for sounds that it does not know."""
        check_language(self.transcriber, self.language)
        stream = pipelined(
            sources, self._hear, lambda batch: batch, batch_size=1, workers=self.workers
        )
        for source, outcome in stream:
            if isinstance(outcome, Exception):
                yield source, outcome
                continue
            found, latency_s = outcome
            self._record(source, found, latency_s)
            yield source, found

    def _hear(self, source: SoundInput) -> tuple[Transcript, float]:
        started = time.perf_counter()
        found = transcribe_one(
            self.transcriber,
            source,
            language=self.language,
            limits=self.limits,
            progress=self.progress,
        )
        return found, time.perf_counter() - started

    def _record(self, source: SoundInput, found: Transcript, latency_s: float) -> None:
        if self.journal is None:
            return
        call = Call(
            verb=VERB,
            model=found.provenance.model,
            revision=found.provenance.revision,
            parameters={"language": self.language},
            inputs=[{"kind": "audio", "name": found.input, "sha256": digest_of(source)}],
            output=found.text,
            confidence=_confidence(found.segments),
            latency_s=latency_s,
        )
        self.journal.record([call])


def transcribe(
    transcriber: Transcriber,
    sources: Iterable[SoundInput],
    *,
    language: str | None,
    limits: StreamLimits,
    progress: OnHeard | None = None,
    workers: int = 2,
    cache: Cache | None = None,
    journal: Journal | None = None,
) -> Iterator[tuple[SoundInput, Transcript | MediaError]]:
    """Yield every source with its transcript or its `MediaError`, in order, lazily.

    Raises:
        UsageError: a language that the model does not know.
    """
    made_by = transcriber.provenance
    stream = through_cache(
        cache,
        sources,
        _Work(transcriber, language, limits, progress, journal, workers).run,
        verb=VERB,
        model=f"{made_by.model}@{made_by.revision}",
        parameters={"language": language, "max_s": limits.max_s},
        encode=_encode,
        decode=partial(_decode, transcriber),
        content=partial(content_of, max_bytes=limits.max_bytes),
        at_most=AHEAD,
    )
    for source, outcome in stream:
        assert isinstance(outcome, Transcript | MediaError), outcome
        yield source, outcome


def check_language(transcriber: Transcriber, language: str | None) -> None:
    """Refuse a language that the model does not know.

    Raises:
        UsageError: with the nearest codes.
    """
    if language is not None and language not in transcriber.languages:
        close = difflib.get_close_matches(language.lower()[:2], transcriber.languages, cutoff=0.5)
        raise UsageError(
            f"language {language!r} is not one that {transcriber.provenance.model} knows: give a"
            f" code of two letters, such as 'en'.{did_you_mean(close)}"
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
        text=_text(segments),
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


def _confidence(segments: Sequence[SpeechSegment]) -> float | None:
    """The mean over the time that is spoken; None where nobody speaks."""
    spoken_s = sum(each.end_s - each.start_s for each in segments)
    if spoken_s <= 0:
        return None
    return sum((each.end_s - each.start_s) * each.confidence for each in segments) / spoken_s


def _encode(found: Transcript) -> Any | None:
    """None where nobody speaks: an empty result is not kept, and is soon found again."""
    if not found.segments:
        return None
    return {
        "language": found.language,
        "language_probability": float(found.language_probability),
        "duration_s": float(found.duration_s),
        "segments": [
            [float(each.start_s), float(each.end_s), each.text, float(each.confidence)]
            for each in found.segments
        ],
    }


def _decode(transcriber: Transcriber, source: SoundInput, value: Any) -> Transcript:
    segments = tuple(
        SpeechSegment(float(start_s), float(end_s), str(text), float(confidence))
        for start_s, end_s, text, confidence in value["segments"]
    )
    return Transcript(
        input=sound_name(source),
        language=str(value["language"]),
        language_probability=float(value["language_probability"]),
        text=_text(segments),
        segments=segments,
        duration_s=float(value["duration_s"]),
        provenance=transcriber.provenance,
    )


def _text(segments: Iterable[SpeechSegment]) -> str:
    return " ".join(segment.text for segment in segments)
