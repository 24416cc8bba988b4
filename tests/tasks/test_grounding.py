"""Two witnesses and the confidence that comes of them, against scipy's functions."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.special import expit, log_softmax, softmax

from polymodal.models.describing import AnswerCalibration, AnswerWeights
from polymodal.tasks.grounding import margins, moved, presence, weigh

COLOR = AnswerWeights(decoder=0.8, embedder=5.0, bias=0.0, alone=15.0, alone_bias=0.0, trust=0.1)
YESNO = AnswerWeights(decoder=1.0, embedder=12.0, bias=-0.5, alone=13.0, alone_bias=-0.8, trust=0.0)
CALIBRATION = AnswerCalibration({"color": COLOR, "yesno": YESNO}, 1.1, -0.1, 0.2, 0.5)
ANSWERS = ["red", "blue", "green"]


def test_candidates_are_ranked_by_the_weighted_sum_of_both() -> None:
    logprobs, seen = [-1.0, -0.9, -3.0], np.array([0.5, 0.2, 0.1])
    found = weigh("color", ANSWERS, logprobs, seen, CALIBRATION)
    said = log_softmax(logprobs)
    both = softmax(0.8 * said + 5.0 * seen)
    alone = softmax(15.0 * seen)
    assert found.answers == ("red", "blue", "green")
    assert found.share == pytest.approx(both)
    assert found.said == pytest.approx(np.exp(said))
    assert found.seen == pytest.approx(alone)
    odds = [np.log(p / (1 - p)) for p in (both[0], np.exp(said)[0], alone[0])]
    assert found.confidence == pytest.approx(expit(0.1 + np.dot([1.1, -0.1, 0.2], odds)))


def test_a_picture_that_disagrees_lowers_the_confidence() -> None:
    logprobs = [-0.1, -2.5, -4.0]
    agrees = weigh("color", ANSWERS, logprobs, np.array([0.5, 0.2, 0.2]), CALIBRATION)
    disagrees = weigh("color", ANSWERS, logprobs, np.array([0.2, 0.5, 0.2]), CALIBRATION)
    assert agrees.answers[0] == disagrees.answers[0] == "red"
    assert disagrees.confidence < agrees.confidence


def test_a_picture_can_overrule_the_model() -> None:
    logprobs = [-0.6, -0.8, -4.0]
    assert weigh("color", ANSWERS, logprobs, np.array([0.1, 0.6, 0.1]), CALIBRATION).answers[0] == (
        "blue"
    )


def test_an_answer_the_model_cannot_say_has_almost_no_share() -> None:
    found = weigh("color", ANSWERS, [-0.5, -1.0, -np.inf], np.array([0.2, 0.2, 0.2]), CALIBRATION)
    assert found.answers[-1] == "green"
    assert found.share[-1] < 1e-6
    assert np.isfinite(found.confidence)


def test_yes_is_what_the_thing_is_ahead_of_other_things() -> None:
    assert margins("yesno", [0.4, 0.4], [0.1, 0.2]) == pytest.approx([0.25, 0.0])
    there = weigh("yesno", ["yes", "no"], [-0.7, -0.7], np.array([0.3, 0.0]), CALIBRATION)
    absent = weigh("yesno", ["yes", "no"], [-0.7, -0.7], np.array([-0.1, 0.0]), CALIBRATION)
    assert (there.answers[0], absent.answers[0]) == ("yes", "no")


def test_what_does_not_look_there_takes_the_confidence_with_it() -> None:
    likely = [presence("color", np.array([m, 0.0]), CALIBRATION) for m in (0.3, 0.0, -0.2)]
    assert likely[0] == 1.0
    assert likely[0] >= likely[1] > likely[2] > 0
    assert presence("yesno", np.array([-0.2, 0.0]), CALIBRATION) == 1.0


def test_the_picture_moves_the_odds_of_another_model_within_bounds() -> None:
    even = np.array([0.25, 0.25, 0.25, 0.25])
    assert moved(0.8, even, 0) == pytest.approx(0.8)
    assert moved(0.8, np.array([0.7, 0.1, 0.1, 0.1]), 0) > 0.8
    low = moved(0.8, np.array([1e-9, 0.4, 0.3, 0.3]), 0)
    assert low == pytest.approx(expit(np.log(4) - 3))
