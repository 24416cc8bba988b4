"""The verbs with the real starter; what needs the development data skips without it."""

from __future__ import annotations

import numpy as np
import pytest
import skimage.data
from PIL import Image, ImageFilter
from sklearn.linear_model import LogisticRegression
from sklearn.preprocessing import StandardScaler

import polymodal as pm
from polymodal.media.pictures import DEFAULT_LIMITS
from polymodal.models.protocols import FeatureExtractor
from polymodal.runtime.pictures import load_pixels
from tests.models.weights import data_or_skip, starter_or_skip


@pytest.fixture(scope="module")
def suite() -> pm.Suite:
    return pm.Suite(starter_or_skip())


def photograph(name: str) -> Image.Image:
    return Image.fromarray(getattr(skimage.data, name)()).convert("RGB")


def test_photographs_are_sorted(suite: pm.Suite) -> None:
    labels = ["a rocket at night", "a woman in an orange suit"]
    found = suite.classify([photograph("rocket"), photograph("astronaut")], labels)
    assert [item.label for item in found if isinstance(item, pm.Classification)] == labels
    assert all(0 <= item.score <= 1 for item in found if isinstance(item, pm.Classification))


def test_a_description_that_fits_is_more_probable(suite: pm.Suite) -> None:
    picture = photograph("astronaut")
    fits = suite.match(picture, "a woman in an orange suit smiles").probability
    wrong = suite.match(picture, "two dogs run through the snow").probability
    assert fits > wrong


@pytest.mark.parametrize("name", ["coffee", "chelsea"])
def test_a_blurred_copy_is_rejected_as_blurry(suite: pm.Suite, name: str) -> None:
    image = photograph(name)
    blurred = image.filter(ImageFilter.GaussianBlur(max(image.size) / 150))
    assert (
        suite.moderate(blurred).scores["blurry"]
        > 0.7
        > 0.1
        > suite.moderate(image).scores["blurry"]
    )
    assert not suite.moderate(blurred).approved


@pytest.mark.parametrize("name", ["coffee", "chelsea"])
def test_a_dark_copy_is_rejected_as_too_dark(suite: pm.Suite, name: str) -> None:
    image = photograph(name)
    dark = image.point(lambda level: int(level * 0.25))
    verdict = suite.moderate(dark)
    assert not verdict.approved
    assert verdict.scores["too dark"] > 0.8
    assert suite.moderate(image).scores["too dark"] < 0.2


def test_every_policy_that_ships_runs(suite: pm.Suite) -> None:
    verdict = suite.moderate(photograph("coffee"), policy="safe-for-shop")
    assert verdict.policy == "safe-for-shop"
    assert all(0 <= score <= 1 for score in verdict.scores.values())


def test_the_probes_of_the_policy_are_of_the_starter_that_ships(suite: pm.Suite) -> None:
    verdict = suite.moderate(photograph("astronaut"))
    told = {each.criterion: each.explanation for each in verdict.findings}
    assert told["watermark"].startswith("the probe says")
    assert told["worn by a person"].startswith("the probe says")
    assert verdict.scores["worn by a person"] >= 0.5
    assert suite.moderate(photograph("coffee")).scores["worn by a person"] < 0.5


@pytest.mark.slow
def test_a_probe_is_as_good_as_logistic_regression(suite: pm.Suite) -> None:
    folder = data_or_skip("clothing")
    names = ["dress", "hat", "pants", "shoes", "t-shirt"]
    train = {name: sorted((folder / "train" / name).iterdir())[:20] for name in names}
    test = {name: sorted((folder / "validation" / name).iterdir())[:12] for name in names}
    truth = np.array([name for name, paths in test.items() for _ in paths])
    probe = suite.probe(train)
    model = suite.embedder()
    assert isinstance(model, FeatureExtractor)

    def features(classes: dict[str, list[object]]) -> np.ndarray:
        paths = [path for each in classes.values() for path in each]
        pixels = [load_pixels(suite.embedder(), path, DEFAULT_LIMITS) for path in paths]  # type: ignore[arg-type]
        return model.extract_features(pixels)

    seen, new = features(train), features(test)  # type: ignore[arg-type]
    owners = np.array([name for name, paths in train.items() for _ in paths])
    scaler = StandardScaler().fit(seen)
    reference = LogisticRegression(C=0.01, max_iter=2000).fit(scaler.transform(seen), owners)
    ours = np.array(probe.labels)[probe.probabilities(new).argmax(1)]
    assert (ours == truth).mean() >= reference.score(scaler.transform(new), truth) - 0.05
    assert probe.report.accuracy == pytest.approx((ours == truth).mean(), abs=0.15)
