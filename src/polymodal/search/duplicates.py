"""Groups of near-duplicates: exact, in bounded memory, and without chains.

Notable: two pictures are as similar as their embeddings or, where their thumbnails agree almost
entirely (`looks`), as those: the first finds crops, the second what was compressed or scaled.

A group is a *representative* (the picture to keep: most pixels, then most bytes) and pictures
whose similarity to it reaches the threshold. Similarity is not transitive: joining whatever is
linked would chain a sunset through a hundred others to a pumpkin, so every member has to resemble
the representative itself. Pictures become representatives in the order of preference unless one
before them already resembles them; the others join the one they resemble most.

Every pair is compared, but most only by their shadow: in an orthonormal basis the distance along
some axes never exceeds the distance, so a pair that is too far apart along the 64 axes of largest
variance is no duplicate, and only the few others are compared in full. 100,000 vectors of 512
dimensions take about a minute on two cores.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from polymodal.errors import UsageError
from polymodal.results import DuplicateGroup, Hit, Vector
from polymodal.search.looks import SAME_LOOK, looks_to_vectors
from polymodal.search.store import Item

__all__ = ["DEFAULT_THRESHOLD", "find_duplicates", "group"]

DEFAULT_THRESHOLD = 0.94
"""Similarity from which two pictures are the same, chosen on copies of photographs in the starter's
space: benchmarks/duplicates_threshold.py shows what others find, and what they confuse."""

AXES = 64
ROWS_AT_ONCE = 1024
LEADERS_AT_ONCE = 8192
SAMPLE = 20_000
SMALL = 4096
"""Rows up to which comparing all in full is faster than finding the axes."""
SLACK = 1e-4
"""Room for the rounding of float32 products; what passes by it alone fails the full comparison."""
ROUNDING = 1e-6
"""Equal vectors have a cosine this close to 1 in float32; a threshold of 1 finds them."""
DIGITS = 6
"""Of a similarity, by which members are ordered: what differs beyond is rounding, which is not the
same on every processor."""
MOST_CANDIDATES = 0.02
"""Share of pairs from which comparing all of them in full is faster than picking them out."""

Integers = NDArray[np.intp]
Pairs = tuple[Integers, Integers, Vector]


class HasItems(Protocol):
    """What is needed of a collection."""

    def items(self, *, vectors: bool = False) -> Iterator[Item]:
        """Every item."""
        ...


def find_duplicates(collection: HasItems, threshold: float | None = None) -> list[DuplicateGroup]:
    """Near-duplicates of a collection, largest group first; the first of a group is to be kept.

    Args:
        threshold: cosine in 0..1; `DEFAULT_THRESHOLD` when None.

    Raises:
        UsageError: the threshold is no cosine.
    """
    threshold = DEFAULT_THRESHOLD if threshold is None else threshold
    if not 0 < threshold <= 1:
        raise UsageError(f"a threshold is a cosine over 0 and up to 1, not {threshold}")
    items = sorted(
        collection.items(vectors=True),
        key=lambda item: (-item.width_px * item.height_px, -item.bytes, item.path, item.id),
    )
    if not items:
        return []
    vectors = np.stack([item.vector for item in items]).astype(np.float32, copy=False)
    looks = looks_to_vectors([item.look for item in items])
    groups = []
    for rows in group(vectors, threshold, looks):
        similarity = _similarity(vectors[rows] @ vectors[rows[0]], looks[rows] @ looks[rows[0]])
        hits = tuple(
            _hit(items[row], float(score)) for row, score in zip(rows, similarity, strict=True)
        )
        groups.append(DuplicateGroup(hits, similarity=min(hit.score for hit in hits[1:])))
    return sorted(groups, key=lambda one: (-len(one.hits), one.hits[0].path, one.hits[0].id))


def _hit(item: Item, similarity: float) -> Hit:
    similarity = min(similarity, 1.0)  # a product of unit vectors in float32 may exceed it
    return Hit(item.id, item.path, similarity, item.metadata, similarity=similarity)


def _similarity(cosine: Vector, correlation: Vector) -> Vector:
    """The cosine, or the correlation of thumbnails that are the same."""
    same: Vector = np.where(correlation >= SAME_LOOK, np.maximum(cosine, correlation), cosine)
    return same


def group(vectors: Vector, threshold: float, looks: Vector | None = None) -> list[list[int]]:
    """Rows that are near-duplicates of each other.

    Args:
        vectors: L2-normalised float32, shape (n, d), most preferred first.
        threshold: similarity from which a row resembles a representative.
        looks: the rows' thumbnails, as `looks_to_vectors` gives them.

    Returns:
        Groups of two or more: the representative's row, then the rest by falling similarity.
    """
    if len(vectors) < 2:
        return []
    views = [_Shadows(vectors, threshold - ROUNDING)]
    if looks is not None and looks.any():
        views.append(_Shadows(looks, max(SAME_LOOK, threshold - ROUNDING)))
    best = np.full(len(vectors), -1, np.intp)
    score = np.full(len(vectors), -np.inf, np.float32)
    leaders = np.zeros(0, np.intp)
    for start in range(0, len(vectors), ROWS_AT_ONCE):
        rows = np.arange(start, min(start + ROWS_AT_ONCE, len(vectors)))
        for first in range(0, len(leaders), LEADERS_AT_ONCE):
            some = leaders[first : first + LEADERS_AT_ONCE]
            _join(*_pairs(views, rows, some), best, score)
        leaders = np.concatenate([leaders, _lead(rows, views, best, score)])
    return _collect(best, score)


def _pairs(views: Sequence[_Shadows], rows: Integers, others: Integers) -> Pairs:
    """Pairs (row, other) that reach the threshold by either view, and their similarities."""
    found = [view.pairs(rows, others) for view in views]
    if len(found) == 1:
        return found[0]
    a, b, similarity = (np.concatenate(parts) for parts in zip(*found, strict=True))
    return a, b, similarity


def _lead(rows: Integers, views: Sequence[_Shadows], best: Integers, score: Vector) -> Integers:
    """The rows of a block that resemble no leader before them; the others are joined to one."""
    later, earlier, similarity = _pairs(views, rows, rows)
    before = earlier < later
    later, earlier, similarity = later[before], earlier[before], similarity[before]
    order = np.argsort(later, kind="stable")
    later, earlier, similarity = later[order], earlier[order], similarity[order]
    starts = np.searchsorted(later, rows)
    ends = np.searchsorted(later, rows, side="right")
    leads = np.zeros(len(rows), np.bool_)
    for i, row in enumerate(rows):
        here = slice(starts[i], ends[i])
        led = leads[earlier[here] - rows[0]]
        if led.any():
            candidates = earlier[here][led]
            _join(np.full(len(candidates), row), candidates, similarity[here][led], best, score)
        leads[i] = best[row] < 0
    return rows[leads]


def _join(
    rows: Integers, leaders: Integers, similarity: Vector, best: Integers, score: Vector
) -> None:
    """Give each row the most similar of its leaders, the first of equals."""
    # Weakest first, so that the last assignment of a row is its strongest; of equals the first
    # leader has to come last.
    order = np.lexsort((-leaders, similarity))
    rows, leaders, similarity = rows[order], leaders[order], similarity[order]
    strongest = np.full(len(best), -1, np.intp)
    strongest[rows] = np.arange(len(rows))
    chosen = strongest[strongest >= 0]
    better = similarity[chosen] > score[rows[chosen]]
    chosen = chosen[better]
    best[rows[chosen]] = leaders[chosen]
    score[rows[chosen]] = similarity[chosen]


def _collect(best: Integers, score: Vector) -> list[list[int]]:
    members: dict[int, list[int]] = {}
    for row in np.flatnonzero(best >= 0):
        members.setdefault(int(best[row]), []).append(int(row))
    return [
        [leader, *sorted(rows, key=lambda row: (-round(float(score[row]), DIGITS), row))]
        for leader, rows in sorted(members.items())
    ]


class _Shadows:
    """Vectors with their coordinates along the axes of largest variance."""

    def __init__(self, vectors: Vector, threshold: float) -> None:
        self.vectors = vectors
        self.threshold = threshold
        self.whole = len(vectors) <= SMALL
        if self.whole:
            return
        # |a - b|^2 = 2 - 2 cos; as a product of augmented vectors it is one matrix product:
        # [2a, -|a|^2, -1] . [b, 1, |b|^2] = -|a - b|^2.
        self.least = -(2 - 2 * threshold) - SLACK
        flat = self._project(vectors)
        square = np.einsum("ij,ij->i", flat, flat)[:, None]
        square[~vectors.any(axis=1)] = 9  # no vector: far from everything, its like included
        ones = np.ones_like(square)
        self.left = np.hstack([2 * flat, -square, -ones]).astype(np.float32)
        self.right = np.hstack([flat, ones, square]).astype(np.float32)

    @staticmethod
    def _project(vectors: Vector) -> Vector:
        step = max(1, len(vectors) // SAMPLE)
        sample = vectors[::step]
        centre = sample.mean(axis=0)
        covariance = (sample - centre).T.astype(np.float64) @ (sample - centre)
        _, axes = np.linalg.eigh(covariance)
        largest = axes[:, ::-1][:, :AXES].astype(np.float32)
        flat: Vector = vectors @ largest - centre @ largest
        return flat

    def pairs(self, rows: Integers, others: Integers) -> Pairs:
        """Pairs (row, other) that reach the threshold, and their cosines."""
        if self.whole:
            return self._compare(rows, others)
        near = self.left[rows] @ self.right[others].T >= self.least
        found = np.count_nonzero(near)
        if found > MOST_CANDIDATES * near.size:
            return self._compare(rows, others)
        a, b = np.nonzero(near)
        pairs = rows[a], others[b]
        cosine = self._cosines(*pairs)
        same = cosine >= self.threshold
        return pairs[0][same], pairs[1][same], cosine[same]

    def _compare(self, rows: Integers, others: Integers) -> Pairs:
        cosine = self.vectors[rows] @ self.vectors[others].T
        a, b = np.nonzero(cosine >= self.threshold)
        return rows[a], others[b], cosine[a, b]

    def _cosines(self, rows: Integers, others: Integers) -> Vector:
        parts: list[Any] = [np.zeros(0, np.float32)]
        for start in range(0, len(rows), LEADERS_AT_ONCE):
            here = slice(start, start + LEADERS_AT_ONCE)
            parts.append(
                np.einsum("ij,ij->i", self.vectors[rows[here]], self.vectors[others[here]])
            )
        return np.concatenate(parts)
