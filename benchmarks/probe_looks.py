"""What a probe gains by a closer look, and what it costs.

    python -m benchmarks.probe_looks --data ../shared/data [--draws 8]

Notable: all of it is the product's own path: `Suite.probe`, its file, and `Suite.classify` with it.
Clothing photographs, 50 a class: the first of each, and draws. The starter as it is stands beside
one whose closer look is hidden, which is how probes were before there was one. Accuracy is that on
the 341 photographs of validation; the times are of classifying 96 of them, the median of seven runs
that take turns, on a warm model.
"""

from __future__ import annotations

import argparse
import statistics
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

import polymodal as pm
from benchmarks.tables import conditions, markdown

EACH, TIMED, RUNS = 50, 96, 7


class Plain:
    """An embedder whose closer look is hidden."""

    close_up = None

    def __init__(self, embedder: Any) -> None:
        self._embedder = embedder

    def __getattr__(self, name: str) -> Any:
        return getattr(self._embedder, name)


def photographs(folder: Path) -> dict[str, list[Path]]:
    """Class -> its files."""
    return {each.name: sorted(each.iterdir()) for each in sorted(folder.iterdir())}


def drawn(classes: dict[str, list[Path]], seed: int | None) -> dict[str, list[Path]]:
    """`EACH` photographs a class: the first ones without a seed."""
    if seed is None:
        return {name: files[:EACH] for name, files in classes.items()}
    random = np.random.default_rng(seed)
    return {
        name: [files[place] for place in random.permutation(len(files))[:EACH]]
        for name, files in classes.items()
    }


def accuracy(suite: pm.Suite, probe: Path, asked: dict[str, list[Path]]) -> float:
    """Percent of photographs that get their own class."""
    truth = [name for name, files in asked.items() for _ in files]
    found = suite.classify([file for files in asked.values() for file in files], probe=probe)
    right = [getattr(each, "label", "") == name for each, name in zip(found, truth, strict=True)]
    return 100 * statistics.mean(right)


def times(suites: Sequence[pm.Suite], probes: Sequence[Path], files: list[Path]) -> list[float]:
    """Milliseconds a photograph, of each suite with its probe."""
    seconds: list[list[float]] = [[] for _ in suites]
    for _ in range(RUNS):
        for suite, probe, taken in zip(suites, probes, seconds, strict=True):
            began = time.perf_counter()
            suite.classify(files, probe=probe)
            taken.append(time.perf_counter() - began)
    return [1000 * statistics.median(taken) / len(files) for taken in seconds]


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--data", type=Path, default=Path("../shared/data"))
    parser.add_argument("--draws", type=int, default=8)
    options = parser.parse_args()
    learnt, asked = (
        photographs(options.data / "clothing" / split) for split in ("train", "validation")
    )
    near = pm.Suite("starter")
    looks = {"as an embedding does": pm.Suite(Plain(near.embedder())), "closer": near}
    rows, firsts = [], []
    with tempfile.TemporaryDirectory() as scratch:
        for name, suite in looks.items():
            right, held_out = [], []
            for seed in (None, *range(options.draws)):
                probe = suite.probe(drawn(learnt, seed))
                file = probe.save(Path(scratch) / f"{name}-{seed}.probe")
                right.append(accuracy(suite, file, asked))
                held_out.append(100 * probe.report.accuracy)
            firsts.append(Path(scratch) / f"{name}-None.probe")
            means = [f"{np.mean(each[1:]):.1f}" for each in (right, held_out)]
            size = f"{firsts[-1].stat().st_size / 1e6:.2f}"
            rows.append([name, f"{right[0]:.1f}", *means, size])
        files = [file for each in asked.values() for file in each][:TIMED]
        taken = times(list(looks.values()), firsts, files)
    head = ["looks", "first 50", f"mean of {options.draws} draws", "held out", "file, MB", "ms"]
    table = [[*row, f"{each:.1f}"] for row, each in zip(rows, taken, strict=True)]
    print(markdown(head, table))
    print(conditions())


if __name__ == "__main__":
    main()
