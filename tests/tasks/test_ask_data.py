"""ask with a schema: the data an answer carries, what does not fit, and who cannot."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from pydantic import BaseModel, field_validator

import polymodal as pm
from polymodal.errors import InvalidAnswer
from polymodal.results_answers import NOT_SURE
from tests.tasks.pictures import marked, save

QUESTION = "What color is the wall?"


class Wall(BaseModel):
    color: str | None
    meters: int = 2

    @field_validator("color")
    @classmethod
    def known(cls, value: str | None) -> str | None:
        if value not in {"red", "blue", None}:
            raise ValueError("paint comes in red and blue")
        return value


@pytest.fixture
def red(tmp_path: Path) -> Path:
    return save(marked("red"), tmp_path / "red.png")


@pytest.fixture
def suite(tmp_path: Path) -> pm.Suite:
    return pm.Suite(pm.MockEmbedder(), home=tmp_path / "home")


def saying(*answers: str, **info: Any) -> pm.MockGenerator:
    return pm.MockGenerator(answers, name=f"says {answers}", **info)


def test_an_answer_carries_validated_data(suite: pm.Suite, red: Path) -> None:
    generator = saying('{"color": "red", "meters": 3}')
    found = suite.ask(red, QUESTION, generator=generator, schema=Wall)
    assert isinstance(found.value, Wall)
    assert found.data == {"color": "red", "meters": 3} == json.loads(found.text)
    assert not found.abstained
    ((conversation, options),) = generator.seen
    assert "JSON Schema" in conversation[-1].text
    assert conversation[-1].text.index(QUESTION) < conversation[-1].text.index("JSON Schema")
    assert "with data" in conversation[0].text
    assert options.max_tokens == 1024
    assert options.json_schema is None  # it cannot decode under one


def test_a_model_that_can_decodes_under_the_schema(suite: pm.Suite, red: Path) -> None:
    generator = saying('{"color": "red"}', constrains=["json_schema"])
    assert suite.ask(red, QUESTION, generator=generator, schema=Wall).value == Wall(color="red")
    assert generator.seen[0][1].json_schema == Wall.model_json_schema()


def test_an_answer_that_does_not_fit_goes_back_with_what_is_wrong(
    suite: pm.Suite, red: Path
) -> None:
    generator = saying("It is red.", '{"color": "green"}', '{"color": "red"}')
    assert suite.ask(red, QUESTION, generator=generator, schema=Wall).value == Wall(color="red")
    again = [conversation[-1].text for conversation, _ in generator.seen[1:]]
    assert "not valid JSON" in again[0]
    assert "paint comes in red and blue" in again[1]


def test_after_two_re_asks_the_failure_holds_every_attempt(suite: pm.Suite, red: Path) -> None:
    said = ("It is red.", '{"color": "green"}', "{}")
    with pytest.raises(InvalidAnswer) as failed:
        suite.ask(red, QUESTION, generator=saying(*said), schema=Wall)
    assert failed.value.reason == "invalid"
    assert tuple(each.text for each in failed.value.attempts) == said
    (item,) = suite.ask([red], QUESTION, generator=saying(*said), schema=Wall)
    assert isinstance(item, pm.ItemError)
    assert (item.kind, item.attempts) == ("InvalidAnswer", failed.value.attempts)


def test_of_several_answers_each_is_its_own(suite: pm.Suite, red: Path, tmp_path: Path) -> None:
    blue = save(marked("blue"), tmp_path / "blue.png")
    generator = saying('{"color": "red"}', "nonsense", "nonsense", "nonsense")
    first, second = suite.ask([red, blue], QUESTION, generator=generator, schema=Wall)
    assert isinstance(first, pm.Answer)
    assert first.data == {"color": "red", "meters": 2}
    assert isinstance(second, pm.ItemError)
    assert len(second.attempts) == 3


def test_one_value_is_held_against_the_picture(suite: pm.Suite, red: Path) -> None:
    schema = {"type": "object", "properties": {"color": {"type": "string"}}}
    right = suite.ask(red, QUESTION, generator=saying('{"color": "red"}'), schema=schema)
    wrong = suite.ask(red, QUESTION, generator=saying('{"color": "blue"}'), schema=schema)
    assert right.confidence > 0.9 > 0.5 > wrong.confidence
    assert (wrong.text, wrong.data, wrong.value) == (NOT_SURE, None, None)
    assert json.loads(wrong.guess) == {"color": "blue"}
    unchecked = {"grounded": False, "generator": saying('{"color": "blue"}')}
    assert suite.ask(red, QUESTION, schema=schema, **unchecked).data == {"color": "blue"}


def test_of_several_values_the_statements_are_held_against_the_picture(
    suite: pm.Suite, red: Path
) -> None:
    def told(text: str) -> pm.Answer:
        data = json.dumps({"what": "wall", "text": text, "price": 12})
        return suite.ask(red, "What do we sell?", generator=saying(data), schema={"type": "object"})

    fits, wrong = told("red red red wall"), told("blue blue blue wall")
    assert [each.source for each in fits.evidence[:2]] == ["model", "picture"]
    assert fits.confidence > wrong.confidence


def test_where_every_value_is_null_it_abstains(suite: pm.Suite, red: Path) -> None:
    schema = {"type": "object", "properties": {"price": {"type": ["number", "null"]}}}
    found = suite.ask(red, QUESTION, generator=saying('{"price": null}'), schema=schema)
    assert (found.abstained, found.data) == (True, None)
    assert "every value is null" in found.evidence[0].text
    empty = suite.ask(red, QUESTION, generator=saying('{"things": []}'), schema={})
    assert empty.data == {"things": []}  # none is an answer


def test_a_second_run_comes_from_the_cache_as_the_same_object(suite: pm.Suite, red: Path) -> None:
    generator = saying('{"color": "red"}')
    one, two = (suite.ask(red, QUESTION, generator=generator, schema=Wall) for _ in range(2))
    assert (one, generator.calls) == (two, 1)
    assert isinstance(two.value, Wall)
    suite.ask(red, QUESTION, generator=generator, schema={"type": "object"})
    assert generator.calls == 2  # another schema is another question
    assert suite.ask(red, QUESTION, generator=generator).data is None


def test_examples_are_answered_in_the_same_form(suite: pm.Suite, red: Path) -> None:
    generator = saying('{"color": "red"}', max_media=4)
    fits = [(red, QUESTION, '{"color": "red"}')]
    assert suite.ask(red, QUESTION, generator=generator, schema=Wall, examples=fits).value
    with pytest.raises(pm.UsageError, match="answer of example 1 does not fit the schema Wall"):
        suite.ask(
            red, QUESTION, generator=generator, schema=Wall, examples=[(red, QUESTION, "red")]
        )


def test_a_model_that_writes_no_data_says_who_does(suite: pm.Suite, red: Path) -> None:
    with pytest.raises(pm.UsageError, match=r"cannot fill Wall\. Name a model that writes: openai"):
        suite.ask(red, QUESTION, schema=Wall)
    with pytest.raises(pm.UsageError, match="is no schema"):
        suite.ask(red, QUESTION, generator=saying("{}"), schema=3)  # type: ignore[call-overload]


def test_every_attempt_is_in_the_journal(suite: pm.Suite, red: Path) -> None:
    generator = saying("It is red.", '{"color": "red"}')
    suite.ask(red, QUESTION, generator=generator, schema=Wall)
    assert suite.journal is not None
    calls = suite.journal.calls(verb="ask")
    assert sorted(call.output for call in calls) == ["It is red.", '{"color": "red"}']


def test_data_from_text_in_a_picture_needs_its_lines(red: Path, tmp_path: Path) -> None:
    from polymodal.results import Provenance
    from polymodal.results_documents import Line, PageInfo, Reading

    class Reads(pm.Suite):
        def read(self, documents: Any) -> Any:
            line = Line("TOTAL 12.50 EUR", (0.0, 0.0, 9.0, 9.0), 0.9, 1)
            return Reading("red.png", (line,), (PageInfo(1, 9, 9),), Provenance("reader", "1"))

    suite = Reads(pm.MockEmbedder(), home=tmp_path / "home")

    def total(amount: Any) -> pm.Answer:
        generator = saying(json.dumps({"amount": amount, "currency": "EUR"}))
        schema = {"type": "object"}
        return suite.ask(red, "What is the total?", generator=generator, schema=schema)

    for amount in (12.5, "12.50"):
        held = total(amount)
        assert held.data == {"amount": amount, "currency": "EUR"}
        assert [each.text for each in held.evidence[1:]] == ["TOTAL 12.50 EUR"]
    made_up = total(99.5)
    assert (made_up.abstained, made_up.data) == (True, None)
    assert made_up.confidence < 0.5 < held.confidence
