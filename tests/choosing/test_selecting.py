"""Which model for a task: cards, ranking, reasons, and the record of a decision."""

from __future__ import annotations

import json
import re
import tomllib
from collections.abc import Iterator
from dataclasses import replace
from datetime import date
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

import polymodal as pm
from polymodal.catalog import choices as cards
from polymodal.catalog.choices import TASKS, Choice, Score, choice_of, choices_for
from polymodal.catalog.shapes import shape_of
from polymodal.choosing.records import record
from polymodal.choosing.selecting import Needs, rank
from polymodal.cli.app import app
from polymodal.runtime.measurements import Measurement, keep, kept

CONFIG = {"model_type": "llama", "hidden_size": 64, "intermediate_size": 128, "vocab_size": 1000}
CONFIG |= {"num_attention_heads": 4, "num_key_value_heads": 2}
SOURCE = "https://example.org/scores"
SIGLIP2 = (
    "https://github.com/google-research/big_vision/blob/1659d4297dc62e138a9cd509e3a39855afc6d984"
    "/big_vision/configs/proj/image_text/README_siglip2.md"
)
ROOT = Path(__file__).parents[2]
WEIGHTS = ROOT / "packages/starter/src/polymodal_starter/weights"
PUBLISHED = {  # millions of parameters, as the hub and open_clip's model_profile.csv count them
    "openai/clip-vit-base-patch32": 151.3,
    "openai/clip-vit-large-patch14": 427.6,
    "google/siglip-base-patch16-224": 203.2,
    "google/siglip-so400m-patch14-384": 878.0,
    "HuggingFaceTB/SmolVLM-256M-Instruct": 256.5,
    "HuggingFaceTB/SmolVLM-500M-Instruct": 507.5,
    "HuggingFaceTB/SmolVLM-Instruct": 2246,
    "Qwen/Qwen2-VL-2B-Instruct": 2209,
    "Qwen/Qwen2-VL-7B-Instruct": 8291,
    "Qwen/Qwen2.5-VL-3B-Instruct": 3755,
    "Qwen/Qwen3-VL-2B-Instruct": 2130,
    "Qwen/Qwen3-VL-4B-Instruct": 4440,
    "Qwen/Qwen3-VL-8B-Instruct": 8770,
    "OpenGVLab/InternVL3-1B-hf": 938.2,  # its file: 1,876,478,048 bytes, two a number
    "llava-hf/llava-1.5-7b-hf": 7063,
    "google/paligemma-3b-mix-224": 2923,
    "Salesforce/blip2-opt-2.7b-coco": 3745,
    "large-v3": 1543,
    "large-v3-turbo": 809,
}


@pytest.fixture(autouse=True)
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("POLYMODAL_HOME", str(tmp_path / "home"))
    return tmp_path / "home"


def run(*arguments: str) -> Any:
    return CliRunner(env={"COLUMNS": "80"}).invoke(app, ["models", *arguments])


def model(name: str, layers: int, score: float | None = None, **more: Any) -> Choice:
    scores = () if score is None else (Score("vqa", "accuracy", score, SOURCE),)
    config = {**CONFIG, "num_hidden_layers": layers}
    return replace(Choice(name, ("vqa",), "MIT", config, scores), **more)


def measured(name: str, value: float, spread: float, **more: Any) -> Measurement:
    found = Measurement(
        name, "vqa", "accuracy", value, value - spread, value + spread, 50, 0, 90.0, 200.0,
        10**6, "mine", "abc", "2026-11-28",
    )  # fmt: skip
    return replace(found, **more)


def needs(**more: Any) -> Needs:
    return replace(Needs("vqa", 10**9), **more)


def names(selection: Any) -> list[str]:
    return [each.choice.name for each in selection.ranked]


def every_choice() -> Iterator[Choice]:
    seen = set()
    for task in TASKS:
        for each in choices_for(task):
            if (each.name, each.repository) not in seen:
                seen.add((each.name, each.repository))
                yield each


def all_cards() -> Iterator[Choice]:
    return (each for each in every_choice() if each.config)


def test_every_score_has_a_task_a_metric_an_address_and_the_day_it_was_read() -> None:
    found = [(each, score) for each in every_choice() for score in each.scores if not score.own]
    assert len(found) > 60
    for each, score in found:
        assert score.task in each.tasks, each.name
        assert score.metric
        assert 0 < score.value <= (200 if "CIDEr" in score.metric else 100), each.name
        assert date(2026, 11, 1) <= date.fromisoformat(score.read) <= date.today(), each.name
        if "//github.com/" in score.source:
            assert re.search(r"/blob/[0-9a-f]{40}/\S+$", score.source), each.name


def test_a_score_without_the_day_it_was_read_is_refused() -> None:
    row = {"task": "vqa", "metric": "accuracy", "value": 1.0, "source": SOURCE}
    with pytest.raises(KeyError, match="read"):
        cards._scores([row])


def test_the_starters_scores_are_those_of_its_card_and_name_their_command() -> None:
    starter = choice_of("starter")
    card = tomllib.loads((WEIGHTS / "embedder" / "card.toml").read_text(encoding="utf-8"))
    (search,) = starter.scores_for("search")
    assert search.value == card["scores"]["flickr8k_dev_text_to_image_r1"]
    assert {score.task for score in starter.scores} == set(starter.tasks)
    for score in starter.scores:
        assert score.own
        script = ROOT / score.source.removeprefix("python -m ").replace(".", "/")
        assert script.with_suffix(".py").is_file(), score.source


@pytest.mark.parametrize("task", TASKS)
def test_every_task_has_candidates_with_a_score_and_reasons_that_fit_a_terminal(task: str) -> None:
    done = run("select", "--task", task, "--memory", "16GB", "--device", "cpu")
    assert done.exit_code == 0, done.output
    assert "score: " in done.stdout
    assert all(len(line) <= 80 for line in done.stdout.splitlines()), done.stdout
    selection = pm.select(task, memory="16GB", device="cpu")
    assert selection.best is not None
    assert selection.best.capable
    for each in selection.ranked:
        assert each.for_ or each.against, each.choice.name


def test_every_checkpoint_has_a_licence_with_its_source_or_says_that_nobody_read_it() -> None:
    for name, row in cards.hub.known_checkpoints().items():
        if row["licence"]:
            assert row["licence_source"].startswith("https://"), name
            assert date.fromisoformat(str(row["licence_read"])) <= date.today(), name
        else:
            assert "licence_source" not in row, name
    for row in cards._rows():
        if "licence" in row:  # speech models, which have no row there
            assert row["licence_source"].startswith("https://")
            assert date.fromisoformat(str(row["licence_read"])) <= date.today()
    for each in every_choice():
        assert each.licence, each.name


def test_show_tells_where_a_licence_was_read() -> None:
    done = run("show", "Salesforce/instructblip-vicuna-7b")
    assert "research only" in done.stdout
    assert "salesforce/LAVIS/blob/" in done.stdout
    assert "2026-11-28" in done.stdout


def test_scores_of_different_tests_are_not_compared() -> None:
    other = replace(model("odd", 1), scores=(Score("vqa", "another test", 99.0, SOURCE),))
    choices = [model("large", 12, 80), model("small", 4, 75), other]
    selection = rank(choices, needs(), (), "2026-11-28")
    assert selection.metric == "accuracy"
    assert names(selection) == ["small", "large", "odd"]
    assert not selection.ranked[2].capable
    assert any("not comparable" in reason for reason in selection.ranked[2].against)


def test_the_starters_own_score_is_nobodys_bar_where_others_were_published() -> None:
    own = replace(model("own", 1), scores=(Score("vqa", "own test", 99.0, "python -m x"),))
    selection = rank([own, model("small", 4, 75)], needs(), (), "2026-11-28")
    assert selection.metric == "accuracy"
    assert names(selection) == ["small", "own"]
    alone = rank([own, model("unknown", 1)], needs(), (), "2026-11-28")
    assert names(alone) == ["own", "unknown"]


def test_a_model_behind_an_api_does_not_raise_the_bar_for_those_that_run_here() -> None:
    far = model("far", 1, 95, behind_api=True)
    selection = rank([far, model("small", 4, 75)], needs(), (), "2026-11-28")
    assert names(selection) == ["small", "far"]
    assert all(each.capable for each in selection.ranked)
    (only,) = rank([far], needs(), (), "2026-11-28").ranked
    assert only.capable


def test_every_task_has_a_model_and_every_card_can_be_worked_out() -> None:
    assert all(choices_for(task) for task in TASKS)
    for each in all_cards():
        assert shape_of(each.config, each.name).parameters > 10**7


def test_a_model_that_only_listens_is_offered_for_no_task_with_pictures() -> None:
    names = {each.name for task in TASKS for each in choices_for(task)}
    assert "openai:gpt-5.4-mini" in names
    assert "openai:gpt-audio-1.5" not in names


@pytest.mark.parametrize("name", PUBLISHED)
def test_numbers_of_cards_are_those_that_are_published(name: str) -> None:
    found = shape_of(choice_of(name).config, name).parameters
    assert found / 1e6 == pytest.approx(PUBLISHED[name], rel=0.01)


def test_the_smallest_that_is_not_clearly_worse_comes_first() -> None:
    choices = [model("large", 12, 80), model("small", 4, 75), model("tiny", 1, 50)]
    selection = rank([*choices, model("unknown", 1)], needs(), (), "2026-11-28")
    assert names(selection) == ["small", "large", "tiny", "unknown"]
    assert [each.capable for each in selection.ranked] == [True, True, False, False]
    assert any(SOURCE in reason for reason in selection.ranked[0].for_)
    assert any("no score" in reason for reason in selection.ranked[3].against)


def test_a_large_model_squeezed_to_fit_is_not_the_smaller_one() -> None:
    sizes = [choice_of(f"Qwen/Qwen3-VL-{size}-Instruct") for size in ("8B", "4B")]
    asked = replace(needs(), task="complex-vqa", memory_bytes=24 * 10**9)
    first, second = rank(sizes, asked, (), "2026-11-28").ranked
    assert (first.choice.name, first.precision) == ("Qwen/Qwen3-VL-4B-Instruct", "float32")
    assert second.capable and second.precision == "bfloat16"
    assert second.memory_bytes < first.memory_bytes


def test_what_was_measured_here_outranks_what_was_published() -> None:
    choices = [model("large", 12, 80), model("small", 4, 75), model("tiny", 1, 50)]
    found = [measured("tiny", 0.9, 0.05), measured("large", 0.7, 0.05)]
    selection = rank(choices, needs(), found, "2026-11-28")
    assert names(selection) == ["tiny", "large", "small"]
    assert [each.capable for each in selection.ranked] == [True, False, False]
    assert any("measured here on 2026-11-28" in reason for reason in selection.ranked[0].for_)
    assert "not measured on your data" in selection.ranked[2].against


def test_what_got_nothing_right_is_no_decision() -> None:
    candidates = [model("small", 1), model("large", 6)]
    useless = rank(
        candidates,
        needs(),
        [measured("small", 0.0, 0.05), measured("large", 0.0, 0.05)],
        "2026-11-28",
    )
    assert useless.best is None
    assert [each.capable for each in useless.ranked] == [False, False]
    assert "None of the models that were measured got anything right" in record(useless)
    assert useless.ranked[0].against[0] == "got nothing right on your data"
    deaf = measured("small", 1.0, 0.0, metric="word error rate")
    assert rank([model("small", 1)], needs(), [deaf], "2026-11-28").best is None
    one = rank(
        candidates,
        needs(),
        [measured("small", 0.0, 0.05), measured("large", 0.02, 0.03)],
        "2026-11-28",
    )
    assert one.best is not None
    assert one.best.choice.name == "large"


def test_only_measurements_on_the_same_data_are_compared() -> None:
    choices = [model("small", 4), model("tiny", 1)]
    found = [measured("tiny", 0.9, 0.05, fingerprint="other"), measured("small", 0.5, 0.05)]
    selection = rank(choices, needs(), found, "2026-11-28")
    assert names(selection) == ["small", "tiny"]
    assert selection.ranked[1].measured is None


def test_a_word_error_rate_counts_down() -> None:
    metric = "word error rate, mean of ESB"
    choices = [
        replace(model(name, layers), scores=(Score("vqa", metric, rate, SOURCE),))
        for name, layers, rate in (("large", 12, 10.0), ("small", 4, 10.5), ("tiny", 1, 30.0))
    ]
    assert names(rank(choices, needs(), (), "2026-11-28")) == ["small", "large", "tiny"]


def test_what_does_not_fit_is_left_out_with_its_reason() -> None:
    choices = [
        model("heavy", 4000, 80),
        model("closed", 1, 80, licence="Gemma"),
        model("slow", 1, 80),
        model("far", 1, 80, behind_api=True),
        model("fits", 1, 80, folder=Path("/here")),
    ]
    asked = needs(memory_bytes=10**8, permissive=True, latency_ms=50.0, offline=True)
    found = [measured("slow", 0.9, 0.1)]
    selection = rank(choices, asked, found, "2026-11-28")
    reasons = {each.name: each.reason for each in selection.rejected}
    assert names(selection) == ["fits"]
    assert "even in 4bit" in reasons["heavy"] or "not here" in reasons["heavy"]
    assert reasons["closed"] == "its weights are not here"
    slow = rank(choices, needs(latency_ms=50.0), found, "2026-11-28")
    told = {each.name: each.reason for each in slow.rejected}
    assert told["slow"] == "90 ms an item, measured here on 2026-11-28"
    licensed = rank(choices, needs(permissive=True), (), "2026-11-28")
    assert {each.name for each in licensed.rejected} == {"heavy", "closed"}


def test_a_smaller_precision_is_taken_where_only_that_fits_and_its_cost_is_named() -> None:
    choice = replace(
        model("vlm", 24, 80), tasks=("vqa", "caption"), config={**CONFIG, "num_hidden_layers": 24}
    )
    sizes = {}
    for memory in (10**9, 12 * 10**6):
        (found,) = rank([choice], needs(memory_bytes=memory), (), "2026-11-28").ranked
        sizes[found.precision] = found
        assert found.memory_bytes <= memory
    assert "float32" in sizes
    assert len(sizes) == 2


def test_kept_measurements_are_the_latest_of_each_and_survive_a_torn_line(home: Path) -> None:
    keep(measured("a", 0.5, 0.1))
    file = keep(measured("a", 0.7, 0.1))
    keep(measured("a", 0.6, 0.1, precision="bfloat16"))
    with file.open("a", encoding="utf-8") as opened:
        opened.write('{"model": "a", "task": "v')
    assert [each.value for each in kept("vqa")] == [0.7, 0.6]
    assert kept("caption") == []


def test_select_prints_scores_with_sources_and_writes_the_decision(tmp_path: Path) -> None:
    file = tmp_path / "decision.md"
    done = run(
        "select", "--task", "search", "--memory", "2GB", "--licence", "permissive",
        "--record", str(file), "--device", "cpu",
    )  # fmt: skip
    assert done.exit_code == 0, done.output
    assert done.stdout.split()[5].startswith("google/siglip2-base")
    assert "github.com/google-research/big_vision README_siglip2.md at 1659d42" in done.stdout
    assert "google/siglip-so400m-patch14-384: " not in done.stdout  # grouped by reason
    assert "needs 3.5 GB: google/siglip-so400m-patch14-384" in done.stdout
    text = file.read_text(encoding="utf-8")
    for heading in ("# A model for search", "## Decision", "## Alternatives", "## Left out"):
        assert heading in text
    assert f"COCO text to image R@1 52.1 [source]({SIGLIP2}), read 2026-11-28" in text


def test_json_is_one_line_with_everything(monkeypatch: pytest.MonkeyPatch) -> None:
    done = run("select", "--task", "transcribe", "--memory", "2GB", "--json", "--device", "cpu")
    (line,) = done.stdout.splitlines()
    found = json.loads(line)
    best = found["ranked"][0]
    assert best["name"] == "large-v3-turbo"
    assert best["published"]["source"].startswith("https://")
    assert best["estimate"]["total_bytes"] == best["memory_bytes"] <= found["memory_bytes"]


def test_nothing_that_fits_is_said_and_recorded() -> None:
    selection = pm.select("document", memory="10MB", offline=True, device="cpu")
    assert selection.best is None
    assert "Nothing fits" in record(selection)
    done = run("select", "--task", "document", "--memory", "10MB", "--offline")
    assert (done.exit_code, "Nothing fits 10 MB" in done.stdout) == (1, True)


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (("--task", "captoin"), "Did you mean 'caption'?"),
        (("--task", "vqa", "--latency", "soon"), "200ms or 2s"),
        (("--task", "vqa", "--licence", "free"), "any or permissive"),
        (("--task", "vqa", "--memory", "much"), "8GB"),
        (("--task", "search", "-m", "openai:gpt-5.4"), "is not for search"),
    ],
)
def test_wrong_arguments_are_said(arguments: tuple[str, ...], said: str) -> None:
    done = run("select", *arguments)
    assert done.exit_code == 2
    assert said in done.stderr


def test_an_unknown_model_suggests_the_nearest() -> None:
    done = run("select", "--task", "search", "-m", "google/siglp2-base-patch16-224")
    assert done.exit_code == 3
    assert "'google/siglip2-base-patch16-224'" in done.stderr


def test_a_known_model_whose_memory_nothing_here_tells_is_not_taken_for_one_without_any(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from huggingface_hub import constants

    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path / "empty"))
    done = run("select", "--task", "vqa", "-m", "idefics2-8b")
    assert done.exit_code == 3
    assert "Run: polymodal models pull HuggingFaceM4/idefics2-8b" in done.stderr
