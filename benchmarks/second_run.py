"""The same `polymodal caption FOLDER` twice: the second run answers from the cache.

    python -m benchmarks.second_run [--images DIR] [--count 1000] [--rounds 3] [--model starter]

Both runs are whole commands, from starting the process to its end, with an empty cache before each
first run; after each come `AGAIN` runs that find all in the cache. What they print must be the same
to the last byte, or nothing is reported. The first run costs a model's time for every picture; the
second a process and a hash and a look-up for each, so the ratio grows with the folder until the
process's start no longer counts: two sizes are measured.
"""

from __future__ import annotations

import argparse
import os
import shutil
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from benchmarks.tables import conditions, markdown, median

SMALL = 100
AGAIN = 5
KEPT = ("PATH", "HOME", "LANG", "PYTHONPATH")


def run(model: str, folder: Path, home: Path) -> tuple[float, bytes]:
    """Seconds of one command, and what it printed."""
    environment = {name: os.environ[name] for name in KEPT if name in os.environ}
    environment["POLYMODAL_HOME"] = str(home)
    command = [sys.executable, "-m", "polymodal", "caption", "-m", model, "--json", str(folder)]
    start = time.perf_counter()
    found = subprocess.run(command, check=True, capture_output=True, env=environment)
    return time.perf_counter() - start, found.stdout


def measure(model: str, folder: Path, scratch: Path, rounds: int) -> tuple[float, float]:
    """Median seconds of the first runs and of those after them."""
    first: list[float] = []
    again: list[float] = []
    for number in range(rounds):
        home = scratch / f"home-{folder.name}-{number}"
        seconds, expected = run(model, folder, home)
        first.append(seconds)
        for _ in range(AGAIN):
            seconds, printed = run(model, folder, home)
            again.append(seconds)
            if printed != expected:
                raise SystemExit(f"a second run over {folder} printed something else")
    return median(first), median(again)


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--images", type=Path, default=Path("../shared/data/flickr8k/images"))
    parser.add_argument("--count", type=int, default=1000)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--model", default="starter")
    arguments = parser.parse_args()
    files = sorted(arguments.images.glob("*.jpg"))
    rows = []
    with tempfile.TemporaryDirectory() as place:
        for count in sorted({min(SMALL, arguments.count), min(arguments.count, len(files))}):
            folder = Path(place) / str(count)
            folder.mkdir()
            for file in files[:count]:
                shutil.copy(file, folder)
            first, second = measure(arguments.model, folder, Path(place), arguments.rounds)
            rows.append([f"{count:,}", f"{first:.1f}", f"{second:.3f}", f"{first / second:.0f}x"])
    print(markdown(["photographs", "first run, s", "second run, s", "faster"], rows))
    runs = f"Medians of {arguments.rounds} and {arguments.rounds * AGAIN} runs"
    print(f"\n{runs}; {conditions('onnxruntime', 'pillow')}")


if __name__ == "__main__":
    main()
