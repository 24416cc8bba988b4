"""How sure a share of a sample is."""

from __future__ import annotations

import math

__all__ = ["wilson"]


def wilson(correct: int, total: int) -> tuple[float, float]:
    """95 % interval of a proportion (Wilson, 1927); (0, 1) where nothing was counted."""
    if not total:
        return 0.0, 1.0
    z = 1.959964
    share = correct / total
    centre = (share + z * z / (2 * total)) / (1 + z * z / total)
    spread = share * (1 - share) / total + z * z / (4 * total * total)
    half = z * math.sqrt(spread) / (1 + z * z / total)
    return max(0.0, centre - half), min(1.0, centre + half)
