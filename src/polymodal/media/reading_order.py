"""In which order a person reads the pieces of text on a page, and which of them share a row.

Notable: a page is cut into columns only where both sides read like running text; a table or a
receipt, whose right side holds short cells, is read row by row.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from polymodal.results_documents import Box

__all__ = ["levelled", "reading_order", "turned"]

_SAME_ROW = 0.5
"""Share of the lower piece's height that two pieces of a row have in common."""
_GUTTER = 1.0
"""Width, in median heights, of the blank between two columns."""
_COLUMN_LINES = 4
_COLUMN_CHARS = 14
"""Median length of the lines on either side that makes them running text."""
_MAX_DEPTH = 6


def turned(box: Box, width_px: float, height_px: float, degrees: int) -> Box:
    """A box of a page of that size, after the page was turned clockwise by 0, 90, 180 or 270."""
    left, top, right, bottom = box
    if degrees == 90:
        return height_px - bottom, left, height_px - top, right
    if degrees == 180:
        return width_px - right, height_px - bottom, width_px - left, height_px - top
    if degrees == 270:
        return top, width_px - right, bottom, width_px - left
    return box


def levelled(
    boxes: Sequence[Box], skew_degrees: tuple[float, float], height_px: float
) -> list[Box]:
    """The boxes of lines that fall to the right by some degrees, as if they were level.

    A box that stands around a slanting line is too high; what the slope adds is taken off.

    Args:
        skew_degrees: at the upper and at the lower edge; between them it changes evenly.
        height_px: of the page.
    """
    if not any(skew_degrees):
        return list(boxes)
    at_top, at_bottom = (math.tan(math.radians(each)) for each in skew_degrees)
    mean = (at_top + at_bottom) / 2
    middle = sum(box[0] + box[2] for box in boxes) / 2 / max(len(boxes), 1)
    level = []
    for left, top, right, bottom in boxes:
        width, height = right - left, bottom - top
        x, given = (left + right) / 2, (top + bottom) / 2
        y = given
        for _ in range(2):  # the slope is that of the height at which the line crosses the middle
            slope = at_top + (at_bottom - at_top) * y / max(height_px, 1)
            y = given - slope * (x - middle)
        x += mean * (given - height_px / 2)
        height = max(height - width * abs(slope), 0.3 * height)
        level.append((x - width / 2, y - height / 2, x + width / 2, y + height / 2))
    return level


def reading_order(boxes: Sequence[Box], texts: Sequence[str]) -> tuple[list[int], list[int]]:
    """Positions of the pieces in reading order, and for each, in that order, its row from 0."""
    if not boxes:
        return [], []
    corners = np.asarray(boxes, np.float64)
    lengths = np.array([len(text) for text in texts])
    order: list[int] = []
    rows: list[int] = []
    for block in _blocks(corners, lengths, np.arange(len(boxes)), 0):
        for row in _rows(corners, block):
            rows.extend([rows[-1] + 1 if rows else 0] * len(row))
            order.extend(row)
    return order, rows


def _blocks(
    corners: NDArray[np.float64], lengths: NDArray[np.int_], chosen: NDArray[np.int_], depth: int
) -> list[NDArray[np.int_]]:
    """The pieces in blocks that are each read row by row, blocks in reading order."""
    if depth >= _MAX_DEPTH or len(chosen) < 2 * _COLUMN_LINES:
        return [chosen]
    cut = _column_cut(corners, lengths, chosen)
    if cut is None:
        return [chosen]
    above, left, right, below = cut
    parts: list[NDArray[np.int_]] = []
    for part in (above, left, right, below):
        if len(part):
            parts += _blocks(corners, lengths, part, depth + 1)
    return parts


def _column_cut(
    corners: NDArray[np.float64], lengths: NDArray[np.int_], chosen: NDArray[np.int_]
) -> tuple[NDArray[np.int_], ...] | None:
    """What stands above, left, right and below of the gutter that most lines stand beside."""
    boxes = corners[chosen]
    unit = float(np.median(boxes[:, 3] - boxes[:, 1]))
    best: tuple[int, tuple[NDArray[np.int_], ...]] | None = None
    for x in np.unique(np.round(boxes[:, 0])):
        start, end = x - _GUTTER * unit, x
        crossing = (boxes[:, 0] < end - 0.5) & (boxes[:, 2] > start)
        left, right = boxes[:, 2] <= start, boxes[:, 0] >= end - 0.5
        for top, bottom in _gaps(boxes, crossing):
            inside = (boxes[:, 1] >= top) & (boxes[:, 3] <= bottom) & ~crossing
            sides = inside & left, inside & right
            if min(int(side.sum()) for side in sides) < _COLUMN_LINES:
                continue
            if min(float(np.median(lengths[chosen][side])) for side in sides) < _COLUMN_CHARS:
                continue
            size = int(inside.sum())
            if best is None or size > best[0]:
                over = ~inside & (boxes[:, 1] + boxes[:, 3] < top + bottom)
                under = ~inside & ~over
                best = size, tuple(chosen[part] for part in (over, *sides, under))
    return None if best is None else best[1]


def _gaps(boxes: NDArray[np.float64], crossing: NDArray[np.bool_]) -> list[tuple[float, float]]:
    """Stretches from top to bottom that no crossing piece interrupts."""
    edges = sorted((float(box[1]), float(box[3])) for box in boxes[crossing])
    gaps, top = [], float("-inf")
    for start, end in edges:
        if start > top:
            gaps.append((top, start))
        top = max(top, end)
    return [*gaps, (top, float("inf"))]


def _rows(corners: NDArray[np.float64], chosen: NDArray[np.int_]) -> list[list[int]]:
    """Pieces grouped into rows from top to bottom, each row from left to right."""
    rows: list[list[int]] = []
    for index in sorted(chosen.tolist(), key=lambda i: corners[i, 1] + corners[i, 3]):
        fitting = [row for row in rows[-3:] if _on_row(corners, row, index)]
        if fitting:
            fitting[-1].append(index)
        else:
            rows.append([index])
    for row in rows:
        row.sort(key=lambda i: corners[i, 0])
    return sorted(rows, key=lambda row: min(corners[i, 1] + corners[i, 3] for i in row))


def _on_row(corners: NDArray[np.float64], row: list[int], index: int) -> bool:
    """Whether a piece stands beside the nearest piece of the row, overlapping none of them."""
    left, top, right, bottom = corners[index]
    nearest = min(row, key=lambda i: abs(corners[i, 0] + corners[i, 2] - left - right))
    for other in row:
        shared_width = min(right, corners[other, 2]) - max(left, corners[other, 0])
        if shared_width > 0.3 * min(right - left, corners[other, 2] - corners[other, 0]):
            return False
    shared = min(bottom, corners[nearest, 3]) - max(top, corners[nearest, 1])
    lower = min(bottom - top, corners[nearest, 3] - corners[nearest, 1])
    return bool(shared >= _SAME_ROW * lower)
