"""A collection of 1,000,000 vectors: time to build, memory of a process that searches, speed.

    python -m benchmarks.search_million [--data DIR] [--count 1000000] [--folder DIR]

A documented run rather than a test: it takes the better part of an hour on two cores and about
6 GB of disk. Vectors are those of `search_data`. They are written through a collection as an
import would, so metadata, their indexes and the search graph are all there. Then a process of its
own opens the collection and searches: its peak memory (VmHWM, mapped files included) is what a
user's process takes.
"""

from __future__ import annotations

import argparse
import json
import resource
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np

from benchmarks import search_data, search_speed
from benchmarks.tables import conditions, markdown
from polymodal.models.mock import MockEmbedder
from polymodal.results import Space, Vector
from polymodal.search import Item, open_collection
from polymodal.search.edge_files import folder_bytes

K = search_speed.K


def peak_bytes() -> int:
    """Most memory that this process has held, mapped files included."""
    for line in Path("/proc/self/status").read_text().splitlines():
        if line.startswith("VmHWM"):
            return int(line.split()[1]) * 1024
    return 0


def items(blocks: Iterator[Vector], keep: Path) -> Iterator[Item]:
    """The blocks as a shop's items; the vectors are also kept to find the true neighbours."""
    random = np.random.default_rng(1)
    with keep.open("wb") as file:
        start = 0
        for block in blocks:
            file.write(block.tobytes())
            prices = random.uniform(0, 1000, len(block)).round(2)
            yield from search_speed.items(block, prices, start)
            start += len(block)


def search(folder: Path, queries: Path) -> None:
    """What the searching process does: report times, rows and memory as JSON."""
    vectors = np.load(queries)
    with open_collection(folder, MockEmbedder) as collection:
        started = time.perf_counter()
        store = collection._access.reading()
        opened_s = time.perf_counter() - started
        times, found = [], []
        for vector in np.concatenate([vectors, vectors]):
            started = time.perf_counter()
            hits = store.query(vector, K)
            times.append(time.perf_counter() - started)
            found.append([int(hit.item.path[6:-4]) for hit in hits])
    half = len(vectors)
    cold, warm = times[:half], times[half:]
    print(
        json.dumps(
            {
                "opened_s": opened_s,
                "cold_ms": 1000 * float(np.median(cold)),
                "p50_ms": 1000 * float(np.median(warm)),
                "p95_ms": 1000 * float(np.percentile(warm, 95)),
                "peak_bytes": peak_bytes(),
                "rows": found[half:],
            }
        )
    )


def truth(vectors: Path, queries: Vector) -> np.ndarray:
    """The true neighbours, a block of the file at a time."""
    rows = np.memmap(vectors, np.float32, "r").reshape(-1, queries.shape[1])
    return search_data.exact_neighbours(rows, queries, K)


def build(folder: Path, real: Vector, count: int) -> tuple[float, int]:
    """Fill the collection; seconds, and the peak memory of this process and its helpers."""
    random = np.random.default_rng(0)
    started = time.perf_counter()
    with open_collection(folder / "shop", MockEmbedder, create=True, write=True) as collection:
        blocks = search_data.enlarged(real, count, random)
        collection.put(items(blocks, folder / "vectors.f32"), Space("benchmark", "1", 512))
    helpers = resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss * 1024
    return time.perf_counter() - started, max(peak_bytes(), helpers)


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--data", type=Path)
    parser.add_argument("--count", type=int, default=1_000_000)
    parser.add_argument("--folder", type=Path, help="where to build; a temporary one by default")
    parser.add_argument("--search", nargs=2, type=Path, help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.search:
        search(*arguments.search)
        return
    with tempfile.TemporaryDirectory(dir=arguments.folder) as temporary:
        folder = Path(temporary)
        real, queries, what = search_speed.seeds(arguments.data)
        queries = queries[:500]
        np.save(folder / "queries.npy", queries)
        build_s, build_bytes = build(folder, real, arguments.count)
        command = [sys.executable, "-m", "benchmarks.search_million", "--search"]
        paths = [str(folder / "shop"), str(folder / "queries.npy")]
        answer = subprocess.run([*command, *paths], check=True, stdout=subprocess.PIPE, text=True)
        told = json.loads(answer.stdout)
        exact = truth(folder / "vectors.f32", queries).tolist()
        disk = folder_bytes(folder / "shop")
    hits = [len(set(a) & set(b)) for a, b in zip(told["rows"], exact, strict=True)]
    rows = [
        ["memory of a searching process, peak", f"{told['peak_bytes'] / 1e9:.2f} GB"],
        ["memory while building, peak", f"{build_bytes / 1e9:.2f} GB"],
        ["recall@10", f"{sum(hits) / (K * len(hits)):.3f}"],
        ["search, p50 / p95, warm", f"{told['p50_ms']:.2f} / {told['p95_ms']:.2f} ms"],
        ["search, p50, first time", f"{told['cold_ms']:.2f} ms"],
        ["opening the collection", f"{told['opened_s']:.2f} s"],
        ["writing and building the graph", f"{build_s / 60:.0f} min"],
        ["on disk", f"{disk / 1e9:.2f} GB"],
    ]
    print(markdown([f"{arguments.count:,} vectors", ""], rows))
    print(f"\n{what}; {conditions('qdrant-edge-py')}")


if __name__ == "__main__":
    main()
