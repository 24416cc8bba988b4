"""What a precision costs: a checkpoint against itself in fewer bits, on the same items."""

from __future__ import annotations

import json
import warnings
from collections.abc import Callable
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

import polymodal as pm
from polymodal.choosing.validating import validate
from polymodal.cli.app import app
from tests.hub.tiny import ending, picture, two_classes

Get = Callable[[str], Path]
QUESTIONS = ("what is this?", "is it red?", "who is there?", "how many dogs are in it?")
ENDS = "%'"
"""Says the tiny Qwen2.5-VL to each of these sooner or later, and to some within SOME tokens."""
SOME = 8


@pytest.fixture
def questions(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("POLYMODAL_HOME", str(tmp_path / "home"))
    rows = []
    for number in range(4):
        picture(number).save(tmp_path / f"{number}.png")
        rows.append({"image": f"{number}.png", "question": QUESTIONS[number], "answer": "red"})
    file = tmp_path / "questions.jsonl"
    file.write_text("\n".join(map(json.dumps, rows)), encoding="utf-8")
    return file


@pytest.fixture
def classes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("POLYMODAL_HOME", str(tmp_path / "home"))
    return two_classes(tmp_path / "photos", 8)


def run(*arguments: str) -> Any:
    return CliRunner(env={"COLUMNS": "80"}).invoke(app, ["models", "validate", *arguments])


def test_labels_in_bfloat16_are_compared_with_those_in_float32(
    checkpoint: Get, classes: Path
) -> None:
    name, files = str(checkpoint("clip")), sorted(classes.rglob("*.png"))
    done = run(name, "--dtype", "bfloat16", "--data", str(classes), "--device", "cpu", "--json")
    assert done.exit_code == 0, done.output
    found = json.loads(done.stdout)
    said = []
    for dtype in ("auto", "bfloat16"):
        suite = pm.Suite(name, device="cpu", dtype=dtype, cache=False, journal=False)
        # One at a time: in bfloat16 a batch rounds otherwise.
        said.append([suite.classify(file, ["blue", "red"]).label for file in files])
    same = sum(one == other for one, other in zip(*said, strict=True))
    assert found["agreement"] == same / len(files)
    assert (found["base"]["precision"], found["changed"]["precision"]) == ("", "bfloat16")
    truths = [file.parent.name for file in files]
    right = [sum(a == b for a, b in zip(each, truths, strict=True)) for each in said]
    assert found["drop"] == pytest.approx((right[0] - right[1]) / len(files))
    assert found["drop_low"] <= found["drop"] <= found["drop_high"]
    assert found["verdict"] == "undecided"  # of eight items nothing can be said


def test_a_generators_answers_in_bfloat16_are_compared(
    checkpoint: Get, questions: Path, tmp_path: Path
) -> None:
    name = str(ending(checkpoint("qwen2_5_vl"), tmp_path / "qwen", ENDS))
    found = validate(name, questions, dtype="bfloat16", device="cpu")
    assert (found.base.task, found.base.count) == ("vqa", 4)
    assert 0 <= found.agreement_low <= found.agreement <= found.agreement_high + 1e-9
    assert (found.compared, found.base.failed, found.base.truncated) == (4, 0, 0)
    assert found.base.memory_bytes > 0
    shown = pm.select("vqa", memory="1GB", offline=True, models=[name], device="cpu")
    mine = next(each for each in shown.ranked if each.choice.name == name)
    assert mine.measured is not None
    assert mine.measured.precision == ""


@pytest.mark.parametrize("quantize", ["8bit", "4bit"])
def test_quantised_answers_are_compared_on_a_cpu(
    checkpoint: Get,
    questions: Path,
    quantize: str,
    tmp_path: Path,
    caplog: pytest.LogCaptureFixture,
) -> None:
    if find_spec("bitsandbytes") is None:  # importing it here would be what tells first
        pytest.skip("the extra `quantize` is not installed")
    soon = "".join(map(chr, range(33, 127)))
    name = str(ending(checkpoint("qwen2_5_vl"), tmp_path / "qwen", soon))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of the library, on a machine without CUDA
        done = run(
            *(name, "--quantize", quantize),
            *("--data", str(questions), "--device", "cpu"),
        )
    assert done.exit_code == 0, done.output
    assert "undecided: 4 items are too few to tell" in done.stdout
    assert "same answers: " in done.stdout
    assert [each.getMessage() for each in caplog.records] == []


def cut_off(name: str, dtype: str = "auto") -> int:
    """How many of the answers need more than SOME tokens."""
    suite = pm.Suite(name, device="cpu", dtype=dtype, cache=False, journal=False)
    options = pm.GenerationOptions(max_tokens=SOME)
    found = [
        suite.ask(picture(number), each, threshold=0.0, grounded=False, options=options)
        for number, each in enumerate(QUESTIONS)
    ]
    return sum(each.failure == "truncated" and each.text == "not sure" for each in found)


def test_answers_that_are_cut_off_have_failed_and_agree_with_nothing(
    checkpoint: Get, questions: Path, tmp_path: Path
) -> None:
    name = str(ending(checkpoint("qwen2_5_vl"), tmp_path / "qwen", ENDS))
    both = [cut_off(name), cut_off(name, "bfloat16")]
    assert 0 < min(both) <= max(both) < 4
    asked = (name, "--dtype", "bfloat16", "--data", str(questions), "--device", "cpu")
    done = run(*asked, "--max-tokens", str(SOME), "--json")
    assert done.exit_code == 0, done.output
    found = json.loads(done.stdout)
    assert found["base"]["truncated"] == found["base"]["failed"] == both[0]
    assert found["changed"]["truncated"] == found["changed"]["failed"] == both[1]
    assert found["base"]["max_tokens"] == SOME
    assert found["compared"] >= 4 - min(both)
    assert found["agreement"] * found["compared"] <= 4 - max(both)
    assert found["verdict"] == "undecided"
    shown = run(*asked, "--max-tokens", str(SOME))
    words = " ".join(shown.stdout.split())
    assert f"as it is: {both[0]} of 4 answers were cut off at {SOME} tokens" in words
    assert "undecided: It cannot be told." in words
    assert "raise --max-tokens" in words


def test_a_model_whose_every_answer_is_cut_off_is_not_measured(
    checkpoint: Get, questions: Path
) -> None:
    name = str(checkpoint("llava"))  # it never ends by itself
    done = run(name, "--dtype", "bfloat16", "--data", str(questions), "--device", "cpu",
               "--max-tokens", "5")  # fmt: skip
    assert done.exit_code == 2
    assert "failed on every item: tiny-llava was cut off after 5 tokens (truncated). Raise" in (
        done.stderr
    )


def test_select_says_which_answers_were_cut_off(
    checkpoint: Get, questions: Path, tmp_path: Path
) -> None:
    name = str(ending(checkpoint("qwen2_5_vl"), tmp_path / "qwen", ENDS))
    asked = ["models", "select", "--task", "vqa", "--memory", "1GB", "--offline", "-m", name]
    asked += ["--device", "cpu"]
    more = ["--measure", str(questions), "--max-tokens", str(SOME), "--json"]
    done = CliRunner(env={"COLUMNS": "80"}).invoke(app, [*asked, *more])
    assert done.exit_code == 1, done.output  # random weights: nothing is right
    assert f"answers were cut off at {SOME} tokens, and count as wrong" in done.stderr
    (mine,) = [each for each in json.loads(done.stdout)["ranked"] if each["name"] == name]
    assert mine["measured"]["truncated"] > 0
    assert any(f"cut off at {SOME} tokens" in each for each in mine["against"])
    refused = CliRunner().invoke(app, [*asked, "--max-tokens", "5"])
    assert (refused.exit_code, "--measure" in refused.stderr) == (2, True)


@pytest.mark.parametrize(
    ("arguments", "said", "code"),
    [
        (("CLIP",), "which precision?", 2),
        (("starter", "--dtype", "bfloat16"), "no checkpoint", 2),
        (("CLIP", "--dtype", "bfloat16", "--task", "vqa"), "is not for vqa", 2),
        (("CLIP", "--dtype", "bfloat16", "--max-tokens", "9"), "classify has none", 2),
        (("CLIP", "--dtype", "bfloat61"), "use auto, float32, bfloat16, float16", 2),
        (("openai/clip-vit-bas-patch32", "--dtype", "bfloat16"), "Did you mean", 3),
    ],
)
def test_wrong_calls_are_said(
    arguments: tuple[str, ...], said: str, code: int, checkpoint: Get, classes: Path
) -> None:
    words = [str(checkpoint("clip")) if each == "CLIP" else each for each in arguments]
    done = run(*words, "--data", str(classes), "--device", "cpu")
    assert (done.exit_code, said in done.stderr) == (code, True), done.stderr
