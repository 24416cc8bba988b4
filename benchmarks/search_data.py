"""Vectors for the search benchmarks: real embeddings of photographs, enlarged; captions to ask.

Independent gaussian vectors would measure nothing: in 512 dimensions all are equally far apart, and
a graph has no structure to follow. Real embeddings lie near a surface of few dimensions, in clumps.
So a photograph's vector is moved part of the way to one of its neighbours and then by the
difference of another photograph and a neighbour of that: every step is one that real vectors make.
Queries are captions through the text tower, which lie apart from all pictures, as users' texts do.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import numpy as np

from polymodal.media.pictures import open_picture
from polymodal.models.protocols import Embedder
from polymodal.results import Vector
from polymodal.runtime.batches import pipelined

__all__ = ["captions", "clustered", "embedded", "enlarged", "exact_neighbours", "unit"]

NEIGHBOURS = 10
BLOCK = 10_000


def unit(vectors: Vector) -> Vector:
    """Rows scaled to length 1, float32."""
    scaled: Vector = (vectors / np.linalg.norm(vectors, axis=1, keepdims=True)).astype(np.float32)
    return scaled


def embedded(embedder: Embedder, images: Path) -> Vector:
    """Vectors of all JPEG files of a folder."""

    def prepare(path: Path) -> np.ndarray:
        picture = open_picture(path, target_px=embedder.image_size_px)
        return embedder.preprocess(picture.image)

    files = sorted(images.glob("*.jpg"))
    results = pipelined(files, prepare, embedder.embed_images)
    return np.stack([vector for _, vector in results if not isinstance(vector, Exception)])


def captions(file: Path, split: str = "dev") -> list[str]:
    """The first caption of every picture of a split of `captions.jsonl`."""
    records = [json.loads(line) for line in file.read_text().splitlines()]
    return [record["captions"][0] for record in records if record["split"] == split]


def clustered(count: int, dimension: int, random: np.random.Generator) -> Vector:
    """Stand-ins for photographs where there are none: clumps along falling axes."""
    scale = 1 / np.sqrt(np.arange(1, dimension + 1))
    centres = random.normal(size=(count // 8, dimension)) * scale
    own = random.normal(size=(count, dimension)) * scale
    return unit(centres[random.integers(0, len(centres), count)] + 0.7 * own)


def enlarged(real: Vector, count: int, random: np.random.Generator) -> Iterator[Vector]:
    """`count` vectors with the local structure of `real`, in blocks."""
    neighbours = _neighbours(real)
    for start in range(0, count, BLOCK):
        rows = min(BLOCK, count - start)
        one, other = random.integers(0, len(real), (2, rows))
        near = neighbours[one, random.integers(0, NEIGHBOURS, rows)]
        far = neighbours[other, random.integers(0, NEIGHBOURS, rows)]
        part = random.uniform(0, 0.5, (rows, 1)).astype(np.float32)
        yield unit(real[one] + part * (real[near] - real[one]) + 0.5 * (real[other] - real[far]))


def _neighbours(real: Vector) -> np.ndarray:
    found = []
    for start in range(0, len(real), 1000):
        cosine = real[start : start + 1000] @ real.T
        cosine[np.arange(len(cosine)), np.arange(start, start + len(cosine))] = -1
        found.append(np.argpartition(-cosine, NEIGHBOURS, axis=1)[:, :NEIGHBOURS])
    return np.concatenate(found)


def exact_neighbours(vectors: Vector, queries: Vector, k: int) -> np.ndarray:
    """Rows of the k nearest vectors of every query, int, shape (len(queries), k)."""
    best = np.full((len(queries), k), -np.inf, np.float32)
    rows = np.zeros((len(queries), k), np.intp)
    for start in range(0, len(vectors), BLOCK):
        cosine = queries @ vectors[start : start + BLOCK].T
        here = np.broadcast_to(np.arange(start, start + cosine.shape[1]), cosine.shape)
        both = np.concatenate([best, cosine], axis=1)
        top = np.argpartition(-both, k - 1, axis=1)[:, :k]
        best = np.take_along_axis(both, top, axis=1)
        rows = np.take_along_axis(np.concatenate([rows, here], axis=1), top, axis=1)
    return rows
