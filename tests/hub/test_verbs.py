"""Checkpoints behind the verbs, in Python and on the command line."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
from typer.testing import CliRunner, Result

import polymodal as pm
from polymodal.catalog.names import is_generator_name
from polymodal.cli.app import app
from tests.hub import tiny

Get = Callable[[str], Path]


@pytest.fixture(scope="module")
def photo(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("photos") / "photo.png"
    tiny.picture(1).save(path)
    return path


@pytest.fixture(scope="module")
def talker(checkpoint: Get, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A tiny LLaVA to which most tokens are an end, so that its answers are whole."""
    folder = tmp_path_factory.mktemp("talker") / "llava"
    shutil.copytree(checkpoint("llava"), folder)
    settings = json.loads((folder / "generation_config.json").read_text())
    settings["eos_token_id"] = [2, *range(150, 261)]
    (folder / "generation_config.json").write_text(json.dumps(settings))
    return folder


def command(*arguments: str) -> Result:
    """The command, without the seconds that a process takes to import torch."""
    variables = {"POLYMODAL_OFFLINE": "1", "COLUMNS": "80", "NO_COLOR": "1"}
    result = CliRunner(env=variables).invoke(app, arguments, prog_name="polymodal")
    if result.exception and not isinstance(result.exception, SystemExit):
        raise result.exception
    return result


def process(*arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "polymodal", *arguments],
        env={**os.environ, "POLYMODAL_OFFLINE": "1"},
        capture_output=True,
        text=True,
        check=False,
    )


def test_names_tell_embedders_from_generators(checkpoint: Get) -> None:
    assert is_generator_name(str(checkpoint("llava")))
    assert is_generator_name(checkpoint("blip2"))
    assert is_generator_name(checkpoint("qwen2_text"))
    assert not is_generator_name(str(checkpoint("clip")))
    assert not is_generator_name("starter")


def test_a_caption_is_what_the_generator_says(talker: Path, photo: Path, tmp_path: Path) -> None:
    suite = pm.Suite(str(talker), device="cpu", home=tmp_path)
    caption = suite.caption(str(photo))
    assert caption.text
    assert caption.provenance.model == "llava"
    assert caption.provenance.revision == suite.generator().info.revision
    assert suite.caption(str(photo)).text == caption.text
    by_call = pm.Suite(home=tmp_path, cache=False).caption(str(photo), generator=str(talker))
    assert by_call.text == caption.text


def test_an_answer_is_cut_off_and_says_so(checkpoint: Get, photo: Path, tmp_path: Path) -> None:
    suite = pm.Suite(str(checkpoint("llava")), device="cpu", home=tmp_path)
    with pytest.raises(pm.InvalidAnswer, match="truncated") as caught:
        suite.caption(str(photo))
    assert caught.value.attempts[0].finish_reason == "length"


def test_vectors_are_refused_by_a_generator(talker: Path) -> None:
    with pytest.raises(pm.UsageError, match="writes text and has no vectors"):
        pm.Suite(str(talker)).embed(texts="red")


def test_a_captioner_is_not_found_in_an_embedder(checkpoint: Get, photo: Path) -> None:
    with pytest.raises(pm.ModelUnavailable, match="has no captioner"):
        pm.Suite(str(checkpoint("clip")), device="cpu").caption(str(photo))


def test_a_text_model_is_not_shown_pictures(checkpoint: Get, photo: Path, tmp_path: Path) -> None:
    suite = pm.Suite(str(checkpoint("qwen2_text")), device="cpu", home=tmp_path)
    with pytest.raises(pm.UsageError, match="takes text, no image"):
        suite.caption(str(photo))


def test_caption_and_ask_on_the_command_line(talker: Path, photo: Path) -> None:
    said = command("caption", str(photo), "-m", str(talker), "--json", "--no-cache")
    assert said.exit_code == 0, said.stderr
    (line,) = map(json.loads, said.stdout.splitlines())
    assert line["caption"]
    streamed = process("caption", str(photo), "-m", str(talker), "--stream", "--no-cache")
    assert streamed.returncode == 0, streamed.stderr
    assert line["caption"] in " ".join(streamed.stdout.split())
    assert "Loading" not in streamed.stderr
    answer = command("ask", str(photo), "-q", "What is this?", "-m", str(talker), "--json")
    assert answer.exit_code == 0, answer.stderr
    assert "answer" in json.loads(answer.stdout)


def test_options_of_an_answer_on_the_command_line(checkpoint: Get, photo: Path) -> None:
    model = str(checkpoint("llava"))
    asked = ("caption", str(photo), "-m", model, "--json", "--no-cache")
    with pytest.raises(pm.InvalidAnswer) as caught:
        pm.Suite(model, device="cpu").caption(str(photo))
    said = " ".join(caught.value.attempts[0].text.split())
    word = next(each for each in said if each != said[0])
    ended = command(*asked, "--stop", "nothing", "--stop", word)
    assert json.loads(ended.stdout)["caption"] == said[: said.index(word)].strip()
    cut = command(*asked, "--max-tokens", "3")
    assert cut.exit_code == 1
    assert "cut off after 3 tokens" in cut.stderr + cut.stdout
    drawn = ("--temperature", "1.5", "--stop", "e", "--max-tokens", "400", "--seed")
    first, again, other = (command(*asked, *drawn, seed).stdout for seed in ("1", "1", "2"))
    assert first == again != other


def test_examples_on_the_command_line(
    checkpoint: Get, talker: Path, photo: Path, tmp_path: Path
) -> None:
    tiny.picture(2).save(tmp_path / "other.png")
    rows = [{"image": "other.png", "question": "What is this?", "answer": "a saree"}] * 2
    table = tmp_path / "examples.jsonl"
    table.write_text("\n".join(map(json.dumps, rows)))
    asked = ("ask", str(photo), "-q", "What is this?", "--examples", str(table))
    done = command(*asked, "-m", str(talker), "--json", "--no-grounding")
    assert done.exit_code == 0, done.stderr
    refused = command(*asked, "-m", str(checkpoint("blip2")))
    assert refused.exit_code == 2
    assert "takes 1 picture(s) at once; 2 example(s)" in " ".join(refused.stderr.split())
    refused = command(*asked, "-m", str(checkpoint("paligemma")))
    assert "answers one question at a time" in " ".join(refused.stderr.split())


def test_classify_and_match_on_the_command_line(checkpoint: Get, photo: Path) -> None:
    model = str(checkpoint("siglip"))
    sorted_ = command(
        "classify", str(photo), "-l", "saree", "-l", "jeans", "-m", model, "--json", "--multi-label"
    )
    assert sorted_.exit_code == 0, sorted_.stderr
    assert sorted_.stderr == ""
    scores = json.loads(sorted_.stdout)["scores"]
    assert set(scores) == {"saree", "jeans"}
    matched = command("match", str(photo), "a red saree", "-m", model, "--json")
    assert matched.exit_code == 0, matched.stderr
    assert 0 < json.loads(matched.stdout)["probability"] < 1


def test_pickles_are_taken_where_the_command_line_allows_them(
    checkpoint: Get, tmp_path: Path
) -> None:
    import torch
    from safetensors.torch import load_file

    folder = shutil.copytree(checkpoint("clip"), tmp_path / "clip")
    torch.save(load_file(folder / "model.safetensors"), folder / "pytorch_model.bin")
    (folder / "model.safetensors").unlink()
    asked = ("embed", "--text", "red", "-m", str(folder), "--json")
    refused = command(*asked)
    assert refused.exit_code == 3
    assert "say --allow-pickle" in " ".join(refused.stderr.split())
    taken = command(*asked, "--allow-pickle")
    assert taken.exit_code == 0, taken.stderr
    assert json.loads(taken.stdout)


def test_a_broken_checkpoint_is_exit_code_three(
    checkpoint: Get, photo: Path, tmp_path: Path
) -> None:
    folder = shutil.copytree(checkpoint("llava"), tmp_path / "llava")
    (folder / "model.safetensors").write_bytes(b"")
    done = command("caption", str(photo), "-m", str(folder))
    assert done.exit_code == 3
    assert "model.safetensors is no whole safetensors file" in done.stderr
    assert "Traceback" not in done.stderr


def test_a_budget_is_refused_where_nothing_costs(talker: Path, photo: Path) -> None:
    done = command("caption", str(photo), "-m", str(talker), "--budget", "1")
    assert done.exit_code == 2
    assert "costs nothing" in done.stderr


def test_a_precision_is_the_checkpoint_s_and_a_starter_s_tier_stays_as_it_is(
    talker: Path, photo: Path, tmp_path: Path
) -> None:
    suite = pm.Suite(device="cpu", dtype="bfloat16", home=tmp_path)
    (found,) = suite.cascade("listing").run([(photo, "a red saree")])
    assert not isinstance(found, pm.ItemError), found
    assert suite.judge("starter")
    assert suite.generator(str(talker)).info.revision.endswith(" bfloat16")
    with pytest.raises(pm.UsageError, match="comes in one precision"):
        suite.embed(texts="red")
