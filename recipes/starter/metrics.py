"""Scores, in numpy: recall@k, calibration."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float32]


def retrieval(image_ND: Floats, text_MD: Floats, captions: int = 5) -> dict[str, float]:
    """Recall@1/5/10 in per cent, both ways; caption j belongs to image j // `captions`.

    Text to image ranks all images for every caption. Image to text counts an image as found at k
    if any of its own captions is among the first k of all captions. Ties count against the model.
    """
    scores_MN = text_MD @ image_ND.T
    own_M = np.arange(len(text_MD)) // captions
    true_M = scores_MN[np.arange(len(text_MD)), own_M]
    text_rank_M = (scores_MN >= true_M[:, None]).sum(1) - 1
    best_N = true_M.reshape(-1, captions).max(1)
    image_rank_N = (scores_MN >= best_N[None, :]).sum(0) - 1
    out = {}
    for name, rank in (("text_to_image", text_rank_M), ("image_to_text", image_rank_N)):
        for k in (1, 5, 10):
            out[f"{name}_r{k}"] = float(100 * (rank < k).mean())
    return out


def softmax(x: Floats) -> Floats:
    """Softmax over the last axis."""
    e = np.exp(x - x.max(-1, keepdims=True))
    out: Floats = e / e.sum(-1, keepdims=True)
    return out


def calibration_error(confidence_N: Floats, right_N: NDArray[np.bool_], bins: int = 10) -> float:
    """Expected calibration error: mean gap of confidence and accuracy over equal-width bins."""
    which = np.minimum((confidence_N * bins).astype(int), bins - 1)
    error = 0.0
    for b in range(bins):
        inside = which == b
        if inside.any():
            error += inside.mean() * abs(confidence_N[inside].mean() - right_N[inside].mean())
    return float(error)


def fit_temperature(cosine_NK: Floats, labels_N: NDArray[np.int64]) -> float:
    """The temperature at which softmax(cosine / temperature) has the lowest mean NLL."""
    rows = np.arange(len(labels_N))
    grid = np.geomspace(0.005, 0.5, 120)
    losses = [-np.log(softmax(cosine_NK / t)[rows, labels_N] + 1e-12).mean() for t in grid]
    return float(grid[int(np.argmin(losses))])


def fit_logistic(
    cosine_N: Floats, match_N: NDArray[np.bool_], weight_N: NDArray[np.float64] | None = None
) -> tuple[float, float]:
    """Scale and bias with sigmoid(scale * cosine + bias) the probability of a match."""
    from sklearn.linear_model import LogisticRegression

    model = LogisticRegression(C=1e6, max_iter=1000).fit(
        cosine_N[:, None], match_N, sample_weight=weight_N
    )
    return float(model.coef_[0, 0]), float(model.intercept_[0])
