"""Whisper through faster-whisper and CTranslate2, int8 on a CPU.

Notable: the encoder is shown a piece and two seconds of silence after it, not the 30 seconds that
Whisper was trained on: a sentence of four seconds then costs an eighth. What the model is unsure of
in the short window is heard again in the full one, with a beam. Nothing is drawn at random, and
pieces are decoded apart, on all cores, so the same sound gives the same words in any company.
"""

from __future__ import annotations

import math
import os
import zlib
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from polymodal.errors import ModelUnavailable, UsageError
from polymodal.models.precision import AS_IT_IS, Precision
from polymodal.models.protocols import Device, Samples, Spoken
from polymodal.models.resident import Resident
from polymodal.profiling import profiled, span
from polymodal.results import Provenance
from polymodal.results_speech import SpeechSegment

__all__ = [
    "LONGEST_S",
    "UNSURE",
    "Decoded",
    "WhisperTranscriber",
    "compute_type",
    "timed_segments",
]

FULL_FRAMES = 3000
"""Of 10 ms: the window Whisper was trained on."""
QUIET_FRAMES = 200
"""Silence that the model needs to see after the last word."""
UNSURE = -0.5
"""Mean log probability of a token below which a piece is heard again in the full window; chosen on
`benchmarks/speech.py`'s sentences."""
NOTHING_SAID = (0.6, -1.0)
"""Probability of no speech above, and mean log probability below which a piece says nothing."""
REPETITIVE = 2.4
"""How far text may compress before it is taken for a loop (the threshold of Whisper's authors)."""
BEAM = 5
"""For what is heard again."""
FRAME_S = 0.02
LONGEST_S = 29.0
MAX_TOKENS = 448


@dataclass(frozen=True)
class Decoded:
    tokens: list[int]
    log_probability: float
    no_speech: float
    text: str

    @property
    def is_loop(self) -> bool:
        """Whether the model got stuck in a phrase."""
        data = self.text.encode()
        return len(data) > 0 and len(data) / len(zlib.compress(data)) > REPETITIVE

    @property
    def says_nothing(self) -> bool:
        """Whether it was rather noise."""
        no_speech, log_probability = NOTHING_SAID
        silent = self.no_speech > no_speech and self.log_probability < log_probability
        return silent or not self.text.strip()


class WhisperTranscriber:
    """A `Transcriber` from a folder in CTranslate2's format; loaded on first use."""

    def __init__(
        self,
        folder: Callable[[], Path],
        name: str,
        revision: str,
        device: Device,
        *,
        compute: str = "int8",
        asked: str = "",
    ) -> None:
        """Nothing is loaded yet.

        Args:
            folder: gives the folder, with weights that were checked; called on first use.
            compute: CTranslate2's type on a CPU; on a GPU it is what the weights were saved in.
            asked: the type on either, from `compute_type`; "" where nothing was asked for.
        """
        self._folder = folder
        self._device = device
        self._compute, self._asked = compute, asked
        self._provenance = Provenance(name, f"{revision} {asked}".strip())
        self._weights = Resident(
            "weights", self._load, prepare=_faster_whisper, device=lambda: _device(device)
        )

    @property
    def provenance(self) -> Provenance:
        """See `Transcriber.provenance`."""
        return self._provenance

    @property
    def longest_s(self) -> float:
        """See `Transcriber.longest_s`."""
        return LONGEST_S

    @property
    def residents(self) -> Sequence[Resident[Any]]:
        """See `Unloadable.residents`."""
        return (self._weights,)

    @property
    def languages(self) -> Sequence[str]:
        """See `Transcriber.languages`."""
        with self._weights.use() as model:
            return list(model.supported_languages)

    @profiled("generate")
    def transcribe(self, batch: Sequence[Samples], *, language: str | None = None) -> list[Spoken]:
        """See `Transcriber.transcribe`."""
        with self._weights.use() as model:
            hearing = _Hearing(model)
            if len(batch) < 2:
                return [hearing.spoken(samples, language) for samples in batch]
            with ThreadPoolExecutor(min(len(batch), _workers())) as pool:
                return list(pool.map(lambda samples: hearing.spoken(samples, language), batch))

    def _load(self) -> Any:
        from faster_whisper import WhisperModel

        folder = self._folder()
        device = _device(self._device)
        try:
            return WhisperModel(
                str(folder),
                device=device.partition(":")[0],
                device_index=int(device.partition(":")[2] or 0),
                compute_type=self._asked or (self._compute if device == "cpu" else "default"),
                # Pieces side by side use the cores better than one piece on all of them.
                cpu_threads=1,
                num_workers=_workers(),
                local_files_only=True,
            )
        except (RuntimeError, ValueError, OSError) as error:
            raise ModelUnavailable(
                f"the speech model in {folder} cannot be loaded: {error}"
            ) from error


@dataclass(frozen=True)
class _Hearing:
    """One model, decoding."""

    model: Any

    def spoken(self, samples: Samples, language: str | None) -> Spoken:
        with span("preprocess"):
            features = self.model.feature_extractor(samples)[..., :-1]
        length = min(FULL_FRAMES, features.shape[1])
        short = min(FULL_FRAMES, length + QUIET_FRAMES)
        encoded = self._encode(features, short)
        code, probability = (language, 1.0) if language else self._language(encoded)
        tokenizer = self._tokenizer(code)
        decoded = self._decode(encoded, tokenizer)
        if (decoded.log_probability < UNSURE or decoded.is_loop) and short < FULL_FRAMES:
            encoded = self._encode(features, FULL_FRAMES)
            if not language:
                code, probability = self._language(encoded)
                tokenizer = self._tokenizer(code)
            decoded = self._decode(encoded, tokenizer, beam_size=BEAM)
        if decoded.is_loop:
            decoded = self._decode(encoded, tokenizer, beam_size=BEAM, no_repeat_ngram_size=4)
        if decoded.says_nothing:
            return Spoken(code, probability, ())
        confidence = math.exp(min(0.0, decoded.log_probability))
        segments = timed_segments(decoded.tokens, tokenizer, samples.size / 16_000, confidence)
        return Spoken(code, probability, tuple(segments))

    @profiled("encode")
    def _encode(self, features: Any, frames: int) -> Any:
        from faster_whisper.audio import pad_or_trim

        return self.model.encode(np.ascontiguousarray(pad_or_trim(features, frames - frames % 2)))

    def _language(self, encoded: Any) -> tuple[str, float]:
        if not self.model.model.is_multilingual:
            return "en", 1.0
        token, probability = self.model.model.detect_language(encoded)[0][0]
        return str(token)[2:-2], float(probability)

    def _tokenizer(self, language: str) -> Any:
        from faster_whisper.tokenizer import Tokenizer

        multilingual = self.model.model.is_multilingual
        return Tokenizer(
            self.model.hf_tokenizer, multilingual, task="transcribe", language=language
        )

    def _decode(
        self, encoded: Any, tokenizer: Any, *, beam_size: int = 1, **options: Any
    ) -> Decoded:
        prompt = self.model.get_prompt(tokenizer, [], without_timestamps=False)
        (found,) = self.model.model.generate(
            encoded,
            [prompt],
            beam_size=beam_size,
            max_length=MAX_TOKENS,
            suppress_tokens=[-1],
            return_scores=True,
            return_no_speech_prob=True,
            **options,
        )
        tokens = list(found.sequences_ids[0])
        text = tokenizer.decode([token for token in tokens if token < tokenizer.eot])
        return Decoded(tokens, float(found.scores[0]), float(found.no_speech_prob), text)


def timed_segments(
    tokens: Sequence[int], tokenizer: Any, duration_s: float, confidence: float
) -> Iterator[SpeechSegment]:
    """Words between time stamps; a stamp outside of the piece, or out of order, is put right."""
    start_s = 0.0
    words: list[int] = []
    for token in [*tokens, None]:
        if token is not None and token < tokenizer.eot:
            words.append(token)
            continue
        if token is not None and token < tokenizer.timestamp_begin:
            continue
        stamp_s = duration_s
        if token is not None:
            stamp_s = min(duration_s, (token - tokenizer.timestamp_begin) * FRAME_S)
        text = tokenizer.decode(words).strip()
        if text:
            end_s = max(start_s, stamp_s)
            yield SpeechSegment(round(start_s, 3), round(end_s, 3), text, confidence)
            start_s = end_s
        else:
            start_s = max(start_s, stamp_s)
        words = []


def compute_type(name: str, precision: Precision, device: Device) -> str:
    """What CTranslate2 calls a precision (https://opennmt.net/CTranslate2/quantization.html).

    Returns:
        "" where nothing was asked for.

    Raises:
        UsageError: it has none such, or not on this device.
    """
    if precision == AS_IT_IS:
        return ""
    if precision.quantize == "4bit":
        raise UsageError(
            f"{name} is in CTranslate2's format, which has 8bit but not 4bit. Use --quantize 8bit,"
            " or a checkpoint of transformers, such as openai/whisper-base."
        )
    dtype = "" if precision.dtype == "auto" else precision.dtype
    wanted = "_".join(each for each in ("int8" if precision.quantize else "", dtype) if each)
    place, _, number = _device(device).partition(":")
    import ctranslate2

    known = ctranslate2.get_supported_compute_types(place, int(number or 0))
    if wanted not in known:
        has = sorted(known & {"float32", "float16", "bfloat16", "int8"})
        raise UsageError(
            f"{name} cannot be held in {wanted.replace('_', ' and ')} on {place}: CTranslate2 has"
            f" {', '.join(has)} there (int8 is --quantize 8bit)."
        )
    return wanted


def _workers() -> int:
    return max(1, min(os.cpu_count() or 1, 4))


def _device(device: Device) -> str:
    """ "auto" is CUDA where CTranslate2 finds it."""
    if device != "auto":
        return device
    import ctranslate2

    return "cuda" if ctranslate2.get_cuda_device_count() else "cpu"


def _faster_whisper() -> None:
    import faster_whisper  # noqa: F401
