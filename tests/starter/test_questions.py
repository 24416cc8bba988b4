"""Questions derived from captions: right, uncontradicted, balanced."""

from __future__ import annotations

from collections import Counter

import pytest

from recipes.starter import questions
from recipes.starter.captionwords import words
from tests.models.weights import data_or_skip

CAPTIONS = [
    "A brown dog runs through the snow .",
    "A brown dog is playing in the snow .",
    "The dog is carrying a red ball through the snow .",
    "A dog with a ball .",
    "A dog runs in the snow",
]


def found(pairs):
    return dict(pairs)


def tokens(captions):
    return [words(caption) for caption in captions]


def test_a_colour_is_asked_where_captions_agree():
    assert found(questions.colors(tokens(CAPTIONS))) == {
        "what color is the dog": "brown",
        "what color is the ball": "red",
    }


def test_a_colour_is_not_asked_where_captions_differ_or_mix():
    differ = tokens(["a brown dog", "a black dog"])
    mixed = tokens(["a black and white dog"])
    assert found(questions.colors(differ)) == {}
    assert found(questions.colors(mixed)) == {}


def test_a_count_is_asked_where_two_captions_agree_and_none_differs():
    assert found(questions.counts(tokens(CAPTIONS))) == {"how many dogs are there": "one"}
    agree = tokens(["two small dogs run", "two dogs play", "dogs play"])
    assert found(questions.counts(agree)) == {"how many dogs are there": "two"}
    assert found(questions.counts(tokens(["two dogs run", "three dogs play"]))) == {}


def test_a_thing_is_asked_by_what_is_done_with_it():
    asked = found(questions.objects(tokens(CAPTIONS)))
    assert asked["what is the dog carrying"] == "ball"
    assert asked["what is the dog doing"] == "playing"


def test_a_place_is_asked_where_most_captions_name_it():
    assert found(questions.places(tokens(CAPTIONS))) == {"where is the dog": "snow"}


@pytest.fixture(scope="module")
def derived():
    from recipes.starter import data

    root = data_or_skip("flickr8k").parent
    dev = data.flickr(root, "dev")
    return questions.derive(dev.captions), dev.captions


def test_no_answer_is_frequent_enough_to_guess(derived):
    asked, _ = derived
    for kind, share in questions.TOP_SHARE.items():
        answers = Counter(item.answer for item in asked if item.kind == kind)
        assert answers.most_common(1)[0][1] <= share * answers.total() + 1


def test_yes_and_no_are_equally_frequent_for_every_question(derived):
    asked, _ = derived
    each = Counter((item.question, item.answer) for item in asked if item.kind == "yesno")
    assert each
    for question, _ in list(each):
        assert each[question, "yes"] == each[question, "no"]


def test_deriving_twice_gives_the_same(derived):
    asked, captions = derived
    assert questions.derive(captions) == asked
