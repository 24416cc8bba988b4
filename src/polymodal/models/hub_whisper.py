"""Whisper checkpoints in transformers' layout, beside those of CTranslate2.

Notable: pieces are shown in the window of 30 seconds that the encoder asks for, a batch at once,
greedily; transformers' own rules for time stamps apply. Language and silence are judged from the
decoder's first step, as Whisper's authors do. What the model is unsure of is written again without
time stamps, which short pieces suffer from, and the likelier text is kept; a loop is written again
without repetitions.
"""

from __future__ import annotations

import math
import threading
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from polymodal.models.hub_decoding import Row, Watch
from polymodal.models.hub_loading import (
    Source,
    load_model,
    load_processor,
    prepare,
    quietly,
    transformers,
)
from polymodal.models.precision import AS_IT_IS, Precision, torch_device
from polymodal.models.protocols import Device, Samples, Spoken
from polymodal.models.resident import Resident
from polymodal.models.whisper import LONGEST_S, UNSURE, Decoded, timed_segments
from polymodal.profiling import profiled, span
from polymodal.results import Provenance

__all__ = ["HubWhisper"]

AUTO_CLASS = "AutoModelForSpeechSeq2Seq"
RATE_HZ = 16_000
BATCH = 8
NO_SPEECH = ("<|nospeech|>", "<|nocaptions|>")
NGRAM = 4
"""Of tokens, which a text that was a loop may not repeat."""


@dataclass(frozen=True)
class _Words:
    """What reads the tokens of one checkpoint, as `timed_segments` wants it."""

    tokenizer: Any
    eot: int
    timestamp_begin: int

    def decode(self, tokens: Sequence[int]) -> str:
        """Text without special tokens."""
        return str(self.tokenizer.decode([each for each in tokens if each < self.eot]))


@dataclass(frozen=True)
class _Loaded:
    model: Any
    processor: Any
    words: _Words
    languages: dict[str, int]
    no_speech: int | None
    device: str


class HubWhisper:
    """A `Transcriber` from a checkpoint's folder; loaded on first use, one batch at a time."""

    def __init__(
        self,
        source: Source,
        provenance: Provenance,
        dtype: str,
        *,
        precision: Precision = AS_IT_IS,
        device: Device = "auto",
    ) -> None:
        """Nothing is loaded; `dtype` is that of the weights in memory."""
        self.provenance = provenance
        self._source = source
        self._dtype = dtype
        self._precision = precision
        self._device = device
        self._running = threading.Lock()
        self._weights = Resident(
            "weights",
            self._load,
            prepare=lambda: prepare(source, AUTO_CLASS),
            least_bytes=lambda: precision.least_bytes(source.weights.parameters(), dtype),
            device=lambda: torch_device(device),
        )

    @property
    def residents(self) -> Sequence[Resident[Any]]:
        """See `Unloadable.residents`."""
        return (self._weights,)

    @property
    def longest_s(self) -> float:
        """See `Transcriber.longest_s`."""
        return LONGEST_S

    @property
    def languages(self) -> Sequence[str]:
        """See `Transcriber.languages`."""
        with self._weights.use() as loaded:
            return list(loaded.languages) or ["en"]

    @profiled("generate")
    def transcribe(self, batch: Sequence[Samples], *, language: str | None = None) -> list[Spoken]:
        """See `Transcriber.transcribe`."""
        found: list[Spoken] = []
        with self._weights.use() as loaded, self._running:
            for start in range(0, len(batch), BATCH):
                found += self._spoken(loaded, batch[start : start + BATCH], language)
        return found

    def _spoken(
        self, loaded: _Loaded, batch: Sequence[Samples], language: str | None
    ) -> list[Spoken]:
        import torch

        with torch.inference_mode():
            with span("preprocess"):
                prepared = loaded.processor.feature_extractor(
                    list(batch), sampling_rate=RATE_HZ, return_tensors="pt"
                )
            features = prepared["input_features"].to(loaded.device, loaded.model.dtype)
            heard, silent = self._first_step(loaded, features)
            codes = [(language, 1.0) if language else each for each in heard]
            decoded: dict[int, Decoded] = {}
            for code in dict.fromkeys(code for code, _ in codes):
                rows = [row for row, (other, _) in enumerate(codes) if other == code]
                texts = self._decoded(loaded, features[rows], code, [silent[row] for row in rows])
                decoded |= dict(zip(rows, texts, strict=True))
        return [
            _as_spoken(decoded[row], code, probability, batch[row], loaded.words)
            for row, (code, probability) in enumerate(codes)
        ]

    def _first_step(
        self, loaded: _Loaded, features: Any
    ) -> tuple[list[tuple[str, float]], list[float]]:
        """Languages with their probabilities, and the probability that nobody speaks."""
        import torch

        start = loaded.model.generation_config.decoder_start_token_id
        first = torch.full((features.shape[0], 1), start, device=features.device)
        scores = loaded.model(input_features=features, decoder_input_ids=first).logits[:, -1]
        silent = [0.0] * features.shape[0]
        if loaded.no_speech is not None:
            silent = scores.float().softmax(-1)[:, loaded.no_speech].tolist()
        if not loaded.languages:
            return [("en", 1.0)] * features.shape[0], silent
        names = list(loaded.languages)
        shares = scores[:, list(loaded.languages.values())].float().softmax(-1)
        best = shares.max(-1)
        each = zip(best.indices.tolist(), best.values.tolist(), strict=True)
        return [(names[index], share) for index, share in each], silent

    def _decoded(
        self, loaded: _Loaded, features: Any, language: str, silent: Sequence[float]
    ) -> list[Decoded]:
        found = [
            _read(row, none, loaded.words)
            for row, none in zip(self._run(loaded, features, language), silent, strict=True)
        ]
        unsure = [place for place, each in enumerate(found) if each.log_probability < UNSURE]
        if unsure:
            again = self._run(loaded, features[unsure], language, return_timestamps=False)
            for place, row in zip(unsure, again, strict=True):
                plain = _read(row, silent[place], loaded.words)
                if plain.log_probability > found[place].log_probability:
                    found[place] = plain
        loops = [place for place, each in enumerate(found) if each.is_loop]
        if loops:
            again = self._run(loaded, features[loops], language, no_repeat_ngram_size=NGRAM)
            for place, row in zip(loops, again, strict=True):
                found[place] = _read(row, silent[place], loaded.words)
        return found

    def _run(self, loaded: _Loaded, features: Any, language: str, **more: Any) -> list[Row]:
        from transformers import LogitsProcessorList

        spoken = {"language": language, "task": "transcribe"} if loaded.languages else {}
        watch = Watch(loaded.words.tokenizer, (), frozenset({loaded.words.eot}))
        with quietly(transformers(self._source.name)):  # it warns of its own settings
            out = loaded.model.generate(
                input_features=features,
                do_sample=False,
                num_beams=1,
                force_unique_generate_call=True,
                return_dict_in_generate=True,
                logits_processor=LogitsProcessorList([watch.probabilities]),
                **{"return_timestamps": True, **spoken, **more},
            )
        return watch.rows(out.sequences)

    def _load(self) -> _Loaded:
        device = torch_device(self._device)
        processor = load_processor(self._source, "AutoProcessor")
        model = load_model(self._source, AUTO_CLASS, device, self._dtype, self._precision)
        tokenizer, config = processor.tokenizer, model.generation_config
        vocabulary = tokenizer.get_vocab()
        no_timestamps = getattr(config, "no_timestamps_token_id", None)
        if no_timestamps is None:
            no_timestamps = vocabulary["<|notimestamps|>"]
        words = _Words(tokenizer, vocabulary["<|endoftext|>"], no_timestamps + 1)
        languages = {
            name[2:-2]: token for name, token in (getattr(config, "lang_to_id", None) or {}).items()
        }
        silence = next((vocabulary[each] for each in NO_SPEECH if each in vocabulary), None)
        return _Loaded(model, processor, words, languages, silence, device)


def _read(row: Row, silent: float, words: _Words) -> Decoded:
    mean = row.logprob / max(1, len(row.tokens))
    return Decoded(list(row.tokens), mean, silent, words.decode(row.tokens))


def _as_spoken(
    decoded: Decoded, code: str, probability: float, samples: Samples, words: _Words
) -> Spoken:
    if decoded.says_nothing:
        return Spoken(code, probability, ())
    confidence = math.exp(min(0.0, decoded.log_probability))
    segments = timed_segments(decoded.tokens, words, samples.size / RATE_HZ, confidence)
    return Spoken(code, probability, tuple(segments))
