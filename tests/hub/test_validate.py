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
from tests.hub.tiny import picture

Get = Callable[[str], Path]


@pytest.fixture
def questions(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("POLYMODAL_HOME", str(tmp_path / "home"))
    rows = []
    for number in range(4):
        picture(number).save(tmp_path / f"{number}.png")
        rows.append({"image": f"{number}.png", "question": "what is this?", "answer": "red"})
    file = tmp_path / "questions.jsonl"
    file.write_text("\n".join(map(json.dumps, rows)), encoding="utf-8")
    return file


@pytest.fixture
def classes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("POLYMODAL_HOME", str(tmp_path / "home"))
    for number in range(8):
        folder = tmp_path / "photos" / ("red" if number % 2 else "blue")
        folder.mkdir(parents=True, exist_ok=True)
        picture(number).save(folder / f"{number}.png")
    return tmp_path / "photos"


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


def test_a_generators_answers_in_bfloat16_are_compared(checkpoint: Get, questions: Path) -> None:
    name = str(checkpoint("llava"))
    found = validate(name, questions, dtype="bfloat16", device="cpu")
    assert (found.base.task, found.base.count) == ("vqa", 4)
    assert 0 <= found.agreement_low <= found.agreement <= found.agreement_high + 1e-9
    assert found.base.memory_bytes > 0
    shown = pm.select("vqa", memory="1GB", offline=True, models=[name], device="cpu")
    mine = next(each for each in shown.ranked if each.choice.name == name)
    assert mine.measured is not None
    assert mine.measured.precision == ""


@pytest.mark.parametrize("quantize", ["8bit", "4bit"])
def test_quantised_answers_are_compared_on_a_cpu(
    checkpoint: Get, questions: Path, quantize: str, caplog: pytest.LogCaptureFixture
) -> None:
    if find_spec("bitsandbytes") is None:  # importing it here would be what tells first
        pytest.skip("the extra `quantize` is not installed")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of the library, on a machine without CUDA
        done = run(
            *(str(checkpoint("qwen2_5_vl")), "--quantize", quantize),
            *("--data", str(questions), "--device", "cpu"),
        )
    assert done.exit_code == 0, done.output
    assert "undecided: 4 items are too few to tell" in done.stdout
    assert "same answers: " in done.stdout
    assert [each.getMessage() for each in caplog.records] == []


@pytest.mark.parametrize(
    ("arguments", "said", "code"),
    [
        (("CLIP",), "which precision?", 2),
        (("starter", "--dtype", "bfloat16"), "no checkpoint", 2),
        (("CLIP", "--dtype", "bfloat16", "--task", "vqa"), "is not for vqa", 2),
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
