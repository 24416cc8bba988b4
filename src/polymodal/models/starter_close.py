"""The starter's closer look, for probes: a larger photograph, and where in it things are.

Notable: it is the same image tower, which is convolutional and takes squares of any size; an
embedding is made and calibrated at one size, but a probe learns from whatever it is shown. Beside
the features of the whole there are those of parts: means of the last grid over cells. Left and
right are averaged, as a probe learns from mirror images too; roots, as the features have them,
keep a few strong places from drowning the rest.

Shapes: P places of a square grid, C channels.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from itertools import pairwise
from typing import TYPE_CHECKING

import numpy as np

from polymodal.models.protocols import CloseLook, Pixels
from polymodal.profiling import profiled
from polymodal.results import Vector

if TYPE_CHECKING:
    from PIL import Image

__all__ = ["StarterCloseUp", "cells_of"]


class StarterCloseUp:
    """Fits `CloseUp`. Safe to use from several threads.

    Attributes:
        look: see `CloseUp.look`.
    """

    def __init__(
        self,
        look: CloseLook,
        square: Callable[[Image.Image], Pixels],
        run: Callable[[Sequence[Pixels]], Sequence[Vector]],
    ) -> None:
        """`square` cuts a picture to `look.image_size_px`; `run` gives features and grids."""
        self.look = look
        self._square, self._run = square, run

    @property
    def image_size_px(self) -> int:
        """See `Eye.image_size_px`."""
        return self.look.image_size_px

    @profiled("preprocess")
    def preprocess(self, image: Image.Image) -> Pixels:
        """uint8 RGB, shape (image_size_px, image_size_px, 3), cut as for an embedding."""
        return self._square(image)

    def extract_features(self, batch: Sequence[Pixels]) -> Vector:
        """See `CloseUp.extract_features`: those of the whole, then those of the cells."""
        if not batch:
            return np.zeros((0, 0), np.float32)
        whole, grids = self._run(batch)
        parts = [cells_of(grid, self.look.cells) for grid in grids]
        return np.concatenate([whole, np.stack(parts)], 1)


def cells_of(grid_PC: Vector, cells: int) -> Vector:  # noqa: N803 - names end in their shape
    """Roots of the means over the left half's cells, left and right averaged; one row of numbers.

    Args:
        grid_PC: not negative.
        cells: parts of the grid each way; their edges are symmetric, so sizes differ by a place.
    """
    side = math.isqrt(len(grid_PC))
    whole = grid_PC.reshape(side, side, -1)
    places = (whole + whole[:, ::-1]) / 2
    edges = np.rint(np.linspace(0, side, cells + 1)).astype(int)
    spans = [slice(*pair) for pair in pairwise(edges.tolist())]
    half = spans[: (cells + 1) // 2]
    means = [places[rows, columns].mean((0, 1)) for rows in spans for columns in half]
    row: Vector = np.sqrt(np.concatenate(means), dtype=np.float32)
    return row
