"""The image tower's grids, once: reduced to their principal directions and kept as float16.

Notable: a grid of 64 places x 2560 numbers is far more than a small decoder needs. The first 512
principal directions of training places hold most of what varies; the projection into them is one
matrix, which the exported projector absorbs, so that nothing of it remains at run time.

Shapes: N photographs, P places (64), G numbers a place (2560), K principal directions.
"""

from __future__ import annotations

import sys
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from recipes.starter import data

SIZE = 256
PLACES = 64
WIDTH = 2560
DIRECTIONS = 512
BASIS_PHOTOGRAPHS = 600
BATCH = 8
TOWER_FILE = "image.onnx"

Grid = NDArray[np.float32]
Run = Callable[[NDArray[np.uint8]], Grid]
"""uint8 pixels [B, 256, 256, 3] to grids [B, 64, 2560]."""


def tower(paths: list[Path], threads: int) -> Run:
    """The grids of ONNX files with an input `pixels` and an output `grid`, side by side.

    One file may give both backbones ([B, 64, 2560]); several give one each ([B, 1280, 8, 8]).
    """
    import onnxruntime as ort

    options = ort.SessionOptions()
    options.intra_op_num_threads = threads
    options.add_session_config_entry("session.intra_op.allow_spinning", "0")
    options.log_severity_level = 3
    sessions: list[Any] = [
        ort.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])
        for path in paths
    ]

    def run(pixels_BHWC: NDArray[np.uint8]) -> Grid:
        grids = [session.run(["grid"], {"pixels": pixels_BHWC})[0] for session in sessions]
        flat = [
            grid.reshape(len(grid), grid.shape[1], -1).transpose(0, 2, 1)
            if grid.ndim == 4
            else grid
            for grid in grids
        ]
        return np.concatenate(flat, axis=2)

    return run


def read(paths: list[Path], mirrored: bool) -> NDArray[np.uint8]:
    """Pixels of photographs."""
    return np.stack([data.load_square(path, SIZE, mirrored) for path in paths])


def find_basis(run: Run, paths: list[Path]) -> dict[str, Grid]:
    """Mean [G], directions [G, K] scaled to unit variance of the first, and the share they hold."""
    picked = np.random.default_rng(0).permutation(len(paths))[:BASIS_PHOTOGRAPHS]
    total, outer, count = np.zeros(WIDTH), np.zeros((WIDTH, WIDTH)), 0
    for rows in data.batches(len(picked), BATCH):
        places = run(read([paths[i] for i in picked[rows]], False)).reshape(-1, WIDTH)
        total += places.sum(0)
        outer += places.T @ places
        count += len(places)
    mean = total / count
    values, vectors = np.linalg.eigh(outer / count - np.outer(mean, mean))
    kept = vectors[:, ::-1][:, :DIRECTIONS]
    share = values[::-1][:DIRECTIONS].sum() / values.sum()
    print(f"{DIRECTIONS} directions hold {share:.3f} of the variance", file=sys.stderr)
    scale = 1 / np.sqrt(values[::-1][:DIRECTIONS].mean())
    return {
        "mean": mean.astype(np.float32),
        "directions": (kept * scale).astype(np.float32),
        "share": np.float32(share).reshape(1),
    }


def path_of(cache: Path, split: str, view: int) -> Path:
    """Where the reduced grids of a view are stored; view 1 is the mirror image."""
    return cache / f"{split}_{view}.grid.npy"


def compute(run: Run, basis: dict[str, Grid], paths: list[Path], mirrored: bool, out: Path) -> None:
    """Write the reduced grids [N, P, K] of one view; files are read while the tower runs."""
    part = out.with_suffix(".part.npy")
    shape = (len(paths), PLACES, DIRECTIONS)
    kept = np.lib.format.open_memmap(str(part), "w+", np.float16, shape)
    jobs, began = list(data.batches(len(paths), BATCH)), time.monotonic()
    with ThreadPoolExecutor(1) as pool:
        ahead = pool.submit(read, paths[jobs[0]], mirrored)
        for number, rows in enumerate(jobs):
            pixels = ahead.result()
            if number + 1 < len(jobs):
                ahead = pool.submit(read, paths[jobs[number + 1]], mirrored)
            grid = run(pixels)
            kept[rows] = (grid - basis["mean"]) @ basis["directions"]
            if number % 100 == 0:
                took_s = time.monotonic() - began
                print(f"{out.stem}: {number}/{len(jobs)}, {took_s:.0f} s", file=sys.stderr)
    kept.flush()
    part.rename(out)


def fill(root: Path, cache: Path, towers: list[Path], threads: int) -> None:
    """Fill the cache: both views of the training photographs, one of dev."""
    cache.mkdir(parents=True, exist_ok=True)
    run = tower(towers, threads)
    where = cache / "basis.npz"
    if not where.exists():
        np.savez(where, **find_basis(run, data.flickr(root, "train").paths))
    basis = dict(np.load(where))
    for split, view in (("dev", 0), ("train", 0), ("train", 1)):
        out = path_of(cache, split, view)
        if not out.exists():
            compute(run, basis, data.flickr(root, split).paths, view == 1, out)


def grids(cache: Path, split: str, view: int = 0) -> NDArray[np.float16]:
    """Reduced grids [N, P, K], read lazily."""
    out: NDArray[np.float16] = np.load(path_of(cache, split, view), mmap_mode="r")
    return out


def projection(cache: Path) -> tuple[Grid, Grid]:
    """Mean [G] and directions [G, K]: a reduced grid is (grid - mean) @ directions."""
    basis = np.load(cache / "basis.npz")
    return basis["mean"], basis["directions"]
