"""Speech: word error rate, and speed beside the same weights in other engines, in one run.

    python -m benchmarks.speech --data ../shared/data [--count 50]

Sentences are the spoken captions of speech/ (a synthetic voice, four seconds each). Errors are
counted after Whisper's own English normaliser (whisper-normalizer). All engines decode greedily,
the language is given, and every one gets all cores; the real-time factor is computing time over the
length of the sound, loading not counted. transformers runs in float32, which is what it has for a
CPU, once a sentence at a time and once in batches of eight; it writes no time stamps, the other two
do. Engines take turns after every eight sentences, so that what else the machine does is shared.
"CPU time" is what all cores together computed, over the same for ours. On a busy machine threads
wait for each other, which counts as computing: `taskset -c 0` in front gives all engines one core,
and a comparison that others disturb little.
"""

from __future__ import annotations

import argparse
import os
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

import numpy as np

from benchmarks.tables import conditions, markdown
from polymodal.catalog.joined import joined_folder, read_speech_card
from polymodal.catalog.speech import open_transcriber
from polymodal.media.limits import DEFAULT_STREAM_LIMITS
from polymodal.media.sound import RATE_HZ, Samples, read_sound
from polymodal.tasks.transcribe import transcribe

Engine = Callable[[Sequence[Samples]], list[str]]
CORES = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
TURN = 8
"""Sentences; one batch."""


def word_errors(reference: Sequence[str], heard: Sequence[str]) -> int:
    """The fewest words to replace, insert or delete."""
    row = np.arange(len(heard) + 1)
    for index, word in enumerate(reference, 1):
        diagonal, row[0] = row[0], index
        for column, other in enumerate(heard, 1):
            best = min(row[column] + 1, row[column - 1] + 1, diagonal + (word != other))
            diagonal, row[column] = row[column], best
    return int(row[-1])


def word_error_rate(references: Sequence[str], heard: Sequence[str]) -> float:
    """Errors over the words of all references, both normalised."""
    from whisper_normalizer.english import EnglishTextNormalizer

    normal = EnglishTextNormalizer()
    pairs = [
        (normal(reference).split(), normal(text).split())
        for reference, text in zip(references, heard, strict=True)
    ]
    return sum(word_errors(*pair) for pair in pairs) / sum(len(words) for words, _ in pairs)


def ours() -> Engine:
    """`transcribe`, from samples to text, voice detection included."""
    model = open_transcriber("starter")
    transcribe_silence(model)

    def run(sounds: Sequence[Samples]) -> list[str]:
        limits = DEFAULT_STREAM_LIMITS
        results = transcribe(model, sounds, language="en", limits=limits, workers=CORES)
        return [getattr(result, "text", "") for _, result in results]

    return run


def transcribe_silence(model: object) -> None:
    """Load what is loaded on first use."""
    _ = model.languages  # type: ignore[attr-defined]


def faster_whisper() -> Engine:
    """The library itself, as its manual says: a window of 30 seconds for each sentence."""
    from faster_whisper import WhisperModel

    folder = joined_folder(read_speech_card())
    model = WhisperModel(str(folder), device="cpu", compute_type="int8", cpu_threads=CORES)

    def run(sounds: Sequence[Samples]) -> list[str]:
        texts = []
        for sound in sounds:
            segments, _ = model.transcribe(sound, language="en", beam_size=1, temperature=0)
            texts.append("".join(segment.text for segment in segments))
        return texts

    return run


def transformers(batch: int) -> Engine:
    """The same weights, converted back, in transformers."""
    import torch
    from transformers import WhisperFeatureExtractor

    from benchmarks.whisper_weights import to_transformers

    torch.set_num_threads(CORES)
    model, tokenizer = to_transformers(joined_folder(read_speech_card()))
    extractor = WhisperFeatureExtractor(feature_size=80)

    def run(sounds: Sequence[Samples]) -> list[str]:
        texts = []
        for start in range(0, len(sounds), batch):
            part = list(sounds[start : start + batch])
            features = extractor(part, sampling_rate=RATE_HZ, return_tensors="pt").input_features
            with torch.inference_mode():
                found = model.generate(features, language="en", task="transcribe", num_beams=1)
            texts += [tokenizer.decode(row.tolist()) for row in found]
        return texts

    return run


def in_turns(
    runs: Mapping[str, Engine], sounds: Sequence[Samples]
) -> tuple[dict[str, float], dict[str, float], dict[str, list[str]]]:
    """Seconds that passed, seconds that all cores computed, and texts, by engine."""
    wall_s, cpu_s = dict.fromkeys(runs, 0.0), dict.fromkeys(runs, 0.0)
    heard: dict[str, list[str]] = {name: [] for name in runs}
    for start in range(0, len(sounds), TURN):
        for name, run in runs.items():
            wall, cpu = time.perf_counter(), time.process_time()
            heard[name] += run(sounds[start : start + TURN])
            wall_s[name] += time.perf_counter() - wall
            cpu_s[name] += time.process_time() - cpu
    return wall_s, cpu_s, heard


def main() -> None:
    """Measure and print the table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--data", type=Path, default=Path("../shared/data"))
    parser.add_argument("--count", type=int, default=50)
    arguments = parser.parse_args()
    files = sorted((arguments.data / "speech").glob("*.mp3"))[: arguments.count]
    references = [file.with_suffix(".txt").read_text() for file in files]
    sounds = [read_sound(file) for file in files]
    length_s = sum(sound.size for sound in sounds) / RATE_HZ
    engines: dict[str, Callable[[], Engine]] = {
        "polymodal transcribe, int8": ours,
        "faster-whisper, int8": faster_whisper,
        "transformers, float32, one at a time": lambda: transformers(1),
        "transformers, float32, batches of 8": lambda: transformers(8),
    }
    runs = {name: make() for name, make in engines.items()}
    for run in runs.values():
        run(sounds[:1])  # what is loaded or chosen on first use
    wall_s, cpu_s, heard = in_turns(runs, sounds)
    ours_name = next(iter(runs))
    rows = [
        [
            name,
            f"{wall_s[name] / length_s:.3f}",
            f"{wall_s[name] / wall_s[ours_name]:.1f} x",
            f"{cpu_s[name] / cpu_s[ours_name]:.1f} x",
            f"{word_error_rate(references, heard[name]):.1%}",
        ]
        for name in runs
    ]
    print(markdown(["engine", "real-time factor", "time", "CPU time", "word error rate"], rows))
    packages = conditions("faster-whisper", "ctranslate2", "transformers", "torch")
    print(f"\n{len(files)} sentences, {length_s:.0f} s of speech. {packages}.")


if __name__ == "__main__":
    main()
