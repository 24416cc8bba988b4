"""How sure a share of a sample is."""

from __future__ import annotations

import math

__all__ = ["binomial_tail", "wilson"]

NEGLIGIBLE = 1e-18


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


def binomial_tail(correct: int, total: int, share: float) -> float:
    """Probability that `correct` or more of `total` are right where each is with `share`.

    Where this is small, the true share is larger: the exact one-sided test of Clopper and Pearson
    (1934).
    """
    if correct <= 0:
        return 1.0
    if not 0.0 < share < 1.0:
        return float(share >= 1.0)
    if correct <= share * total:  # the larger part: what is left of the smaller
        return 1.0 - binomial_tail(total - correct + 1, total, 1.0 - share)
    log_first = (
        math.lgamma(total + 1)
        - math.lgamma(correct + 1)
        - math.lgamma(total - correct + 1)
        + correct * math.log(share)
        + (total - correct) * math.log1p(-share)
    )
    term, summed, odds = math.exp(log_first), 0.0, share / (1 - share)
    for right in range(correct, total + 1):  # from here on terms only shrink
        summed += term
        term *= odds * (total - right) / (right + 1)
        if term < NEGLIGIBLE * summed:
            break
    return min(1.0, summed)
