from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

import numpy as np
import pytest
from scipy.special import softmax

from polymodal.errors import UsageError
from polymodal.media.pictures import DEFAULT_LIMITS
from polymodal.models.mock import MockCalibration, MockEmbedder
from polymodal.results import Classification
from polymodal.runtime.texts import TextVectors
from polymodal.tasks.classify import Decision, classify, zero_shot
from tests.tasks.pictures import plain

COLOURS = ["red", "blue", "green"]


def run(picture: object, labels: object, decision: Decision | None = None) -> Classification:
    texts = TextVectors(MockEmbedder())
    head = zero_shot(texts, labels)  # type: ignore[arg-type]
    stream = classify(texts, [picture], head, decision or Decision(), limits=DEFAULT_LIMITS)  # type: ignore[list-item]
    ((_, outcome),) = stream
    assert isinstance(outcome, Classification)
    return outcome


@pytest.mark.parametrize("colour", COLOURS)
def test_the_label_that_fits_wins(colour: str) -> None:
    result = run(plain(colour), COLOURS)
    assert result.label == colour
    assert result.score == result.scores[colour] > 0.9
    assert sum(result.scores.values()) == pytest.approx(1)
    assert next(iter(result.scores)) == colour


def test_a_label_vector_is_the_normalised_mean_of_its_prompts() -> None:
    mock = MockEmbedder()
    head = zero_shot(
        TextVectors(mock), {"warm": ["red", "an orange"], "cold": "blue"}, ["{}", "a photo of a {}"]
    )
    prompts = ["red", "a photo of a red", "orange", "a photo of an orange"]
    mean = mock.embed_texts(prompts).mean(0)
    np.testing.assert_allclose(head.vectors[0], mean / np.linalg.norm(mean), atol=1e-6)
    assert head.provenance.prompts == ("{}", "a photo of a {}")


@dataclass(frozen=True)
class KnowsKinds(MockCalibration):
    kinds: Mapping[str, tuple[str, ...]] = field(
        default_factory=lambda: {"warm": ("red", "orange"), "anything": ("green",)}
    )


def test_a_name_that_goes_by_its_kinds_is_as_close_as_the_closest() -> None:
    mock = MockEmbedder()
    mock.calibration = KnowsKinds()
    head = zero_shot(TextVectors(mock), ["Warm", "blue"])
    vector = mock.embed_images([mock.preprocess(plain("orange"))])[0]
    each = zero_shot(TextVectors(MockEmbedder()), ["red", "orange", "blue"]).vectors @ vector
    np.testing.assert_allclose(head.cosines(vector), [each[:2].max(), each[2]], atol=1e-6)
    assert head.provenance.prompts == (*mock.calibration.templates, "warm: red, orange")


def test_descriptions_beside_such_a_name_still_stand_together() -> None:
    mock = MockEmbedder()
    mock.calibration = KnowsKinds()
    head = zero_shot(TextVectors(mock), {"x": ["pink", "a warm", "yellow"]}, ["{}"])
    own = zero_shot(TextVectors(MockEmbedder()), {"x": ["pink", "yellow"]}, ["{}"])
    assert len(head.vectors) == 3
    np.testing.assert_allclose(head.vectors[0], own.vectors[0], atol=1e-6)


def test_scores_are_the_softmax_at_the_card_s_temperature() -> None:
    mock = MockEmbedder()
    head = zero_shot(TextVectors(mock), COLOURS)
    vector = mock.embed_images([mock.preprocess(plain("red", seed=3))])[0]
    expected = softmax(head.vectors @ vector / mock.calibration.classify_temperature)
    found = run(plain("red", seed=3), COLOURS).scores
    np.testing.assert_allclose([found[name] for name in COLOURS], expected, atol=1e-6)


def test_below_the_unknown_threshold_there_is_no_label() -> None:
    half = np.concatenate([np.asarray(plain("red")), np.asarray(plain("blue"))])
    assert run(half, ["red", "blue"]).label in {"red", "blue"}
    unsure = run(half, ["red", "blue"], Decision(unknown=0.9))
    assert unsure.label is None
    assert unsure.score == pytest.approx(0.5, abs=0.1)
    assert run(plain("red"), ["red", "blue"], Decision(unknown=0.9)).label == "red"


def test_a_picture_of_something_else_has_no_label_though_one_fits_best() -> None:
    yellow = plain("yellow", seed=1)
    assert run(yellow, ["red", "a blue thing"]).label is not None
    result = run(yellow, ["red", "a blue thing"], Decision(unknown=0.3))
    assert result.label is None
    assert sum(result.scores.values()) < 0.1


@dataclass(frozen=True)
class KnowsThings(MockCalibration):
    unknown_scale: float = 20.0
    unknown_bias: float = 0.0
    everyday: np.ndarray | None = None
    everyday_nearest: int = 2


def test_a_label_fits_only_where_everyday_things_do_not_fit_better() -> None:
    mock = MockEmbedder()
    things = mock.embed_texts(["red", "green", "yellow"])
    mock.calibration = KnowsThings(everyday=things)
    texts = TextVectors(mock)
    head = zero_shot(texts, ["orange", "blue"])
    stream = classify(
        texts, [plain("red"), plain("orange")], head, Decision(unknown=0.5), limits=DEFAULT_LIMITS
    )
    red, orange = (found for _, found in stream if isinstance(found, Classification))
    assert red.label is None
    assert orange.label == "orange"
    vector = mock.embed_images([mock.preprocess(plain("red"))])[0]
    ahead = (head.vectors @ vector).max() - np.sort(things @ vector)[-2:].mean()
    assert sum(red.scores.values()) == pytest.approx(1 / (1 + np.exp(-20 * ahead)), abs=1e-5)


def test_several_labels_can_hold() -> None:
    half = np.concatenate([np.asarray(plain("red")), np.asarray(plain("blue"))])
    result = run(half, COLOURS, Decision(multi_label=True))
    assert set(result.labels) == {"red", "blue"}
    assert result.scores["green"] < 0.1
    nothing = run(plain("yellow"), COLOURS, Decision(multi_label=True, unknown=0.5))
    assert nothing.labels == ()
    assert nothing.label is None


def test_one_label_in_multi_label_mode_is_a_yes_or_no_question() -> None:
    assert run(plain("red"), ["red"], Decision(multi_label=True)).score > 0.9
    assert run(plain("blue"), ["red"], Decision(multi_label=True)).score < 0.1


@pytest.mark.parametrize("templates", [[], ["no slot"], ["{} and {}"], "a photo of a {}"])
def test_templates_that_cannot_be_used_are_refused(templates: list[str]) -> None:
    with pytest.raises(UsageError, match="template"):
        zero_shot(TextVectors(MockEmbedder()), COLOURS, templates)


@pytest.mark.parametrize("unknown", [-0.1, 1.1])
def test_a_threshold_outside_zero_to_one_is_refused(unknown: float) -> None:
    with pytest.raises(UsageError, match="from 0 to 1"):
        Decision(unknown=unknown)


def test_a_model_without_calibration_says_so() -> None:
    class Bare:
        """Only what `Embedder` asks for."""

        def __init__(self) -> None:
            mock = MockEmbedder()
            self.space, self.image_size_px = mock.space, mock.image_size_px
            self.preprocess, self.embed_images = mock.preprocess, mock.embed_images
            self.embed_texts = mock.embed_texts

    with pytest.warns(UserWarning, match="mock has no calibration"):
        head = zero_shot(TextVectors(Bare()), COLOURS)
    assert head.provenance.prompts == ("a photo of a {}.",)
