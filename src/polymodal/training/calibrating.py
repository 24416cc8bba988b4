"""What cosines of a fine-tuned embedder mean, fitted on held-out pairs: the card's calibration."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

__all__ = ["calibrated"]

Numbers = NDArray[Any]


def calibrated(
    image_ND: Numbers, text_ND: Numbers, group_N: Numbers, class_KD: Numbers | None
) -> dict[str, float]:
    """The numbers of a card's `[calibration]` that these pairs can say; see `Calibration`.

    Args:
        text_ND: a text of each picture; texts of another group do not fit it.
        class_KD: the classes' vectors, by group; None says nothing of classes.
    """
    score_NN = image_ND @ text_ND.T
    fits_NN = group_N[:, None] == group_N[None]
    own = score_NN[np.arange(len(group_N)), np.arange(len(group_N))]
    shift = 1 + np.arange(len(group_N)) * 7 % max(1, len(group_N) - 1)
    other = (np.arange(len(group_N)) + shift) % len(group_N)
    chosen = ~fits_NN[np.arange(len(group_N)), other]
    wrong = score_NN[np.arange(len(group_N)), other][chosen]
    scale, bias = _logistic(np.concatenate([own, wrong]), len(own))
    found = {
        "match_scale": scale,
        "match_bias": bias,
        "relevant_cosine": (float(np.log(9)) - bias) / scale,
    }
    if class_KD is not None:
        found |= _of_classes(image_ND @ class_KD.T, group_N)
    return {name: float(f"{value:.5g}") for name, value in found.items()}


def _of_classes(score_NK: Numbers, group_N: Numbers) -> dict[str, float]:
    own_NK = np.arange(score_NK.shape[1])[None] == group_N[:, None]
    without_N = np.where(own_NK, -np.inf, score_NK).max(1)
    best = np.concatenate([score_NK.max(1), without_N])
    unknown = _logistic(best, len(group_N))
    many = _logistic(np.concatenate([score_NK[own_NK], score_NK[~own_NK]]), int(own_NK.sum()))
    return {
        "classify_temperature": _temperature(score_NK, group_N),
        "unknown_scale": unknown[0],
        "unknown_bias": unknown[1],
        "multi_label_scale": many[0],
        "multi_label_bias": many[1],
    }


def _temperature(score_NK: Numbers, group_N: Numbers) -> float:
    """Where softmax(cosine / temperature) has the lowest mean negative log-likelihood."""

    def loss(temperature: float) -> float:
        logit_NK = score_NK / temperature
        top_N1 = logit_NK.max(1, keepdims=True)
        normaliser_N = top_N1[:, 0] + np.log(np.exp(logit_NK - top_N1).sum(1))
        return float((normaliser_N - logit_NK[np.arange(len(group_N)), group_N]).mean())

    return float(min(np.geomspace(0.005, 0.5, 120), key=loss))


def _logistic(cosine_N: Numbers, positives: int) -> tuple[float, float]:
    """Scale and bias with sigmoid(scale * cosine + bias) the probability of the first ones."""
    import torch

    x = torch.from_numpy(np.asarray(cosine_N, np.float64))
    y = (torch.arange(len(x)) < positives).double()
    weights = torch.zeros(2, dtype=torch.float64, requires_grad=True)
    solver = torch.optim.LBFGS([weights], max_iter=200, line_search_fn="strong_wolfe")

    def closure() -> Any:
        solver.zero_grad()
        logits = weights[0] * x + weights[1]
        loss = torch.nn.functional.binary_cross_entropy_with_logits(logits, y)
        loss = loss + 1e-4 * weights[0].square() / 100  # finite where the two do not overlap
        loss.backward()
        return loss

    solver.step(closure)
    return float(weights[0].detach()), float(weights[1].detach())
