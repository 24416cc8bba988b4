"""A collection of 1,000,000 vectors: time to build, memory of a process that searches, speed.

    python -m benchmarks.search_million [--data DIR] [--count 1000000] [--folder DIR]

A documented run rather than a test: it takes an hour or more on two cores and about 10 GB of disk.
Vectors are those of `search_data`. They are written through a collection as an import would, so
metadata, their indexes and the search graph are all there. Then a process of its own opens the
collection and searches: its peak memory (VmHWM, mapped files included) is what a user's process
takes. Mapped files count as far as queries have touched them; the system takes these pages back
when it needs them. `--folder` keeps what was built, and a second run with it only searches.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import resource
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import psutil

from benchmarks import search_data, search_speed
from benchmarks.tables import conditions, markdown
from polymodal.models.mock import MockEmbedder
from polymodal.results import Space, Vector
from polymodal.search import Item, open_collection
from polymodal.search.edge_files import folder_bytes

K = search_speed.K
QUERIES = 1000


def memory_now(kind: str) -> int:
    """Memory of this process of a kind that /proc/self/status names, in bytes."""
    for line in Path("/proc/self/status").read_text().splitlines():
        if line.startswith(kind):
            return int(line.split()[1]) * 1024
    return 0


@contextlib.contextmanager
def own_memory(peaks: dict[str, float]) -> Iterator[None]:
    """Look ten times a second at what this process and its children hold beside mapped files; the
    greatest amounts go into `peaks`."""
    done = threading.Event()

    def own(process: psutil.Process) -> int:
        with contextlib.suppress(psutil.Error):  # it may have ended
            told = process.memory_info()
            return int(told.rss - told.shared)
        return 0

    def look() -> None:
        here = psutil.Process()
        while not done.wait(0.1):
            peaks["write_own_bytes"] = max(peaks.get("write_own_bytes", 0), own(here))
            children = max((own(each) for each in here.children()), default=0)
            peaks["graph_own_bytes"] = max(peaks.get("graph_own_bytes", 0), children)

    watcher = threading.Thread(target=look, daemon=True)
    watcher.start()
    try:
        yield
    finally:
        done.set()
        watcher.join()


def items(blocks: Iterator[Vector], keep: Path) -> Iterator[Item]:
    """The blocks as a shop's items; the vectors are also kept to find the true neighbours."""
    random = np.random.default_rng(1)
    started = time.perf_counter()
    with keep.open("wb") as file:
        start = 0
        for block in blocks:
            file.write(block.tobytes())
            prices = random.uniform(0, 1000, len(block)).round(2)
            yield from search_speed.items(block, prices, start)
            start += len(block)
            told = f"{start:,} items written in {time.perf_counter() - started:.0f} s"
            print(f"{told}, {memory_now('VmHWM') / 1e9:.2f} GB", file=sys.stderr, flush=True)


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
    told = {
        "opened_s": opened_s,
        "first_ms": 1000 * float(np.median(cold)),
        "p50_ms": 1000 * float(np.median(warm)),
        "p95_ms": 1000 * float(np.percentile(warm, 95)),
        "peak_bytes": memory_now("VmHWM"),
        "own_bytes": memory_now("RssAnon"),
        "rows": found[half:],
    }
    print(json.dumps(told))


def truth(vectors: Path, queries: Vector) -> np.ndarray:
    """The true neighbours, a block of the file at a time."""
    rows = np.memmap(vectors, np.float32, "r").reshape(-1, queries.shape[1])
    return search_data.exact_neighbours(rows, queries, K)


def build(folder: Path, real: Vector, count: int) -> dict[str, float]:
    """Fill the collection; times, and the peak memory of this process and of the one that builds
    the graph. What was measured is kept beside it."""
    measured = folder / "built.json"
    if measured.exists():
        kept: dict[str, float] = json.loads(measured.read_text())
        return kept
    blocks = search_data.enlarged(real, count, np.random.default_rng(0))
    started = time.perf_counter()
    written = started

    def noted() -> Iterator[Item]:
        nonlocal written
        yield from items(blocks, folder / "vectors.f32")
        written = time.perf_counter()

    peaks: dict[str, float] = {}
    shop = open_collection(folder / "shop", MockEmbedder, create=True, write=True)
    with own_memory(peaks), shop as collection:
        collection.put(noted(), Space("benchmark", "1", real.shape[1]))
    told = {
        **peaks,
        "count": count,
        "write_s": written - started,
        "graph_s": time.perf_counter() - written,
        "write_bytes": memory_now("VmHWM"),
        "graph_bytes": resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss * 1024,
    }
    measured.write_text(json.dumps(told))
    return told


def work(built: dict[str, float], kind: str) -> list[str]:
    """The table's row about writing, or about building the graph."""
    name = {"write": "writing", "graph": "building the graph"}[kind]
    peak, own = built[f"{kind}_bytes"] / 1e9, built[f"{kind}_own_bytes"] / 1e9
    told = f"{built[f'{kind}_s'] / 60:.1f} min, peak {peak:.2f} GB"
    return [name, f"{told} ({own:.2f} not mapped files)"]


def run(folder: Path, arguments: argparse.Namespace) -> None:
    """Build, search in another process, and print the table."""
    real, queries, what = search_speed.seeds(arguments.data, arguments.cache)
    queries = queries[:QUERIES]
    np.save(folder / "queries.npy", queries)
    built = build(folder, real, arguments.count)
    command = [sys.executable, "-m", "benchmarks.search_million", "--search"]
    paths = [str(folder / "shop"), str(folder / "queries.npy")]
    answer = subprocess.run([*command, *paths], check=True, stdout=subprocess.PIPE, text=True)
    told = json.loads(answer.stdout)
    exact = truth(folder / "vectors.f32", queries).tolist()
    hits = [len(set(a) & set(b)) for a, b in zip(told["rows"], exact, strict=True)]
    rows = [
        ["memory of a searching process, peak", f"{told['peak_bytes'] / 1e9:.2f} GB"],
        ["of that not mapped files", f"{told['own_bytes'] / 1e9:.2f} GB"],
        ["recall@10", f"{sum(hits) / (K * len(hits)):.3f}"],
        ["search, p50 / p95, warm", f"{told['p50_ms']:.2f} / {told['p95_ms']:.2f} ms"],
        ["search, p50, first time", f"{told['first_ms']:.2f} ms"],
        ["opening the collection", f"{told['opened_s']:.2f} s"],
        *(work(built, kind) for kind in ("write", "graph")),
        ["on disk", f"{folder_bytes(folder / 'shop') / 1e9:.2f} GB"],
    ]
    print(markdown([f"{built['count']:,} vectors of {real.shape[1]}", ""], rows))
    notes = "".join(f"; {note}" for note in arguments.note)
    about = f"{what}; {len(queries)} queries, each twice{notes}"
    print(f"\n{about}; {conditions('qdrant-edge-py')}")


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--data", type=Path)
    parser.add_argument("--cache", type=Path, help=search_speed.CACHE_HELP)
    parser.add_argument("--count", type=int, default=1_000_000)
    parser.add_argument("--folder", type=Path, help="build there and keep it")
    parser.add_argument("--note", nargs="*", default=[], help="what to say below the table")
    parser.add_argument("--search", nargs=2, type=Path, help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.search:
        search(*arguments.search)
    elif arguments.folder:
        arguments.folder.mkdir(parents=True, exist_ok=True)
        run(arguments.folder, arguments)
    else:
        with tempfile.TemporaryDirectory() as temporary:
            run(Path(temporary), arguments)


if __name__ == "__main__":
    main()
