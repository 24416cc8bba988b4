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

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from polymodal.results import Vector
from polymodal.tasks.calibration import Doubles, softmax

__all__ = ["LinearHead", "fit_linear"]

STRENGTHS = np.geomspace(1e-4, 1e2, 25)
"""Ridge strengths that are tried, as multiples of the mean squared singular value."""
TEMPERATURES = np.geomspace(0.01, 2.0, 60)


@dataclass(frozen=True)
class LinearHead:
    """softmax((features_NF @ weights_FC + bias_C) / temperature).

    Attributes:
        held_out_GC: class probabilities of every training picture, by the model without it.
        strength: the ridge strength that was chosen.
    """

    weights_FC: Vector
    bias_C: Vector
    temperature: float
    strength: float
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
    target_GC = np.eye(classes)[class_G]
    smoother = _Smoother((x_NF - mean_F) * scale_F, np.repeat(target_GC, views, 0), views)
    # Every class weighs the same in the choice, however many pictures it has.
    weight_G = (groups / (classes * target_GC.sum(0)))[class_G]
    best = (np.inf, 0.0, 0.0)
    for strength in STRENGTHS * smoother.values_R.mean():
        scores_GC = smoother.held_out(strength)
        temperature, loss = _fit_temperature(scores_GC, class_G, weight_G)
        best = min(best, (loss, strength, temperature))
    _, strength, temperature = best
    weights_FC = smoother.weights(strength) * scale_F[:, None]
    return LinearHead(
        weights_FC=weights_FC.astype(np.float32),
        bias_C=(smoother.prior_C - mean_F @ weights_FC).astype(np.float32),
        temperature=temperature,
        strength=strength,
        held_out_GC=softmax(smoother.held_out(strength) / temperature),
    )


class _Smoother:
    """Ridge regression of targets on centred features, for any strength, from one decomposition.

    x = u sqrt(values) v; the fit is prior + u shrink u' (target - prior).
    """

    def __init__(self, x_NF: Doubles, target_NC: Doubles, views: int) -> None:
        samples, width = x_NF.shape
        # The smaller of the two Gram matrices has all there is to know.
        wide = samples <= width
        values, side = np.linalg.eigh(x_NF @ x_NF.T if wide else x_NF.T @ x_NF)
        keep = values > values[-1] * 1e-10
        self.values_R, side = values[keep], side[:, keep]
        other = (x_NF.T if wide else x_NF) @ side / np.sqrt(self.values_R)
        self.u_NR: Doubles = side if wide else other
        self.v_FR: Doubles = other if wide else side
        self.target_NC, self.views = target_NC, views
        self.prior_C: Doubles = target_NC.mean(0)
        self._seen_RC = self.u_NR.T @ (target_NC - self.prior_C)

    def weights(self, strength: float) -> Doubles:
        """Of the linear map, shape (F, C)."""
        share_R = np.sqrt(self.values_R) / (self.values_R + strength)
        weights: Doubles = self.v_FR @ (share_R[:, None] * self._seen_RC)
        return weights

    def held_out(self, strength: float) -> Doubles:
        """Scores of each picture by the fit to all others, mean over its views, shape (G, C)."""
        shrink_R = self.values_R / (self.values_R + strength)
        fitted_NC = self.prior_C + (self.u_NR * shrink_R) @ self._seen_RC
        classes = self.target_NC.shape[1]
        residual_GVC = (self.target_NC - fitted_NC).reshape(-1, self.views, classes)
        u_GVR = self.u_NR.reshape(-1, self.views, len(shrink_R))
        # The 1/N is the intercept's part of the hat matrix; the tiny ridge keeps it invertible
        # where a picture is fitted exactly.
        hat_GVV = (u_GVR * shrink_R) @ u_GVR.transpose(0, 2, 1) + 1.0 / len(self.u_NR)
        left_GVC = np.linalg.solve((1.0 + 1e-9) * np.eye(self.views) - hat_GVV, residual_GVC)
        scores: Doubles = (self.target_NC.reshape(left_GVC.shape) - left_GVC).mean(1)
        return scores


def _fit_temperature(
    scores_GC: Doubles, class_G: NDArray[np.int64], weight_G: Doubles
) -> tuple[float, float]:
    """The temperature with the least weighted log loss, and that loss."""
    losses = []
    for temperature in TEMPERATURES:
        own_G = softmax(scores_GC / temperature)[np.arange(len(class_G)), class_G]
        losses.append(float((weight_G * -np.log(np.maximum(own_G, 1e-12))).mean()))
    best = int(np.argmin(losses))
    return float(TEMPERATURES[best]), losses[best]
