"""What reordering the first hits by the captioner gains: recall before and after, on Flickr8k dev.

    python -m benchmarks.rerank --data ../shared/data [--top 50]

A query is one caption of each of the 1,000 photographs, which all are searched. The weight of the
likelihood beside the cosine is chosen on the queries of one half of the photographs, by recall@1;
the table is of the other half. `LIKELIHOOD_WEIGHT` in tasks/likelihood.py is that choice.
"""

from __future__ import annotations

import argparse
import json
import time
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

import polymodal as pm
from benchmarks.tables import conditions, markdown
from polymodal.media.pictures import open_picture
from polymodal.models.describing import TextScorer
from polymodal.runtime.intervals import wilson
from polymodal.tasks.likelihood import LIKELIHOOD_WEIGHT

WEIGHTS = (0.0, 0.002, 0.005, 0.01, 0.015, 0.02, 0.03, 0.05, 0.1)
DEPTHS = (1, 5, 10)


def measure(data: Path, top: int) -> tuple[dict[float, NDArray[np.int64]], float]:
    """By weight, the rank of the right photograph for every query; and seconds a query."""
    folder = data / "flickr8k"
    rows = [json.loads(line) for line in (folder / "captions.jsonl").read_text().splitlines()]
    dev = [row for row in rows if row["split"] == "dev"]
    suite = pm.Suite(cache=False, journal=False)
    captioner, embedder = suite.captioner(), suite.embedder()
    assert isinstance(captioner, TextScorer)
    pixels = [captioner.preprocess(open_picture(folder / row["image"]).image) for row in dev]
    sights = captioner.look(pixels)
    images = np.stack([sight.embedding for sight in sights])
    queries = [row["captions"][number % 5] for number, row in enumerate(dev)]
    cosines = embedder.embed_texts(queries) @ images.T
    ranks: dict[float, list[int]] = {weight: [] for weight in WEIGHTS}
    started = time.perf_counter()
    for right, query in enumerate(queries):
        first = np.argsort(-cosines[right], kind="stable")[:top]
        own = np.flatnonzero(first == right)
        likely = np.array(captioner.score_text([sights[place] for place in first], query))
        for weight in WEIGHTS:
            scores = cosines[right, first] + weight * likely
            rank = int((scores > scores[own[0]]).sum()) if len(own) else len(dev)
            ranks[weight].append(rank)
    seconds = (time.perf_counter() - started) / len(queries)
    return {weight: np.array(each) for weight, each in ranks.items()}, seconds


def main() -> None:
    """Choose, count, print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--data", type=Path, default=Path("../shared/data"))
    parser.add_argument("--top", type=int, default=50)
    arguments = parser.parse_args()
    ranks, seconds = measure(arguments.data, arguments.top)
    tune, report = slice(0, None, 2), slice(1, None, 2)
    best = max(WEIGHTS, key=lambda weight: float((ranks[weight][tune] == 0).mean()))
    for weight in WEIGHTS:
        print(
            f"weight {weight:<6} recall@1 on the first half {(ranks[weight][tune] == 0).mean():.1%}"
        )
    print(f"chosen: {best}; in tasks/likelihood.py: {LIKELIHOOD_WEIGHT}\n")
    table = []
    for name, weight in (("search", 0.0), (f"--rerank starter --top {arguments.top}", best)):
        found = ranks[weight][report]
        low, high = wilson(int((found == 0).sum()), len(found))
        shares = [f"{(found < depth).mean():.1%}" for depth in DEPTHS]
        table.append([name, *shares, f"{low:.1%} to {high:.1%}"])
    header = ["500 queries", *(f"recall@{depth}" for depth in DEPTHS), "recall@1, 95 %"]
    print(markdown(header, table))
    before, after = ranks[0.0][report] == 0, ranks[best][report] == 0
    won, lost = (after & ~before).sum(), (before & ~after).sum()
    print(f"\nFirst now and not before: {won}; the reverse: {lost}.")
    print(f"{1000 * seconds:.0f} ms a query, pictures seen before; {conditions('onnxruntime')}")


if __name__ == "__main__":
    main()
