"""Scores against cases worked by hand and against scikit-learn."""

from __future__ import annotations

import numpy as np
import pytest

from recipes.starter import metrics

pytest.importorskip("sklearn", reason="calibration is fitted with scikit-learn")


def test_recall_of_a_worked_case():
    image = np.eye(3, dtype=np.float32)
    text = np.array(
        [[1, 0, 0], [0, 1, 0], [0, 1, 0], [0, 0.9, 0.1], [0.5, 0, 1], [0.2, 0, 0.1]], np.float32
    )  # two captions an image
    found = metrics.retrieval(image, text, captions=2)
    assert found["text_to_image_r1"] == pytest.approx(100 * 4 / 6)
    assert found["image_to_text_r1"] == pytest.approx(100 * 2 / 3)


def test_ties_count_against_the_model():
    same = np.ones((4, 2), np.float32)
    assert metrics.retrieval(same, same, captions=1)["text_to_image_r1"] == 0.0


def test_retrieval_ranks_like_scikit_learn():
    from sklearn.metrics import top_k_accuracy_score

    rng = np.random.default_rng(0)
    image, text = rng.normal(size=(40, 8)), rng.normal(size=(200, 8))
    text += image.repeat(5, 0)
    found = metrics.retrieval(image.astype(np.float32), text.astype(np.float32))
    for k in (1, 5, 10):
        wanted = top_k_accuracy_score(np.arange(200) // 5, text @ image.T, k=k)
        assert found[f"text_to_image_r{k}"] == pytest.approx(100 * wanted)


def test_calibration_error_is_zero_when_confidence_is_accuracy():
    confidence = np.full(10, 0.7, np.float32)
    right = np.arange(10) < 7
    assert metrics.calibration_error(confidence, right) == pytest.approx(0.0, abs=1e-6)


def test_temperature_is_recovered():
    rng = np.random.default_rng(0)
    cosine = rng.uniform(0, 0.5, (4000, 5)).astype(np.float32)
    chances = metrics.softmax(cosine / 0.1)
    labels = np.array([rng.choice(5, p=row / row.sum()) for row in chances.astype(np.float64)])
    assert metrics.fit_temperature(cosine, labels) == pytest.approx(0.1, rel=0.1)
