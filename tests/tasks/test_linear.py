from __future__ import annotations

import numpy as np
import pytest
from numpy.typing import NDArray
from scipy.special import log_softmax
from sklearn.linear_model import LogisticRegression, Ridge
from sklearn.preprocessing import StandardScaler

from polymodal.tasks import linear
from polymodal.tasks.linear import TEMPERATURES, _fit_temperature, _Smoother, fit_linear

rng = np.random.default_rng(7)


def blobs(count: int, width: int, spread: float) -> tuple[NDArray[np.float32], NDArray[np.int64]]:
    """Four overlapping classes."""
    centres = np.random.default_rng(1).normal(size=(4, width))
    owner = np.arange(count) % 4
    noise = np.random.default_rng(count).normal(size=(count, width))
    return (centres[owner] + spread * noise).astype(np.float32), owner.astype(np.int64)


@pytest.mark.parametrize(("count", "width"), [(24, 60), (80, 20)])
def test_held_out_scores_are_those_of_refitting_without_the_picture(count: int, width: int) -> None:
    """The identity against scikit-learn's ridge, fitted once for every picture that is left out."""
    x, owner = blobs(count, width, 1.0)
    x = x - x.mean(0)
    target = np.eye(4)[owner]
    smoother = _Smoother(x.astype(np.float64), target, 1, np.arange(count))
    found = smoother.held_out(3.0, smoother.hats([1.0, 3.0])[1])
    for left in range(0, count, 5):
        keep = np.arange(count) != left
        reference = Ridge(alpha=3.0).fit(x[keep].astype(np.float64), target[keep])
        np.testing.assert_allclose(found[left], reference.predict(x[[left]])[0], atol=1e-6)


def test_a_picture_and_its_mirror_image_are_left_out_together() -> None:
    x, owner = blobs(30, 50, 1.0)
    views = np.stack([x, x + 0.01 * rng.normal(size=x.shape)], 1).reshape(60, 50)
    views = (views - views.mean(0)).astype(np.float64)
    target = np.repeat(np.eye(4)[owner], 2, 0)
    smoother = _Smoother(views, target, 2, np.array([2, 4, 9]))
    found = smoother.held_out(2.0, *smoother.hats([2.0]))
    keep = np.arange(60) // 2 != 4
    reference = Ridge(alpha=2.0).fit(views[keep], target[keep])
    np.testing.assert_allclose(found[1], reference.predict(views[8:10]).mean(0), atol=1e-6)


def test_weights_are_those_of_ridge_regression() -> None:
    x, owner = blobs(60, 20, 1.0)
    head = fit_linear(x[:, None], owner, 4)
    scaled = StandardScaler().fit_transform(x.astype(np.float64))
    reference = Ridge(alpha=head.strength).fit(scaled, np.eye(4)[owner]).predict(scaled)
    np.testing.assert_allclose(x @ head.weights_FC + head.bias_C, reference, atol=5e-3)


def test_accuracy_is_within_a_point_of_logistic_regression() -> None:
    x, owner = blobs(400, 64, 4.0)
    new, truth = blobs(4000, 64, 4.0)
    ours = (fit_linear(x[:, None], owner, 4).predict(new).argmax(1) == truth).mean()
    reference = LogisticRegression(C=0.1, max_iter=2000).fit(x, owner).score(new, truth)
    assert 0.4 < reference < 0.95
    assert ours >= reference - 0.01


def test_held_out_accuracy_foretells_that_on_new_pictures() -> None:
    x, owner = blobs(400, 64, 4.0)
    new, truth = blobs(4000, 64, 4.0)
    head = fit_linear(x[:, None], owner, 4)
    held_out = (head.held_out_GC.argmax(1) == owner).mean()
    assert held_out == pytest.approx((head.predict(new).argmax(1) == truth).mean(), abs=0.05)


def test_probabilities_are_calibrated_on_new_pictures() -> None:
    x, owner = blobs(400, 64, 4.0)
    new, truth = blobs(4000, 64, 4.0)
    scores = fit_linear(x[:, None], owner, 4).predict(new)
    confidence, right = scores.max(1), scores.argmax(1) == truth
    bins = np.minimum((confidence * 10).astype(int), 9)
    error = sum(
        abs(confidence[bins == b].mean() - right[bins == b].mean()) * (bins == b).mean()
        for b in np.unique(bins)
    )
    assert error < 0.06


def test_features_of_any_scale_give_the_same_answers() -> None:
    x, owner = blobs(80, 20, 2.0)
    scale = np.geomspace(0.1, 10, 20, dtype=np.float32)
    plain = fit_linear(x[:, None], owner, 4).predict(x)
    scaled = fit_linear((x * scale + 5)[:, None], owner, 4).predict(x * scale + 5)
    assert (plain.argmax(1) == scaled.argmax(1)).mean() > 0.97


def test_features_that_never_change_do_no_harm() -> None:
    x, owner = blobs(40, 10, 0.5)
    x[:, 3] = 2.0
    head = fit_linear(x[:, None], owner, 4)
    assert np.isfinite(head.weights_FC).all()
    assert (head.predict(x).argmax(1) == owner).mean() > 0.9


def test_two_pictures_a_class_are_enough() -> None:
    x, owner = blobs(8, 30, 0.3)
    head = fit_linear(np.stack([x, x], 1), owner, 4)
    assert np.isfinite(head.held_out_GC).all()
    assert (head.predict(x).argmax(1) == owner).all()


def test_strengths_reach_far_enough_that_the_best_is_inside() -> None:
    x, owner = blobs(200, 64, 2.0)
    head = fit_linear(x[:, None], owner, 4)
    scaled = StandardScaler().fit_transform(x)
    values = np.linalg.svd(scaled, compute_uv=False) ** 2
    tried = linear.STRENGTHS * values.mean()
    assert tried[0] * 1.5 < head.strength < tried[-1] / 1.5


@pytest.mark.parametrize("spread", [0.05, 1.0, 5.0])
def test_the_temperature_is_the_best_of_the_whole_grid(spread: float) -> None:
    scores = rng.normal(size=(50, 4)) * spread
    owner = np.where(rng.random(50) < 0.7, scores.argmax(1), rng.integers(4, size=50))
    weight = rng.random(50)
    losses = [
        float((weight * -log_softmax(scores / each, 1)[np.arange(50), owner]).mean())
        for each in TEMPERATURES
    ]
    found, loss = _fit_temperature(scores, owner, weight)
    assert found == TEMPERATURES[int(np.argmin(losses))]
    assert loss == pytest.approx(min(losses))


def test_many_pictures_are_fitted_as_a_few_at_a_time(monkeypatch: pytest.MonkeyPatch) -> None:
    x, owner = blobs(90, 12, 1.0)
    whole = fit_linear(x[:, None], owner, 4)
    monkeypatch.setattr(linear, "ROWS", 7)
    parts = fit_linear(x[:, None], owner, 4)
    np.testing.assert_allclose(parts.held_out_GC, whole.held_out_GC, atol=1e-12)


def test_of_many_pictures_an_even_part_is_asked_and_all_are_fitted(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    x, owner = blobs(400, 12, 2.0)
    monkeypatch.setattr(linear, "ASKED", 150)
    part = fit_linear(x[:, None], owner, 4)
    assert len(part.asked_G) == len(part.held_out_GC) == 150
    assert np.bincount(owner[part.asked_G]).min() > 25
    scaled = StandardScaler().fit_transform(x.astype(np.float64))
    reference = Ridge(alpha=part.strength).fit(scaled, np.eye(4)[owner]).predict(scaled)
    np.testing.assert_allclose(x @ part.weights_FC + part.bias_C, reference, atol=5e-3)
