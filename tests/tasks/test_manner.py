"""How a generator is asked: the options of its answers, and examples before the question."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

import polymodal as pm
from polymodal.errors import MediaNotFound
from polymodal.tasks.examples import read_examples
from tests.tasks.pictures import marked, save

WARM = pm.GenerationOptions(max_tokens=9, temperature=0.7, stop=("END",))
QUESTION = "What colour is the wall?"


@pytest.fixture
def red(tmp_path: Path) -> Path:
    return save(marked("red"), tmp_path / "red.png")


@pytest.fixture
def blue(tmp_path: Path) -> Path:
    return save(marked("blue"), tmp_path / "blue.png")


def suite(tmp_path: Path) -> pm.Suite:
    return pm.Suite(pm.MockEmbedder(), home=tmp_path / "home")


def seen(generator: pm.MockGenerator) -> list[pm.GenerationOptions]:
    return [options for _, options in generator.seen]


def test_caption_and_ask_hand_the_options_on(red: Path, tmp_path: Path) -> None:
    generator = pm.MockGenerator(["red END of it"])
    found = suite(tmp_path).caption(red, generator=generator, options=WARM)
    assert found.text == "red"
    assert suite(tmp_path).ask(red, QUESTION, generator=generator, options=WARM).text == "red"
    assert seen(generator) == [WARM, WARM]


def test_extract_hands_the_options_on(tmp_path: Path) -> None:
    from polymodal.results import Provenance
    from polymodal.results_documents import Line, PageInfo, Reading
    from polymodal.tasks.extract import Extractor
    from polymodal.tasks.schemas import as_schema

    schema = as_schema({"type": "object", "properties": {"name": {"type": "string"}}})
    generator = pm.MockGenerator(['{"name": "Anna"}'])
    line = Line("Anna", (0.0, 0.0, 9.0, 9.0), 1.0, 1)
    reading = Reading(
        "page.png", (line,), (PageInfo(1, 9, 9, 0, "ocr"),), Provenance("reader", "1")
    )
    extractor = Extractor(schema, None, Provenance("x", "1"), generator, WARM)  # type: ignore[arg-type]
    assert extractor.fill(reading).data == {"name": "Anna"}
    assert seen(generator) == [WARM]


@pytest.mark.parametrize(
    ("options", "times"),
    [
        (pm.GenerationOptions(max_tokens=64), 1),
        (pm.GenerationOptions(temperature=0.7), 2),
        (pm.GenerationOptions(temperature=0.7, seed=4), 1),  # the mock's seed repeats an answer
    ],
)
def test_only_what_comes_out_the_same_again_is_kept(
    red: Path, tmp_path: Path, options: pm.GenerationOptions, times: int
) -> None:
    generator = pm.MockGenerator()
    for _ in range(2):
        suite(tmp_path).caption(red, generator=generator, options=options)
        suite(tmp_path).ask(red, QUESTION, generator=generator, options=options)
    assert generator.calls == 2 * times


def test_other_options_are_another_answer(red: Path, tmp_path: Path) -> None:
    generator = pm.MockGenerator(lambda _, options: f"{options.max_tokens} things are red")
    for tokens in (20, 30, 20):
        options = pm.GenerationOptions(max_tokens=tokens)
        found = suite(tmp_path).caption(red, generator=generator, options=options)
        assert found.text == f"{tokens} things are red"
        answer = suite(tmp_path).ask(red, QUESTION, generator=generator, options=options)
        assert answer.guess == f"{tokens} things are red"
    assert generator.calls == 4


def test_examples_are_turns_before_the_question(red: Path, blue: Path, tmp_path: Path) -> None:
    generator = pm.MockGenerator(["red"])
    examples = [(blue, QUESTION, "blue"), (marked("green"), "And here?", "green")]
    suite(tmp_path).ask(red, QUESTION, generator=generator, examples=examples)
    ((conversation, _),) = generator.seen
    said = [(m.role, m.text) for m in conversation[1:]]
    assert said == [
        ("user", QUESTION),
        ("assistant", "blue"),
        ("user", "And here?"),
        ("assistant", "green"),
        ("user", QUESTION),
    ]
    shown = [p.image.getpixel((0, 0)) for m in conversation for p in m.parts if hasattr(p, "image")]
    assert shown == [marked(name).getpixel((0, 0)) for name in ("blue", "green", "red")]


def test_examples_are_in_the_cache_s_key_and_in_the_journal(
    red: Path, blue: Path, tmp_path: Path
) -> None:
    generator = pm.MockGenerator(["red"])
    own = suite(tmp_path)
    for examples in ([], [(blue, QUESTION, "blue")], [(blue, QUESTION, "a blue")]):
        for _ in range(2):
            own.ask(red, QUESTION, generator=generator, examples=examples)
    assert generator.calls == 3
    assert own.journal is not None
    call: Any = own.journal.calls()[-1]
    assert [Path(each["name"]).name for each in call.inputs] == ["blue.png", "red.png"]
    assert "a blue" in call.prompt


def test_a_model_that_takes_one_picture_takes_no_examples(red: Path, tmp_path: Path) -> None:
    generator = pm.MockGenerator(["red"], max_media=1)
    examples = [(red, QUESTION, "red")] * 2
    with pytest.raises(pm.UsageError, match=r"mock takes 1 picture.*2 example.*are 3"):
        suite(tmp_path).ask(red, QUESTION, generator=generator, examples=examples)
    assert generator.calls == 0


def test_an_example_that_lacks_a_part_or_is_not_there_is_named(red: Path, tmp_path: Path) -> None:
    own, generator = suite(tmp_path), pm.MockGenerator(["red"])
    with pytest.raises(pm.UsageError, match="example 2 has no answer"):
        whole = (red, QUESTION, "red")
        own.ask(red, QUESTION, generator=generator, examples=[whole, (red, "What?", " ")])
    with pytest.raises(MediaNotFound, match=r"gone\.png"):
        gone = (tmp_path / "gone.png", "What?", "red")
        own.ask(red, QUESTION, generator=generator, examples=[gone])
    with pytest.raises(pm.UsageError, match="example 1 has to be three things"):
        own.ask(red, QUESTION, generator=generator, examples=[(red, "What?")])


def test_what_goes_with_a_generator_is_refused_without_one(red: Path, tmp_path: Path) -> None:
    with pytest.raises(pm.UsageError, match="options go with a model that writes"):
        suite(tmp_path).ask(red, QUESTION, options=WARM, generator="starter")
    with pytest.raises(pm.UsageError, match="examples go with a model that writes"):
        suite(tmp_path).ask(red, QUESTION, examples=[(red, "a", "b")], generator="starter")


def test_a_table_of_examples(red: Path, tmp_path: Path) -> None:
    row = {"image": "red.png", "question": "What colour?", "answer": "red"}
    table = tmp_path / "examples.jsonl"
    table.write_text(json.dumps(row))
    assert read_examples(table) == [(str(red), "What colour?", "red")]
    table.write_text(json.dumps({"image": "red.png", "question": "What colour?"}))
    with pytest.raises(pm.UsageError, match="no answer column"):
        read_examples(table)
    table.write_text("")
    with pytest.raises(pm.UsageError, match=r"JSON object or array|no examples"):
        read_examples(table)
