"""What a question asks for: the plain form it is put into, or that it fits none."""

from __future__ import annotations

import pytest

from polymodal.errors import UsageError
from polymodal.tasks.picture_checks import asks_of_things
from polymodal.tasks.questions import LONGEST_QUESTION, parse, plural, singular
from polymodal.tasks.statements import alternatives, others, statement


@pytest.mark.parametrize(
    ("text", "kind", "wording"),
    [
        ("What colour is the dog?", "color", "what color is the dog"),
        ("What is the color of the man's shirt?", "color", "what color is the shirt"),
        ("what color are her shorts", "color", "what color are the shorts"),
        ("How many dogs are running in this picture?", "count", "how many dogs are there"),
        ("How many children can you see?", "count", "how many children are there"),
        ("How many dogs were seen?", "count", "how many dogs are there"),
        ("Are there any dogs in the photo?", "yesno", "is there a dog"),
        ("Do you see an umbrella?", "yesno", "is there an umbrella"),
        ("Is there snow?", "yesno", "is there snow"),
        ("Where are the children?", "place", "where is the child"),
        ("what's the boy doing?", "object", "what is the boy doing"),
        ("What are the men wearing?", "object", "what is the man wearing"),
        ("What is she wearing?", "object", "what is the woman wearing"),
        ("what's he doing", "object", "what is the man doing"),
        ("What are they holding?", "object", "what is the person holding"),
        ("What is the dog playing with?", "object", "what is the dog playing with"),
    ],
)
def test_a_question_is_put_into_the_wording_models_are_trained_on(
    text: str, kind: str, wording: str
) -> None:
    found = parse(text)
    assert (found.kind, found.wording, found.text) == (kind, wording, text)
    assert alternatives(found)


@pytest.mark.parametrize(
    "text",
    [
        "What is the total?",
        "How much is the coffee?",
        "What does the sign say?",
        "What number is on the jersey?",
        "When was the invoice issued?",
        "What is the name of the shop?",
        "What is written on the wall?",
    ],
)
def test_a_question_about_text_is_one(text: str) -> None:
    assert parse(text).kind == "text"


@pytest.mark.parametrize("text", ["What is this?", "What does this chart show?", "Describe it."])
def test_a_question_about_everything_is_about_the_scene(text: str) -> None:
    assert parse(text).kind == "scene"


@pytest.mark.parametrize(
    "text",
    [
        "Why is he sad?",
        "Who is that?",
        "Is there a red ball?",
        "Is the dog brown?",
        "Hm?",
        "How many items were bought?",
    ],
)
def test_what_fits_no_form_is_known_not_to(text: str) -> None:
    assert parse(text).kind == "other"


@pytest.mark.parametrize("text", ["", "   ", "?!", "x" * (LONGEST_QUESTION + 1)])
def test_no_words_or_too_many_characters_cannot_be_asked(text: str) -> None:
    with pytest.raises(UsageError, match=r"is empty|1001 characters"):
        parse(text)


def test_statements_say_what_an_answer_makes_true() -> None:
    assert statement(parse("what color is the dog"), "orange") == "an orange dog"
    assert statement(parse("what color are the shorts"), "blue") == "blue shorts"
    assert statement(parse("how many dogs are there"), "one") == "one dog"
    assert statement(parse("how many women are there"), "two") == "two women"
    assert statement(parse("where is the dog"), "beach") == "a dog on the beach"
    assert statement(parse("where is the dog"), "snow") == "a dog in the snow"
    assert statement(parse("what is the boy doing"), "running") == "a boy running"
    assert statement(parse("what is the boy holding"), "ball") == "a boy holding a ball"
    assert statement(parse("is there a dog"), "no") == "a dog"
    assert "a dog" not in others(parse("is there a dog"))


@pytest.mark.parametrize(
    ("one", "many"), [("man", "men"), ("dog", "dogs"), ("bench", "benches"), ("puppy", "puppies")]
)
def test_plurals_come_and_go(one: str, many: str) -> None:
    assert plural(one) == many
    assert plural(many) == many
    assert singular(many) == one
    assert singular(one) == one


@pytest.mark.parametrize(
    ("text", "things"),
    [
        ("What color is it?", False),
        ("What is the dominant color?", False),
        ("Which color is the page?", False),
        ("Is the page blank?", False),
        ("What color is the dog?", True),
        ("Is there a dog?", True),
        ("Why is he sad?", True),
    ],
)
def test_a_blank_picture_has_an_answer_to_its_own_color_alone(text: str, things: bool) -> None:
    assert asks_of_things(parse(text)) is things
