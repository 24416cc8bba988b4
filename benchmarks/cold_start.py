"""Wall time of a new process: `--help`, and a text search in a small collection.

    python -m benchmarks.cold_start [--rounds 11] [--peer-python PATH]

The peer is the least any torch-based tool pays before it has loaded a single weight:
`import torch, open_clip`, run with the interpreter `--peer-python` (an environment that has them).
Rounds alternate between the commands; medians are printed. Files are warm in the page cache.
"""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from benchmarks.tables import conditions, markdown, median

KEPT = ("PATH", "HOME", "LANG", "PYTHONPATH")


def wall_s(command: list[str], environment: dict[str, str]) -> float:
    """Seconds a process takes from start to exit."""
    start = time.perf_counter()
    subprocess.run(command, check=True, capture_output=True, env=environment)
    return time.perf_counter() - start


def draw_pictures(folder: Path, count: int) -> None:
    """A folder of plain coloured pictures, enough to have something to search."""
    from PIL import Image

    for i in range(count):
        Image.new("RGB", (64, 64), (i * 7 % 256, i * 13 % 256, i * 29 % 256)).save(
            folder / f"{i}.png"
        )


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=11)
    parser.add_argument("--peer-python", default=None)
    arguments = parser.parse_args()
    polymodal = [sys.executable, "-m", "polymodal"]
    with tempfile.TemporaryDirectory() as folder:
        pictures = Path(folder) / "pictures"
        pictures.mkdir()
        draw_pictures(pictures, 50)
        # A developer's settings (no bytecode kept, traces of other languages) cost a quarter more.
        kept = {name: os.environ[name] for name in KEPT if name in os.environ}
        environment = {**kept, "POLYMODAL_HOME": str(Path(folder) / "home")}
        collection = str(Path(folder) / "collection")
        wall_s([*polymodal, "add", str(pictures), "--collection", collection], environment)
        commands = {
            "python -c pass": [sys.executable, "-c", "pass"],
            "polymodal --help": [*polymodal, "--help"],
            'polymodal search "a red dress"': [
                *polymodal,
                "search",
                "a red dress",
                "--collection",
                collection,
            ],
        }
        if arguments.peer_python:
            commands["peer: import torch, open_clip"] = [
                arguments.peer_python,
                "-c",
                "import torch, open_clip",
            ]
        times: dict[str, list[float]] = {name: [] for name in commands}
        for _ in range(arguments.rounds):
            for name, command in commands.items():
                times[name].append(wall_s(command, environment))
    ours = median(times['polymodal search "a red dress"'])
    rows = [
        [
            f"`{name}`",
            f"{median(values):.2f} s",
            f"{max(values):.2f} s",
            f"{median(values) / ours:.2f}x",
        ]
        for name, values in times.items()
    ]
    print(markdown(["process", "median", "slowest", "of our search"], rows))
    print(f"\n{arguments.rounds} rounds; {conditions('onnxruntime', 'qdrant-edge-py')}")


if __name__ == "__main__":
    main()
