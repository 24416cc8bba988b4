"""What else a probe could look at: `python -m recipes.starter.probestudy --data DIR`.

Notable: the last row is nearly what is shipped (`src/polymodal/models/starter_close.py`).
The image tower is convolutional and takes squares of any size; beside its features, the cells of
its last grid say where something is. Sixteen draws of 50 clothing photographs a class are scored
on validation, and by leave-one-out among themselves, which validation has no part in. Ridge
regression as `polymodal probe` does it, in its kernel form: each block of features is standardised
and weighs the same.
About four minutes of one core. `LOG.md` has the table and what was concluded.

Shapes: N pictures, F features, P cells, C channels or classes.
"""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime as ort
from numpy.typing import NDArray

from recipes.starter import data
from recipes.starter.manifest import WEIGHTS

Floats = NDArray[np.float32]
DRAWS, EACH = 16, 50
SIDE = 5  # cells of the grid, each way, at 320 pixels
STRENGTHS = np.geomspace(1e-4, 1.0, 9)
TEMPERATURES = np.geomspace(0.01, 2.0, 40)


def tower() -> Any:
    """The shipped image tower."""
    options = ort.SessionOptions()
    options.intra_op_num_threads = 1
    return ort.InferenceSession(str(WEIGHTS / "embedder" / "image.onnx"), options)


def look(paths: list[Path], size: int, mirrored: bool) -> tuple[Floats, Floats]:
    """Features [N, F], and square roots of the grid's cells [N, P * C], left and right averaged."""
    session = tower()
    features, cells = [], []
    for path in paths:
        pixels = np.ascontiguousarray(data.load_square(path, size, mirrored))
        seen, grid = session.run(["features", "grid"], {"pixels": pixels[None]})
        places = grid[0].reshape(size // 32, size // 32, -1)
        rows = np.array_split(places, SIDE)
        mean = np.stack([[c.mean((0, 1)) for c in np.array_split(r, SIDE, 1)] for r in rows])
        features.append(seen[0])
        cells.append(np.sqrt((mean + mean[:, ::-1]) / 2).ravel().astype(np.float16))
    return np.stack(features), np.stack(cells)


def kernel(seen_NF: Floats, train: int, asked_NF: Floats | None = None) -> Floats:
    """Inner products of all pictures with the training ones, standardised, a mean over features."""
    seen_NF = seen_NF.astype(np.float32)
    asked_NF = seen_NF if asked_NF is None else asked_NF.astype(np.float32)
    mean, spread = seen_NF[:train].mean(0), seen_NF[:train].std(0) + 1e-3 * seen_NF[:train].std()
    learnt = (seen_NF[:train] - mean) / spread
    product: Floats = (asked_NF - mean) / spread @ learnt.T / seen_NF.shape[1]
    # What is learnt from is always as it was seen in training.
    product[:train] = learnt @ learnt.T / seen_NF.shape[1]
    return product


def loss(scores: NDArray[np.float64], labels: NDArray[np.int64]) -> float:
    """Log loss at the best temperature."""
    found = []
    for temperature in TEMPERATURES:
        logits = scores / temperature
        logits = logits - logits.max(1, keepdims=True)
        chances = logits - np.log(np.exp(logits).sum(1, keepdims=True))
        found.append(-chances[np.arange(len(labels)), labels].mean())
    return float(min(found))


def ridge(
    learnt: Floats, asked: Floats, labels: NDArray[np.int64]
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Scores of what is asked, and leave-one-out scores, at the strength with their least loss."""
    target = np.eye(labels.max() + 1)[labels]
    prior, row = target.mean(0), learnt.mean(0)
    centred = (learnt - row - row[:, None] + row.mean()).astype(np.float64)
    values, vectors = np.linalg.eigh(centred)
    values = np.maximum(values, 0)
    inside = vectors.T @ (target - prior)
    best: tuple[float, float, NDArray[np.float64]] | None = None
    for strength in STRENGTHS * values.mean():
        share = values / (values + strength)
        left = target - prior - (vectors * share) @ inside
        held_out = target - left / (1 + 1e-9 - vectors**2 @ share - 1 / len(labels))[:, None]
        cost = loss(held_out, labels)
        if best is None or cost < best[0]:
            best = cost, float(strength), held_out
    assert best is not None
    weights = vectors @ (inside / (values + best[1])[:, None])
    return prior + (asked - asked.mean(1, keepdims=True) - row + row.mean()) @ weights, best[2]


def score(name: str, product: Floats, labels: NDArray[np.int64], train: int) -> None:
    """A row of the table."""
    right, held_out = [], []
    for seed in range(DRAWS):
        rng = np.random.default_rng(seed)
        rows = np.concatenate(
            [
                rng.permutation(np.flatnonzero(labels[:train] == c))[:EACH]
                for c in range(labels.max() + 1)
            ]
        )
        found, left_out = ridge(product[np.ix_(rows, rows)], product[train:, rows], labels[rows])
        right.append(100 * (found.argmax(1) == labels[train:]).mean())
        held_out.append(100 * (left_out.argmax(1) == labels[rows]).mean())
    print(
        f"| {name} | {np.mean(right):.2f} | {np.std(right):.2f} | {np.mean(held_out):.2f} |",
        flush=True,
    )


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--data", type=Path, required=True)
    options = parser.parse_args()
    parts = [data.clothing(options.data, split) for split in ("train", "validation")]
    paths, train = parts[0].paths + parts[1].paths, len(parts[0].paths)
    labels = np.concatenate([part.labels for part in parts])
    print("| what is seen | validation | spread of draws | leave-one-out |\n|---|---|---|---|")
    for size in (256, 320):
        own, cells = look(paths, size, False)
        pair = (own + look(paths, size, True)[0]) / 2
        alone = kernel(pair, train, own)
        score(f"{size} px; mirrored in training", alone, labels, train)
        both = kernel(pair, train)
        score(f"{size} px; mirrored in training and after", both, labels, train)
        with_cells = alone + kernel(cells, train)
        score(f"{size} px and cells; mirrored in training", with_cells, labels, train)


if __name__ == "__main__":
    main()
