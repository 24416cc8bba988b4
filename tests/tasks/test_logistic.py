"""The recipe linear_probe against scikit-learn called by hand."""

from __future__ import annotations

import warnings
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from sklearn.exceptions import ConvergenceWarning
from sklearn.linear_model import LogisticRegression

from polymodal.errors import UsageError
from polymodal.media.pictures import DEFAULT_LIMITS
from polymodal.models.mock import MockEmbedder
from polymodal.results import Classification
from polymodal.tasks.calibration import softmax
from polymodal.tasks.classify import Decision
from polymodal.tasks.logistic import _held_out, fit_logistic
from polymodal.tasks.probe import Probe, classify_with_probe, train_probe
from polymodal.training.probe_recipe import linear_probe
from polymodal.training.settings import overridden
from tests.tasks.pictures import plain
from tests.tasks.test_linear import blobs


@pytest.mark.parametrize("classes", [2, 4])
def test_the_head_is_scikit_learns_at_the_strength_that_was_chosen(classes: int) -> None:
    x, owner = blobs(240, 12, 2.0)
    x, owner = x[owner < classes], owner[owner < classes]
    head = fit_logistic(x, owner, classes, linear_probe())
    reference = LogisticRegression(C=head.strength, max_iter=1000).fit(x, owner)
    ours = softmax((x @ head.weights_FC + head.bias_C).astype(np.float64))
    np.testing.assert_allclose(ours, reference.predict_proba(x), atol=2e-3)


def test_the_strength_is_as_good_as_the_best_of_the_whole_grid() -> None:
    x, owner = blobs(200, 40, 3.0)
    recipe = replace(linear_probe(), iterations=200)
    head = fit_logistic(x, owner, 4, recipe)
    held = _held_out(owner, 4, recipe)
    assert head.held_out == held.sum() == 40
    right = []
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)
        for strength in np.logspace(-6, 6, 97)[::4]:
            model = LogisticRegression(C=strength, max_iter=200).fit(x[~held], owner[~held])
            right.append(int((model.predict(x[held]) == owner[held]).sum()))
    assert head.right >= max(right) - 1
    assert 0.4 < head.right / head.held_out < 1.0


def test_every_class_is_held_out_and_learnt_from() -> None:
    owner = np.repeat([0, 1, 2], [2, 30, 9])
    held = _held_out(owner, 3, linear_probe())
    assert np.bincount(owner[held]).tolist() == [1, 6, 2]


def test_a_probe_by_the_recipe_is_saved_and_classifies(tmp_path: Path) -> None:
    pictures = {name: [plain(name, seed) for seed in range(6)] for name in ("red", "blue")}
    recipe = overridden(linear_probe(), ["iterations=50", "seed=1"])
    trained = train_probe(MockEmbedder(), pictures, limits=DEFAULT_LIMITS, recipe=recipe)
    assert trained.report.accuracy == 1.0
    loaded = Probe.load(trained.save(tmp_path / "colours.probe"))
    found = classify_with_probe(
        MockEmbedder(), [plain("red", 99)], loaded, Decision(), limits=DEFAULT_LIMITS
    )
    ((_, outcome),) = found
    assert isinstance(outcome, Classification)
    assert outcome.label == "red"
    assert outcome.score > 0.7


@pytest.mark.parametrize("value", ["held_out=1", "held_out=0", "iterations=0", "per_decade=0"])
def test_values_that_leave_nothing_to_do_are_refused(value: str) -> None:
    x, owner = blobs(24, 5, 1.0)
    with pytest.raises(UsageError):
        fit_logistic(x, owner, 4, overridden(linear_probe(), [value]))


def test_a_value_that_the_recipe_does_not_have_is_an_error() -> None:
    with pytest.raises(UsageError, match=r"no value 'iteration'.*iterations"):
        overridden(linear_probe(), ["iteration=5"])
