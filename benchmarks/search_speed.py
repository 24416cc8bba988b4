"""Search among 100,000 vectors: a collection's store beside faiss HNSW and LanceDB's scan.

    python -m benchmarks.search_speed [--data DIR] [--count 100000] [--rounds 7]

Needs faiss-cpu and lancedb beside polymodal. `--data` is a folder with `images/` and
`captions.jsonl` (Flickr8k); see `search_data` for how its vectors are enlarged to `--count`, and
what stands in for them without it.

- ours: the store as `Collection.search` calls it when the text is embedded: graph, rescoring, and
  the hits with path and metadata;
- faiss: IndexHNSWFlat, M=32, efConstruction=200; efSearch is the least whose recall@10 reaches
  ours. It gives row numbers only;
- LanceDB: its default, a scan of all vectors, with path and metadata.

One query at a time. faiss and the store use one thread a query; LanceDB uses the threads it takes.
The systems take turns on every block of queries, so a busy moment of the machine hits all alike.
"""

from __future__ import annotations

import argparse
import hashlib
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks import search_data
from benchmarks.tables import conditions, markdown
from polymodal.results import Space, Vector
from polymodal.search.filters import to_filter
from polymodal.search.store import Item

K = 10
DIMENSION = 512
WARM_UP = 5
FILTER = "price < 50"
"""Prices are uniform in 0..1000, so this passes 5 %."""
CATEGORIES = ("saree", "jeans", "shirt", "shoes", "lamp", "bag")

CACHE_HELP = "an .npz file that keeps the embedded photographs for the next run"

Search = Callable[[Vector], list[int]]


@dataclass
class System:
    """One way to search, and what was measured of it."""

    name: str
    search: Search
    times_s: list[float] = field(default_factory=list)
    found: dict[int, list[int]] = field(default_factory=dict)

    def recall(self, truth: np.ndarray) -> float:
        """Share of the true neighbours that were found."""
        hits = [len(set(self.found[i]) & set(truth[i].tolist())) for i in self.found]
        return sum(hits) / (K * len(hits))

    def percentile_ms(self, percent: float) -> float:
        """Of the time of a query."""
        return 1000 * float(np.percentile(self.times_s, percent))


def items(vectors: Vector, prices: np.ndarray, first: int = 0) -> Iterator[Item]:
    """The vectors as a shop's items, numbered from `first`."""
    for row, vector in enumerate(vectors, first):
        category = CATEGORIES[row % len(CATEGORIES)]
        about = {
            "price": float(prices[row - first]),
            "category": category,
            "title": f"{category} no. {row}",
        }
        identity = hashlib.sha256(str(row).encode()).hexdigest()
        yield Item(identity, f"/shop/{row}.jpg", vector, about, bytes=50_000)


def seeds(folder: Path | None, cache: Path | None = None) -> tuple[Vector, Vector, str]:
    """Vectors to enlarge, queries, and what they are; taken from the cache where it exists."""
    if folder is not None and cache is not None:
        if not cache.exists():
            real, queries, what = seeds(folder)
            np.savez(cache, real=real, queries=queries, what=np.array(what))
        kept = np.load(cache)
        return kept["real"], kept["queries"], str(kept["what"])
    if folder is None:
        random = np.random.default_rng(0)
        real = search_data.clustered(9_000, DIMENSION, random)
        return real[1000:], real[:1000], "clumps of synthetic vectors"
    from polymodal import Suite

    embedder = Suite().embedder()
    real = search_data.embedded(embedder, folder / "images")
    queries = embedder.embed_texts(search_data.captions(folder / "captions.jsonl"))
    return real, queries, f"{len(real):,} photographs of Flickr8k through the starter, enlarged"


def ours(vectors: Vector, prices: np.ndarray, folder: Path) -> tuple[Search, Search]:
    """Plain and filtered search of a collection's store, with the graph built."""
    from polymodal.models.mock import MockEmbedder
    from polymodal.search import open_collection

    collection = open_collection(folder / "shop", MockEmbedder, create=True, write=True)
    collection.put(items(vectors, prices), Space("benchmark", "1", vectors.shape[1]))
    store = collection._access.reading()
    where = to_filter(FILTER)

    def rows(found: Sequence[Any]) -> list[int]:
        return [int(one.item.path[6:-4]) for one in found]

    return (
        lambda query: rows(store.query(query, K)),
        lambda query: rows(store.query(query, K, where)),
    )


def faiss_hnsw(vectors: Vector) -> Any:
    """The index, built with all threads, to be searched with one."""
    import faiss

    index = faiss.IndexHNSWFlat(vectors.shape[1], 32, faiss.METRIC_INNER_PRODUCT)
    index.hnsw.efConstruction = 200
    index.add(vectors)
    faiss.omp_set_num_threads(1)
    return index


def faiss_search(index: Any) -> Search:
    """Search of the index at the efSearch that it has."""
    return lambda query: index.search(query[None], K)[1][0].tolist()


def reach(index: Any, recall: float, queries: Vector, truth: np.ndarray) -> int:
    """Set the least efSearch whose recall@10 is at least `recall`."""
    for ef in [*range(12, 64, 4), *range(64, 512, 16)]:
        index.hnsw.efSearch = ef
        found = index.search(queries, K)[1]
        hits = [len(set(a) & set(b)) for a, b in zip(found.tolist(), truth.tolist(), strict=True)]
        if sum(hits) >= recall * K * len(queries):
            return ef
    raise SystemExit(f"faiss does not reach recall {recall:.3f}")


def lance(vectors: Vector, prices: np.ndarray, folder: Path) -> tuple[Search, Search]:
    """Plain and filtered scan of a LanceDB table."""
    import lancedb
    import pyarrow as arrow

    flat = arrow.FixedSizeListArray.from_arrays(arrow.array(vectors.ravel()), vectors.shape[1])
    rows = range(len(vectors))
    columns = {
        "vector": flat,
        "row": list(rows),
        "path": [f"/shop/{row}.jpg" for row in rows],
        "price": prices,
        "category": [CATEGORIES[row % len(CATEGORIES)] for row in rows],
        "title": [f"{CATEGORIES[row % len(CATEGORIES)]} no. {row}" for row in rows],
    }
    table = lancedb.connect(folder / "lance").create_table("shop", arrow.table(columns))
    shown = ["row", "path", "price", "category", "title"]

    def query(vector: Vector, where: str | None) -> list[int]:
        search = table.search(vector).distance_type("cosine").limit(K).select([*shown, "_distance"])
        search = search.where(where) if where else search
        return [row["row"] for row in search.to_list()]

    return lambda vector: query(vector, None), lambda vector: query(vector, FILTER)


def measure(systems: Sequence[System], queries: Vector, rounds: int) -> None:
    """Let the systems take turns, each warmed by a few queries since another one has filled the
    processor's caches; what scans gets fewer of the queries."""
    slow = set()
    for system in systems:
        started = time.perf_counter()
        for query in queries[:WARM_UP]:
            system.search(query)
        if (time.perf_counter() - started) / WARM_UP > 0.1:
            slow.add(system.name)
    size = len(queries) // rounds
    for turn in range(rounds):
        block = range(turn * size, (turn + 1) * size)
        for system in systems:
            for query in queries[block.start : block.start + WARM_UP]:
                system.search(query)
            for i in block[:WARM_UP] if system.name in slow else block:
                started = time.perf_counter()
                found = system.search(queries[i])
                system.times_s.append(time.perf_counter() - started)
                system.found[i] = found


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--data", type=Path)
    parser.add_argument("--cache", type=Path, help=CACHE_HELP)
    parser.add_argument("--count", type=int, default=100_000)
    parser.add_argument("--rounds", type=int, default=7)
    arguments = parser.parse_args()
    real, queries, what = seeds(arguments.data, arguments.cache)
    random = np.random.default_rng(0)
    vectors = np.concatenate(list(search_data.enlarged(real, arguments.count, random)))
    prices = np.random.default_rng(1).uniform(0, 1000, len(vectors)).round(2)
    truth = search_data.exact_neighbours(vectors, queries, K)
    passing = np.flatnonzero(prices < 50)
    filtered_truth = passing[search_data.exact_neighbours(vectors[passing], queries, K)]
    with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as folder:
        plain, filtered = ours(vectors, prices, Path(folder))
        index = faiss_hnsw(vectors)
        scan, filtered_scan = lance(vectors, prices, Path(folder))
        trial = System("trial", plain, found={i: plain(q) for i, q in enumerate(queries)})
        ef = reach(index, trial.recall(truth), queries, truth)
        systems = [
            System("**polymodal** (Qdrant Edge, hits with metadata)", plain),
            System(f"faiss HNSW, M=32, efSearch={ef} (row numbers)", faiss_search(index)),
            System("LanceDB, default scan", scan),
            System("**polymodal**, 5 % filter", filtered),
            System("LanceDB, 5 % filter", filtered_scan),
        ]
        measure(systems, queries, arguments.rounds)
    first = systems[0].percentile_ms(50)
    rows = [
        [
            system.name,
            f"{system.recall(filtered_truth if '%' in system.name else truth):.3f}",
            f"{system.percentile_ms(50):.2f}",
            f"{system.percentile_ms(95):.2f}",
            f"{system.percentile_ms(50) / first:.2f}x",
        ]
        for system in systems
    ]
    print(markdown(["search", "recall@10", "p50, ms", "p95, ms", "p50, of ours"], rows))
    print(
        f"\n{len(vectors):,} vectors of {vectors.shape[1]} ({what}), {len(queries):,} queries,"
        f" {arguments.rounds} rounds; {conditions('qdrant-edge-py', 'faiss-cpu', 'lancedb')}"
    )


if __name__ == "__main__":
    main()
