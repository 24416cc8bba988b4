"""Scores on somebody's own data: how they are counted, kept and shown."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image
from typer.testing import CliRunner

import polymodal as pm
from polymodal.choosing.data import read_data
from polymodal.choosing.measuring import Outcome, Run, Setting, measure
from polymodal.choosing.scoring import anls, edits, exact, mean_interval, rouge_l
from polymodal.choosing.validating import compared
from polymodal.cli.app import app
from polymodal.errors import UsageError
from polymodal.runtime.intervals import wilson
from polymodal.runtime.measurements import Measurement

COLOURS = {"red": (200, 20, 20), "blue": (20, 20, 200)}


@pytest.fixture(autouse=True)
def _home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("POLYMODAL_HOME", str(tmp_path / "home"))


@pytest.fixture
def photos(tmp_path: Path) -> Path:
    for name, colour in COLOURS.items():
        folder = tmp_path / "photos" / name
        folder.mkdir(parents=True)
        for number in range(4):
            shade = tuple(min(255, part + 9 * number) for part in colour)
            Image.new("RGB", (48, 48), shade).save(folder / f"{number}.png")
    return tmp_path / "photos"


def run(*arguments: str) -> Any:
    return CliRunner(env={"COLUMNS": "80"}).invoke(app, ["models", *arguments])


def test_candidates_are_run_and_what_was_measured_is_shown_later(photos: Path) -> None:
    asked = ("select", "--task", "classify", "--memory", "2GB", "--offline", "--device", "cpu")
    done = run(*asked, "--measure", str(photos))
    assert done.exit_code == 0, done.output
    assert "measuring starter on 8 items" in done.stderr
    later = run(*asked, "--json")
    (found,) = json.loads(later.stdout)["ranked"]
    own = found["measured"]
    assert (own["data"], own["count"], own["metric"]) == ("photos", 8, "accuracy")
    suite = pm.Suite("starter", cache=False, journal=False)
    files = sorted(photos.rglob("*.png"))
    right = [one.label == file.parent.name for one, file in zip(  # type: ignore[union-attr]
        suite.classify(files, sorted(COLOURS)), files, strict=True
    )]  # fmt: skip
    assert own["value"] == pytest.approx(np.mean(right))
    assert (own["low"], own["high"]) == pytest.approx(wilson(sum(right), 8))
    assert own["memory_bytes"] > 0
    assert own["latency_p95_ms"] >= own["latency_ms"] > 0
    slow = run(*asked, "--latency", f"{own['latency_ms'] / 2}ms", "--json")
    reasons = {each["name"]: each["reason"] for each in json.loads(slow.stdout)["rejected"]}
    assert "measured here" in reasons["starter"]


def test_a_picture_that_cannot_be_opened_counts_as_wrong(photos: Path) -> None:
    (photos / "red" / "broken.png").write_bytes(b"\x89PNG\r\n\x1a\nno")
    outcome = measure(Setting("starter", "cpu"), "classify", read_data(photos, "classify"))
    assert outcome.measurement.count == 9
    assert outcome.measurement.failed == 1
    whole = [each.score for each in outcome.outcomes]
    assert outcome.measurement.value == pytest.approx(np.mean(whole))
    (failed,) = [each for each in outcome.outcomes if each.error]
    assert failed.score == 0.0


def test_search_and_few_shot_are_measured(photos: Path, tmp_path: Path) -> None:
    table = tmp_path / "captions.jsonl"
    rows = [{"image": f"photos/{name}/0.png", "caption": f"a {name} wall"} for name in COLOURS]
    table.write_text("\n".join(map(json.dumps, rows)), encoding="utf-8")
    found = measure(Setting("starter", "cpu"), "search", read_data(table, "search")).measurement
    suite = pm.Suite("starter", cache=False, journal=False)
    pictures = suite.embed(images=[tmp_path / row["image"] for row in rows]).vectors
    texts = suite.embed(texts=[row["caption"] for row in rows]).vectors
    assert found.value == np.mean((texts @ pictures.T).argmax(1) == np.arange(2))
    few = measure(Setting("starter", "cpu"), "few-shot", read_data(photos, "few-shot")).measurement
    assert few.value == pytest.approx(suite.probe(photos).report.accuracy)


def test_words_of_a_sound_that_cannot_be_heard_are_all_missing(tmp_path: Path) -> None:
    pytest.importorskip("faster_whisper")
    spoken = Path(pm.__file__).parent / "cli" / "spoken-query.flac"
    heard = pm.Suite(cache=False, journal=False).transcribe(spoken).text
    (tmp_path / "broken.flac").write_bytes(b"fLaC no")
    rows = [{"audio": str(spoken), "text": heard}, {"audio": "broken.flac", "text": "two words"}]
    table = tmp_path / "speech.jsonl"
    table.write_text("\n".join(map(json.dumps, rows)), encoding="utf-8")
    found = measure(Setting("starter", "cpu"), "transcribe", read_data(table, "transcribe"))
    words = len(heard.split())
    assert found.measurement.metric == "word error rate"
    assert found.measurement.value == pytest.approx(2 / (words + 2))
    assert found.measurement.failed == 1


@pytest.mark.parametrize(
    ("rows", "task", "said"),
    [
        ([{"image": "a.png", "label": "x"}] * 2, "vqa", "answer or answers"),
        ([{"image": "a.png", "question": "?", "answer": ""}] * 2, "vqa", "row 1"),
        ([{"image": "a.png", "label": "x"}], "classify", "at least two"),
        ([{"image": "a.png", "label": "x"}] * 2, "video", "frames of the videos"),
    ],
)
def test_data_that_does_not_fit_is_said(
    rows: list[Any], task: str, said: str, tmp_path: Path
) -> None:
    table = tmp_path / "data.jsonl"
    table.write_text("\n".join(map(json.dumps, rows)), encoding="utf-8")
    with pytest.raises(UsageError, match=said.replace("?", r"\?")):
        read_data(table, task)


def test_a_folder_says_only_of_what_class_a_picture_is(photos: Path) -> None:
    with pytest.raises(UsageError, match="columns image and caption"):
        read_data(photos, "caption")


def test_scores_are_those_of_their_definitions() -> None:
    assert exact("The Red.", ["red"]) == 1.0
    assert exact("3.5", ["35"]) == 0.0
    assert edits("kitten", "sitting") == 3
    assert edits([], ["a", "b"]) == 2
    # ANLS (Biten et al. 2019): 1 - 1/5, and 0 from half of the letters on.
    assert anls("hallo", ["hello", "x"]) == pytest.approx(0.8)
    assert anls("ab", ["xy"]) == 0.0
    # ROUGE-L (Lin 2004, section 3.1): "police kill the gunman" has 2 of 4 words in sequence.
    assert rouge_l("police kill the gunman", ["police killed the gunman"]) == pytest.approx(0.75)
    assert rouge_l("the gunman kill police", ["police killed the gunman"]) == pytest.approx(0.5)


def test_a_mean_has_wilsons_interval_for_right_and_wrong_and_a_bootstrap_else() -> None:
    assert mean_interval([1.0, 0.0, 1.0, 1.0], [1.0] * 4) == (0.75, *wilson(3, 4))
    random = np.random.default_rng(3)
    values = random.normal(0.5, 0.1, 400)
    mean, low, high = mean_interval(list(values), [1.0] * 400)
    error = 1.96 * values.std() / np.sqrt(400)
    assert mean == pytest.approx(values.mean())
    assert (low, high) == pytest.approx((mean - error, mean + error), abs=0.002)


def outcomes(scores: list[float], memory: int) -> Run:
    found = Measurement(
        "m", "vqa", "accuracy", float(np.mean(scores)), 0.0, 1.0, len(scores), 0, 1.0, 1.0, memory,
        "mine", "abc", "2026-11-28",
    )  # fmt: skip
    return Run(found, tuple(Outcome(str(number * score), score)
                            for number, score in enumerate(scores)))  # fmt: skip


def missing(run: Run, places: range, *, truncated: bool = True) -> Run:
    """The same run with no answer in these places."""
    each = list(run.outcomes)
    for place in places:
        each[place] = Outcome("", 0.0, error="cut off", truncated=truncated)
    scores = [outcome.score for outcome in each]
    found = replace(
        run.measurement,
        value=float(np.mean(scores)),
        failed=len(places),
        truncated=len(places) if truncated else 0,
        max_tokens=64,
    )
    return Run(found, tuple(each))


def test_what_neither_run_answered_is_no_agreement() -> None:
    whole, half = outcomes([1.0] * 300, 100), outcomes([1.0] * 300, 50)
    # A tenth of the items without an answer in either: compared by the other 270.
    few = compared(missing(whole, range(30)), missing(half, range(30)))
    assert (few.verdict, few.agreement, few.compared) == ("keeps", 1.0, 270)
    assert (few.agreement_low, few.agreement_high) == pytest.approx(wilson(270, 270))
    assert few.drop_high == pytest.approx(3 / 270)
    many = compared(missing(whole, range(90)), missing(half, range(90)))
    assert (many.verdict, many.compared) == ("undecided", 210)
    assert "90 of 300 answers were cut off at 64 tokens" in many.reason
    assert "raise --max-tokens" in many.reason
    broken = compared(
        missing(whole, range(90), truncated=False), missing(half, range(90), truncated=False)
    )
    assert "90 of 300 items failed" in broken.reason
    assert "--max-tokens" not in broken.reason


def test_a_precision_that_alone_is_cut_off_costs_quality() -> None:
    whole, half = outcomes([1.0] * 300, 100), outcomes([1.0] * 300, 50)
    found = compared(whole, missing(half, range(90)))
    assert (found.verdict, found.compared, found.agreement) == ("costs", 300, 0.7)
    # Where the model is never right, its score cannot show what is lost, so nothing is said.
    wrong = compared(outcomes([0.0] * 300, 100), missing(outcomes([0.0] * 300, 50), range(90)))
    assert (wrong.verdict, wrong.drop, wrong.agreement) == ("undecided", 0.0, 0.7)


def test_the_verdict_follows_the_interval_of_the_drop() -> None:
    same = compared(outcomes([1.0] * 300, 100), outcomes([1.0] * 300, 50))
    assert (same.verdict, same.agreement, same.drop) == ("keeps", 1.0, 0.0)
    assert same.drop_high == pytest.approx(3 / 300)
    few = compared(outcomes([1.0] * 20, 100), outcomes([1.0] * 20, 50))
    assert few.verdict == "undecided"
    worse = compared(outcomes([1.0] * 300, 100), outcomes([1.0] * 240 + [0.0] * 60, 120))
    assert worse.verdict == "costs"
    assert worse.drop == pytest.approx(0.2)
    assert worse.drop_low < 0.2 < worse.drop_high
    assert worse.agreement == pytest.approx(0.8)
    assert "no less memory" in worse.reason
