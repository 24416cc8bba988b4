"""What the cache and the journal cost for each picture, beside a model that costs nothing.

    python -m benchmarks.cache_overhead [--images DIR] [--count 1000]

A folder of JPEG files (drawn here unless `--images` names one) goes through a generator that
answers at once (`MockGenerator`), in four ways: neither cache nor journal; both, with an empty
cache; both, with everything in the cache; and only hashing the files. What the first two differ by
is what a model pays for both; the third is what a second run of a folder costs.
"""

from __future__ import annotations

import argparse
import shutil
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from benchmarks.tables import conditions, markdown, median
from polymodal.media.files import find_files, hash_file
from polymodal.media.limits import DEFAULT_LIMITS
from polymodal.media.pictures import open_picture
from polymodal.models.messages import GREEDY, Generation, ImagePart, Message
from polymodal.models.mock import MockGenerator
from polymodal.models.protocols import Generator
from polymodal.runtime.batches import pipelined
from polymodal.runtime.cache import Cache
from polymodal.runtime.cached import through_cache
from polymodal.runtime.journal import Journal
from polymodal.runtime.recorded import recorded

REPEATS = 5
BATCH = 16


def caption(model: Generator, cache: Cache | None, files: Sequence[Path]) -> Iterator[Any]:
    """A caption verb without a network: decode, ask, keep."""

    def compute(sources: Iterator[Path]) -> Iterator[tuple[Path, Generation | Exception]]:
        def prepare(path: Path) -> ImagePart:
            picture = open_picture(path, target_px=model.info.image_size_px, limits=DEFAULT_LIMITS)
            return ImagePart(picture.image, name=str(path))

        def infer(parts: Sequence[ImagePart]) -> list[Any]:
            return list(model.generate([[Message.user(part, "Describe it.")] for part in parts]))

        return pipelined(sources, prepare, infer, batch_size=BATCH)

    return through_cache(
        cache,
        files,
        compute,
        verb="caption",
        model=model.info.fingerprint,
        parameters=GREEDY.to_dict(),
        encode=lambda said: {"caption": said.text} if said.complete else None,
        decode=lambda _, value: Generation(value["caption"]),
    )


def draw(folder: Path, count: int) -> None:
    """Photographs' worth of JPEG bytes: smooth colour and a little noise, 640 x 480."""
    chance = np.random.default_rng(0)
    for number in range(count):
        small = Image.fromarray(chance.integers(0, 255, (6, 8, 3), np.uint8))
        smooth = np.asarray(small.resize((640, 480), Image.Resampling.BICUBIC), np.float32)
        noisy = np.clip(smooth + chance.normal(0, 8, smooth.shape), 0, 255).astype(np.uint8)
        Image.fromarray(noisy).save(folder / f"{number:05}.jpg", quality=88)


def timed(work: Callable[[], Any]) -> float:
    """Seconds."""
    start = time.perf_counter()
    work()
    return time.perf_counter() - start


def measure(files: Sequence[Path], scratch: Path) -> dict[str, float]:
    """Median seconds of each way."""
    found: dict[str, list[float]] = {}
    for repeat in range(REPEATS):
        home = scratch / str(repeat)
        cache, journal = Cache(home / "cache"), Journal(home / "journal")
        model = recorded(MockGenerator(), journal, "caption")
        ways: dict[str, Callable[[], Any]] = {
            "neither": lambda: list(caption(MockGenerator(), None, files)),
            "first run, cache and journal on": lambda: list(caption(model, cache, files)),  # noqa: B023
            "second run": lambda: list(caption(model, cache, files)),  # noqa: B023
            "hashing alone": lambda: [hash_file(path) for path in files],
        }
        for name, way in ways.items():
            found.setdefault(name, []).append(timed(way))
        cache.close()
        journal.close()
    return {name: median(times) for name, times in found.items()}


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--images", type=Path)
    parser.add_argument("--count", type=int, default=1000)
    arguments = parser.parse_args()
    scratch = Path(tempfile.mkdtemp())
    try:
        folder = arguments.images or scratch / "pictures"
        if arguments.images is None:
            folder.mkdir()
            draw(folder, arguments.count)
        files = [path for path in find_files(folder) if isinstance(path, Path)][: arguments.count]
        mean_bytes = sum(path.stat().st_size for path in files) / len(files)
        times = measure(files, scratch)
        rows = [[name, f"{1000 * t / len(files):.2f}"] for name, t in times.items()]
        print(markdown(["a model that answers at once", "ms a picture"], rows))
        print(f"\n{len(files):,} JPEG files of {mean_bytes / 1000:.0f} kB on average, median of")
        print(f"{REPEATS} runs. {conditions('pillow', 'numpy')}.")
    finally:
        shutil.rmtree(scratch, ignore_errors=True)


if __name__ == "__main__":
    main()
