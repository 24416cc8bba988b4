# ruff: noqa: N803, N806, N815 - names end in their shape
"""A linear classifier by logistic regression, its strength chosen as in CLIP's paper.

Notable: scikit-learn does the work (L-BFGS). Strengths are tried coarsely, then around the best at
half the distance each time, so that 15 fits see what a grid of 97 does. Fits go from strong to
weak, each from where the last ended, in the precision that features come in.

Shapes: N samples, F features, C classes.
"""

from __future__ import annotations

import warnings
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from polymodal.errors import MissingDependency, UsageError
from polymodal.results import Vector
from polymodal.training.probe_recipe import LinearProbeRecipe

__all__ = ["LogisticHead", "fit_logistic"]


@dataclass(frozen=True)
class LogisticHead:
    """softmax(features_NF @ weights_FC + bias_C), fitted to all samples.

    Attributes:
        strength: scikit-learn's C.
        right, held_out: how many of the held-out samples were classified rightly, by the fit to
            the others at that strength, and how many there were.
    """

    weights_FC: Vector
    bias_C: Vector
    strength: float
    right: int
    held_out: int


def fit_logistic(
    features_NF: Vector, class_N: NDArray[np.int64], classes: int, recipe: LinearProbeRecipe
) -> LogisticHead:
    """Choose the strength on held-out samples, then fit to all.

    Raises:
        MissingDependency: scikit-learn is not installed.
        UsageError: values of the recipe that leave nothing to fit or to choose by.
    """
    _check(recipe)
    held_N = _held_out(class_N, classes, recipe)
    sweep = _Sweep(features_NF, class_N, held_N, recipe)
    best = sweep.best()
    strength = float(10.0 ** (best / recipe.per_decade))
    model = _fitted(features_NF, class_N, strength, recipe)
    weights_CF, bias_C = model.coef_, model.intercept_
    if classes == 2:  # scikit-learn keeps one row, of the second class against the first
        weights_CF = np.concatenate([-weights_CF, weights_CF]) / 2
        bias_C = np.append(-bias_C, bias_C) / 2
    return LogisticHead(
        np.ascontiguousarray(weights_CF.T, np.float32),
        np.asarray(bias_C, np.float32),
        strength,
        sweep.tried[best].right,
        int(held_N.sum()),
    )


def _check(recipe: LinearProbeRecipe) -> None:
    if not 0 < recipe.held_out < 1:
        raise UsageError(f"held_out is a share between 0 and 1, not {recipe.held_out}.")
    if min(recipe.iterations, recipe.coarse, recipe.per_decade) < 1:
        raise UsageError("iterations, coarse and per_decade are 1 or more.")


def _held_out(
    class_N: NDArray[np.int64], classes: int, recipe: LinearProbeRecipe
) -> NDArray[np.bool_]:
    """Which samples are: of every class at least one, and never all."""
    random = np.random.default_rng(recipe.seed)
    held_N = np.zeros(len(class_N), bool)
    for number in range(classes):
        own = random.permutation(np.flatnonzero(class_N == number))
        count = min(max(1, round(recipe.held_out * len(own))), len(own) - 1)
        held_N[own[:count]] = True
    return held_N


class _Score(NamedTuple):
    """Of a strength: held-out samples classified rightly, and, of equals, the likelier labels."""

    right: int
    likelihood: float


class _Sweep:
    """Strengths as places on a grid of `per_decade` steps a power of ten.

    Attributes:
        tried: the score of each place that was tried.
    """

    def __init__(
        self,
        features_NF: Vector,
        class_N: NDArray[np.int64],
        held_N: NDArray[np.bool_],
        recipe: LinearProbeRecipe,
    ) -> None:
        self.recipe = recipe
        self.tried: dict[int, _Score] = {}
        self._learnt = features_NF[~held_N], class_N[~held_N]
        self._asked = features_NF[held_N], class_N[held_N]

    def best(self) -> int:
        """The place of the best strength."""
        recipe = self.recipe
        last = recipe.decades * recipe.per_decade
        step = recipe.coarse * recipe.per_decade
        self._try([*range(-last, last, step), last])
        while step > 1:
            step = max(1, step // 2)
            best = self._best()
            self._try([each for each in (best - step, best + step) if abs(each) <= last])
        return self._best()

    def _best(self) -> int:
        return max(self.tried, key=lambda place: self.tried[place])

    def _try(self, places: list[int]) -> None:
        model = None
        features_NF, class_N = self._asked
        for place in sorted(set(places) - self.tried.keys()):
            strength = float(10.0 ** (place / self.recipe.per_decade))
            model = _fitted(*self._learnt, strength, self.recipe, model)
            chance_NC = model.predict_proba(features_NF)
            right = int((chance_NC.argmax(1) == class_N).sum())
            own_N = chance_NC[np.arange(len(class_N)), class_N]
            likelihood = float(np.log(np.maximum(own_N, 1e-12)).mean())
            self.tried[place] = _Score(right, likelihood)


def _fitted(
    features_NF: Vector,
    class_N: NDArray[np.int64],
    strength: float,
    recipe: LinearProbeRecipe,
    start: Any = None,
) -> Any:
    """scikit-learn's model at a strength; it goes on from `start`, a model of another."""
    try:
        from sklearn.exceptions import ConvergenceWarning
        from sklearn.linear_model import LogisticRegression
    except ModuleNotFoundError as error:
        raise MissingDependency(
            "the recipe linear_probe needs scikit-learn, which is not installed. Run: pip install"
            " 'polymodal[train]'"
        ) from error
    model = start or LogisticRegression(max_iter=recipe.iterations, warm_start=True)
    model.set_params(C=strength)
    with warnings.catch_warnings():
        # The protocol stops after so many iterations, converged or not.
        warnings.simplefilter("ignore", ConvergenceWarning)
        return model.fit(features_NF, class_N)
