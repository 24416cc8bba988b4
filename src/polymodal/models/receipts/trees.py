"""Boosted trees, evaluated with numpy: what scikit-learn trained, as plain arrays in one file.

Notable: the file is an npz without pickle; every index in it is checked when it is loaded, so a
file that was tampered with is refused and never run in circles.
"""

from __future__ import annotations

import io
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from polymodal.errors import DamagedWeights

__all__ = ["Trees", "read_arrays"]

_PARTS = ("feature", "threshold", "left", "right", "value", "start")


@dataclass(frozen=True)
class Trees:
    """A sum of decision trees over rows of features, through a sigmoid.

    Attributes:
        feature: of every node the column it looks at, -1 for a leaf; all trees in one array.
        threshold: a value up to it goes left.
        left, right: the next node, always a later one.
        value: of a leaf, in log-odds.
        weights: what each column adds to the log-odds by itself; a linear model beside the trees.
        start: first node of each tree.
        base: log-odds before any tree.
    """

    feature: NDArray[np.int32]
    threshold: NDArray[np.float64]
    left: NDArray[np.int32]
    right: NDArray[np.int32]
    value: NDArray[np.float32]
    start: NDArray[np.int32]
    base: float
    weights: NDArray[np.float64]
    columns: int

    @classmethod
    def of(cls, arrays: dict[str, NDArray[np.generic]], name: str, columns: int) -> Trees:
        """The trees called `name` in what `read_arrays` gave.

        Raises:
            DamagedWeights: a part is missing or points outside.
        """
        try:
            parts = [arrays[f"{name}.{part}"] for part in _PARTS]
            feature, left, right, start = (np.asarray(parts[i], np.int32) for i in (0, 2, 3, 5))
            threshold = np.asarray(parts[1], np.float64)
            value = np.asarray(parts[4], np.float32)
            base = float(np.asarray(arrays[f"{name}.base"], np.float64).item())
            weights = np.asarray(arrays[f"{name}.weights"], np.float64)
        except (KeyError, TypeError, ValueError) as error:
            raise DamagedWeights(f"the receipt model has no valid {name!r} ({error}).") from error
        nodes = np.arange(len(feature))
        inner = feature >= 0
        sizes = {len(part) for part in (threshold, left, right, value)}
        sound = (
            sizes == {len(feature)}
            and weights.shape == (columns,)
            and bool(np.all(feature < columns))
            and bool(np.all((start >= 0) & (start < len(feature))))
            and all(
                bool(np.all((side > nodes)[inner]) and np.all(side[inner] < len(feature)))
                for side in (left, right)
            )
        )
        if not sound:
            raise DamagedWeights(f"the receipt model's {name!r} does not fit together.")
        return cls(feature, threshold, left, right, value, start, base, weights, columns)

    def probabilities(self, rows: Sequence[Sequence[float]]) -> NDArray[np.float64]:
        """Probability for every row of features, shape (n,)."""
        x = np.asarray(rows, np.float32).reshape(-1, self.columns)
        node = np.tile(self.start, (len(x), 1))
        each = np.arange(len(x))[:, None]
        while True:
            column = self.feature[node]
            inner = column >= 0
            if not inner.any():
                break
            goes_left = x[each, np.maximum(column, 0)] <= self.threshold[node]
            node = np.where(inner, np.where(goes_left, self.left[node], self.right[node]), node)
        odds = self.base + x @ self.weights + self.value[node].astype(np.float64).sum(axis=1)
        result: NDArray[np.float64] = 1.0 / (1.0 + np.exp(-odds))
        return result


def read_arrays(content: bytes) -> dict[str, NDArray[np.generic]]:
    """The arrays of an npz file.

    Raises:
        DamagedWeights: it is none, or holds anything but plain arrays.
    """
    try:
        with np.load(io.BytesIO(content), allow_pickle=False) as file:
            return {name: file[name] for name in file.files}
    except Exception as error:  # numpy and zipfile raise what they like on damaged files
        raise DamagedWeights(f"the receipt model cannot be read: {error}") from error
