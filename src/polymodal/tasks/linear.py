# ruff: noqa: N803, N806, N815 - names end in their shape
"""A linear classifier in closed form, with exact held-out predictions: ridge on one-hot targets.

Notable: nothing iterates. One eigendecomposition gives the solution for every strength and, for
each, the prediction for every sample by the model that did not see it (leave-one-out residuals of
a linear smoother; Hastie, Tibshirani, Friedman, 2009, section 7.10). A picture and its mirror
image are held out together, by the block form of the same identity. Strength and temperature are
chosen on those held-out predictions.

Shapes: N samples, F features, C classes, G groups (pictures), V views of a picture, R rank.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache

import numpy as np
from numpy.typing import NDArray

from polymodal.results import Vector
from polymodal.tasks.calibration import Doubles, softmax

__all__ = ["LinearHead", "fit_linear"]

STRENGTHS = np.geomspace(1e-4, 1e2, 25)
"""Ridge strengths that are tried, as multiples of the mean squared singular value."""
TEMPERATURES = np.geomspace(0.01, 2.0, 60)
ASKED = 10_000
"""Pictures with held-out predictions, of more; an accuracy is known to one point by them."""
ROWS = 4096
"""Pictures whose products are in memory at a time."""


@dataclass(frozen=True)
class LinearHead:
    """softmax((features_NF @ weights_FC + bias_C) / temperature).

    Attributes:
        asked_G: training pictures that strength and temperature were chosen on: all, or so many
            drawn evenly that more would change nothing.
        held_out_GC: class probabilities of these, each by the model without it.
        strength: the ridge strength that was chosen.
    """

    weights_FC: Vector
    bias_C: Vector
    temperature: float
    strength: float
    asked_G: NDArray[np.int64]
    held_out_GC: Doubles

    def predict(self, features_NF: Vector) -> Doubles:
        """Class probabilities."""
        return predict(features_NF, self.weights_FC, self.bias_C, self.temperature)


def predict(features_NF: Vector, weights_FC: Vector, bias_C: Vector, temperature: float) -> Doubles:
    """Class probabilities of a linear head."""
    return softmax((features_NF @ weights_FC + bias_C).astype(np.float64) / temperature)


def fit_linear(features_GVF: Vector, class_G: NDArray[np.int64], classes: int) -> LinearHead:
    """Fit on V views of each of G pictures; held-out predictions are means over the views."""
    groups, views, width = features_GVF.shape
    x_NF = features_GVF.reshape(groups * views, width).astype(np.float64)
    mean_F = x_NF.mean(0)
    scale_F = 1.0 / (x_NF.std(0) + 1e-3 * x_NF.std() + 1e-12)
    x_NF -= mean_F
    x_NF *= scale_F
    target_GC = np.eye(classes)[class_G]
    asked_G = np.unique(np.linspace(0, groups - 1, min(groups, ASKED)).astype(np.int64))
    smoother = _Smoother(x_NF, np.repeat(target_GC, views, 0), views, asked_G)
    # Every class weighs the same in the choice, however many pictures it has.
    own_G = class_G[asked_G]
    weight_G = (groups / (classes * target_GC.sum(0)))[own_G]
    best = (np.inf, 0.0, 0.0)
    tried_S = STRENGTHS * smoother.values_R.mean()
    for strength, hat_GVV in zip(tried_S, smoother.hats(tried_S), strict=True):
        scores_GC = smoother.held_out(strength, hat_GVV)
        temperature, loss = _fit_temperature(scores_GC, own_G, weight_G)
        best = min(best, (loss, float(strength), temperature))
    _, strength, temperature = best
    weights_FC = smoother.weights(strength) * scale_F[:, None]
    scores_GC = smoother.held_out(strength, *smoother.hats([strength]))
    return LinearHead(
        weights_FC=weights_FC.astype(np.float32),
        bias_C=(smoother.prior_C - mean_F @ weights_FC).astype(np.float32),
        temperature=temperature,
        strength=strength,
        asked_G=asked_G,
        held_out_GC=softmax(scores_GC / temperature),
    )


class _Smoother:
    """Ridge regression of targets on centred features, for any strength, from one decomposition.

    x = z v'; the fit is prior + z seen / (values + strength), where seen = z' (target - prior).

    Args:
        x_NF, target_NC: of all samples, the views of a picture one after the other.
        asked_G: pictures that held-out scores will be asked of.
    """

    def __init__(
        self, x_NF: Doubles, target_NC: Doubles, views: int, asked_G: NDArray[np.int64]
    ) -> None:
        samples, width = x_NF.shape
        # The smaller of the two Gram matrices has all there is to know.
        wide = samples <= width
        values, side = np.linalg.eigh(x_NF @ x_NF.T if wide else x_NF.T @ x_NF)
        keep = values > values[-1] * 1e-10
        self.values_R, side = values[keep], np.ascontiguousarray(side[:, keep])
        root_R = np.sqrt(self.values_R)
        self.v_FR: Doubles = x_NF.T @ (side / root_R) if wide else side
        self.samples, self.prior_C = samples, target_NC.mean(0)
        self._seen_RC = self.v_FR.T @ (x_NF.T @ (target_NC - self.prior_C))
        # Of those that are asked alone: to turn all samples costs more than all the rest.
        rows = (asked_G[:, None] * views + np.arange(views)).ravel()
        z_NR: Doubles = side[rows] * root_R if wide else x_NF[rows] @ side
        self.z_GVR = z_NR.reshape(len(asked_G), views, len(self.values_R))
        self.target_GVC = target_NC[rows].reshape(len(asked_G), views, -1)

    def weights(self, strength: float) -> Doubles:
        """Of the linear map, shape (F, C)."""
        weights: Doubles = self.v_FR @ (self._seen_RC / (self.values_R + strength)[:, None])
        return weights

    def hats(self, strength_S: Sequence[float] | Doubles) -> Doubles:
        """How much each view of a picture takes part in the fit at each of its views, (S, G, V, V).

        One pass over the samples serves all strengths.
        """
        inverse_RS = 1.0 / (self.values_R[:, None] + np.asarray(strength_S))
        groups, views, _ = self.z_GVR.shape
        hat_SGVV = np.empty((inverse_RS.shape[1], groups, views, views))
        for start in range(0, groups, ROWS):
            rows = slice(start, start + ROWS)
            for one in range(views):
                for two in range(one + 1):
                    hat_GS = (self.z_GVR[rows, one] * self.z_GVR[rows, two]) @ inverse_RS
                    hat_SGVV[:, rows, one, two] = hat_SGVV[:, rows, two, one] = hat_GS.T
        hat_SGVV += 1.0 / self.samples  # the intercept's part
        return hat_SGVV

    def held_out(self, strength: float, hat_GVV: Doubles) -> Doubles:
        """Scores of each picture by the fit to all others, mean over its views, shape (G, C)."""
        seen_RC = self._seen_RC / (self.values_R + strength)[:, None]
        fitted_NC = self.z_GVR.reshape(-1, len(seen_RC)) @ seen_RC
        residual_GVC = self.target_GVC - self.prior_C - fitted_NC.reshape(self.target_GVC.shape)
        # The tiny ridge keeps it invertible where a picture is fitted exactly.
        views = self.z_GVR.shape[1]
        left_GVC = np.linalg.solve((1.0 + 1e-9) * np.eye(views) - hat_GVV, residual_GVC)
        scores: Doubles = (self.target_GVC - left_GVC).mean(1)
        return scores


def _fit_temperature(
    scores_GC: Doubles, class_G: NDArray[np.int64], weight_G: Doubles
) -> tuple[float, float]:
    """The temperature with the least weighted log loss, and that loss.

    The loss is convex in one over the temperature, so the grid's best is found by halving.
    """
    own_G = scores_GC[np.arange(len(class_G)), class_G]
    above_GC = scores_GC - own_G[:, None]

    @cache
    def loss(place: int) -> float:
        scaled_GC = above_GC / TEMPERATURES[place]
        most_G = scaled_GC.max(1)
        spread_G = np.log(np.exp(scaled_GC - most_G[:, None]).sum(1))
        return float((weight_G * (most_G + spread_G)).mean())

    low, high = 0, len(TEMPERATURES) - 1
    while low < high:
        middle = (low + high) // 2
        if loss(middle) <= loss(middle + 1):
            high = middle
        else:
            low = middle + 1
    return float(TEMPERATURES[low]), loss(low)
