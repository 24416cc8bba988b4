"""Decoding bound to a closed set."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from polymodal.errors import UsageError
from polymodal.models.constraints import OneOf, masked

END = 9
ANSWERS = st.lists(st.lists(st.integers(0, 8), min_size=1, max_size=5), min_size=1, max_size=8)


@settings(deadline=None)
@given(ANSWERS, st.integers(0, 2**32 - 1))
def test_whatever_the_scores_what_is_decoded_is_one_of_the_answers(answers, seed):
    scores = np.random.default_rng(seed)
    constraint = OneOf(answers, END)
    said = []
    while END not in said:
        step = masked(scores.normal(size=10).astype(np.float32), constraint.allowed(said))
        said.append(int(step.argmax()))
    assert said[:-1] in answers
    np.testing.assert_array_equal(constraint.allowed(said), [END])


@settings(deadline=None)
@given(ANSWERS)
def test_every_answer_can_be_said(answers):
    constraint = OneOf(answers, END)
    for answer in answers:
        for position, token in enumerate([*answer, END]):
            assert token in constraint.allowed([*answer, END][:position])


def test_an_answer_that_begins_another_may_end_or_go_on():
    constraint = OneOf([[1], [1, 2]], END)
    np.testing.assert_array_equal(constraint.allowed([]), [1])
    np.testing.assert_array_equal(constraint.allowed([1]), [2, END])


def test_tokens_that_were_not_allowed_are_refused():
    with pytest.raises(ValueError, match="token 5 at position 1"):
        OneOf([[1, 2]], END).allowed([1, 5])


@pytest.mark.parametrize("answers", [[], [[]], [[1], []]])
def test_a_set_without_answers_is_refused(answers):
    with pytest.raises(UsageError):
        OneOf(answers, END)
