"""The verbs with the real starter; what needs the development data skips without it."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import skimage.data
from PIL import Image, ImageFilter
from scipy.special import expit
from sklearn.linear_model import LogisticRegression
from sklearn.preprocessing import StandardScaler

import polymodal as pm
from polymodal.media.pictures import DEFAULT_LIMITS
from polymodal.models.describing import TextScorer
from polymodal.models.protocols import CloseLooker
from polymodal.runtime.pictures import load_pixels
from polymodal.tasks.likelihood import LIKELIHOOD_WEIGHT
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


def test_a_person_is_found_by_that_name(suite: pm.Suite) -> None:
    labels = ["a cat", "a person", "a building", "a cup of coffee"]
    found = suite.classify([photograph("astronaut"), photograph("chelsea")], labels, unknown=0.3)
    assert [item.label for item in found if isinstance(item, pm.Classification)] == [
        "a person",
        "a cat",
    ]


@pytest.mark.parametrize("name", ["grass", "gravel", "coins", "brick", "moon"])
def test_what_is_none_of_the_classes_is_said_to_be_none(suite: pm.Suite, name: str) -> None:
    labels = ["a cat", "a person", "a building", "a motorcycle"]
    (found,) = suite.classify([photograph(name)], labels, unknown=0.5)
    assert isinstance(found, pm.Classification)
    assert found.label is None


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
    assert isinstance(model, CloseLooker)
    close_up = model.close_up
    assert close_up is not None
    assert close_up.look == probe.look

    def features(classes: dict[str, list[object]]) -> np.ndarray:
        paths = [path for each in classes.values() for path in each]
        pixels = [load_pixels(close_up, path, DEFAULT_LIMITS) for path in paths]  # type: ignore[arg-type]
        return close_up.extract_features(pixels)

    seen, new = features(train), features(test)  # type: ignore[arg-type]
    owners = np.array([name for name, paths in train.items() for _ in paths])
    scaler = StandardScaler().fit(seen)
    reference = LogisticRegression(C=0.01, max_iter=2000).fit(scaler.transform(seen), owners)
    ours = np.array(probe.labels)[probe.probabilities(new).argmax(1)]
    assert (ours == truth).mean() >= reference.score(scaler.transform(new), truth) - 0.05
    assert probe.report.accuracy == pytest.approx((ours == truth).mean(), abs=0.15)


def test_hits_are_reranked_by_the_cosine_moved_by_how_likely_the_words_are(
    tmp_path: Path,
) -> None:
    starter_or_skip()
    names = ("astronaut", "rocket", "chelsea", "coffee")
    for name in names:
        photograph(name).save(tmp_path / f"{name}.png")
    suite = pm.Suite(home=tmp_path / "home")
    query = "a rocket at night"
    with suite.collection("shop") as shop:
        shop.add([tmp_path / f"{name}.png" for name in names])
        plain = shop.search(query, k=4)
        found = shop.search(query, k=4, rerank="starter")
        unknown = shop.search("zyzzyva", k=4, rerank="starter")
    captioner = suite.captioner()
    assert isinstance(captioner, TextScorer)
    sights = captioner.look([captioner.preprocess(photograph(name)) for name in names])
    likely = np.array(captioner.score_text(sights, query))
    cosines = np.array([sight.embedding for sight in sights]) @ suite.embed(texts=query).vectors[0]
    moved = cosines + LIKELIHOOD_WEIGHT * (likely - likely.mean())
    calibration = suite.embedder().calibration  # type: ignore[attr-defined]
    wanted = expit(calibration.match_scale * moved + calibration.match_bias)
    scores = {Path(hit.path).stem: hit.score for hit in found}
    assert scores == pytest.approx(dict(zip(names, wanted, strict=True)), abs=1e-3)
    assert [Path(hit.path).stem for hit in found] == [names[i] for i in np.argsort(-wanted)]
    assert found.ranked_by == captioner.provenance
    assert {hit.first_score for hit in found} == {hit.score for hit in plain}
    # No word of it is known to the captioner: the order of the search stays.
    similar = [hit.similarity or 0.0 for hit in unknown]
    assert similar == sorted(similar, reverse=True)
