"""`polymodal models list|show|path|pull|rm`, with a hub on this machine."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

import polymodal as pm
from polymodal.catalog.known import folder_of, known_models, pull, remove, show
from polymodal.cli.app import app
from tests.hub.server import COMMIT, Hub

Get = Callable[[str], Path]


def run(*arguments: str) -> Any:
    return CliRunner(env={"COLUMNS": "80"}).invoke(app, ["models", *arguments])


def test_a_pulled_checkpoint_is_listed_found_and_works_offline_until_it_is_removed(
    hub: Hub, checkpoint: Get, monkeypatch: pytest.MonkeyPatch
) -> None:
    hub.repositories["org/clip-pulled"] = checkpoint("clip")
    pulled = run("pull", "org/clip-pulled", "--json")
    folder = Path(json.loads(pulled.stdout)["folder"])
    assert folder.name == COMMIT
    monkeypatch.setenv("POLYMODAL_OFFLINE", "1")
    assert run("path", "org/clip-pulled").stdout.strip() == str(folder)
    listed = [json.loads(line) for line in run("list", "--here", "--json").stdout.splitlines()]
    (row,) = [each for each in listed if each["name"] == "org/clip-pulled"]
    assert (row["does"], row["model_type"], row["revision"]) == ("vectors", "clip", COMMIT[:12])
    assert row["size_bytes"] == sum(p.stat().st_size for p in checkpoint("clip").iterdir())
    assert "org/clip-pulled" in run("show", "org/clip-pulled").stdout
    assert pm.Suite("org/clip-pulled", device="cpu").embed(texts="cat").vectors.shape == (1, 16)
    assert pull("org/clip-pulled") == folder
    freed = json.loads(run("rm", "org/clip-pulled", "--json").stdout)["freed_bytes"]
    assert freed > 10_000
    assert not folder.exists()
    with pytest.raises(pm.ModelUnavailable, match="POLYMODAL_OFFLINE forbids it"):
        pull("org/clip-pulled")
    assert run("rm", "org/clip-pulled").exit_code == 3


def test_every_kind_of_model_is_shown(checkpoint: Get, nowhere: Any) -> None:
    rows = {row.name: row for row in known_models()}
    assert rows["starter"].details["embedder"]["scores"]
    assert rows["whisper-base"].does == "speech"
    assert rows["openai:gpt-5.4"].details["price"]["input_usd_per_million_tokens"] == 2.5
    assert rows["Qwen/Qwen3-VL-2B-Instruct"].folder is None
    assert show(str(checkpoint("llava"))).does == "text"
    assert show("Qwen/Qwen3-VL-2B-Instruct").family == "Qwen3-VL"


def test_a_speech_model_is_pulled_and_found_by_its_short_name(
    hub: Hub, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pytest.importorskip("faster_whisper")
    made = tmp_path / "made"
    made.mkdir()
    for file in ("model.bin", "tokenizer.json", "config.json"):
        (made / file).write_text("{}")
    hub.repositories["Systran/faster-whisper-large-v3"] = made
    assert run("path", "large-v3").exit_code == 3
    pulled = run("pull", "large-v3", "--json")
    assert pulled.exit_code == 0, pulled.output
    folder = Path(json.loads(pulled.stdout)["folder"])
    assert (folder / "model.bin").read_text() == "{}"
    monkeypatch.setenv("POLYMODAL_OFFLINE", "1")
    rows = {row.name: row for row in known_models()}
    assert {rows[name].does for name in ("whisper-base", "large-v3", "turbo")} == {"speech"}
    assert (rows["large-v3"].folder, rows["turbo"].folder) == (folder, None)
    assert run("path", "large").stdout.strip() == str(folder)  # its other name
    assert "Apache-2.0" in run("show", "large-v3").stdout
    assert run("rm", "large-v3").exit_code == 0
    assert run("path", "large-v3").exit_code == 3


def test_parameters_are_those_that_torch_counts(checkpoint: Get) -> None:
    import transformers

    model = transformers.CLIPModel.from_pretrained(checkpoint("clip"))
    counted = sum(each.numel() for each in model.state_dict().values())
    assert show(str(checkpoint("clip"))).details["parameters"] == counted


def test_what_is_not_there_says_how_to_get_it(nowhere: Any) -> None:
    with pytest.raises(pm.ModelUnavailable, match=r"Run: polymodal models pull openai/clip-vit"):
        folder_of("openai/clip-vit-base-patch32")
    with pytest.raises(pm.ModelUnavailable, match=r"mean 'openai/clip-vit-base-patch32'"):
        show("clip-vit-base-patch3")
    with pytest.raises(pm.ModelUnavailable, match=r"no model is called .startr..*.starter."):
        pull("startr")


def test_a_card_s_short_name_stands_for_its_id(
    checkpoint: Get, nowhere: Any, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    assert show("SigLIP2-base-patch16-224").name == "google/siglip2-base-patch16-224"
    with pytest.raises(pm.ModelUnavailable, match="pull openai/clip-vit-base-patch32"):
        folder_of("clip-vit-base-patch32")
    monkeypatch.setenv("POLYMODAL_OFFLINE", "1")
    repo = tmp_path / "hub-cache" / "models--openai--clip-vit-base-patch32"
    shutil.copytree(checkpoint("clip"), repo / "snapshots" / COMMIT)
    (repo / "refs").mkdir()
    (repo / "refs" / "main").write_text(COMMIT)
    space = pm.Suite("clip-vit-base-patch32", device="cpu").embedder().space
    assert (space.model, space.revision) == ("openai/clip-vit-base-patch32", COMMIT[:12])
    with pytest.raises(pm.ModelUnavailable, match=r"mean .clip-vit-base-patch32."):
        pm.Suite("clip-vit-bsae-patch32").embedder()


def test_nothing_of_the_users_is_removed(checkpoint: Get) -> None:
    with pytest.raises(pm.UsageError, match="a folder of yours"):
        remove(str(checkpoint("clip")))
    with pytest.raises(pm.UsageError, match="pip uninstall polymodal-starter"):
        remove("starter")
    with pytest.raises(pm.UsageError, match="behind an API"):
        remove("openai:gpt-5.4")
    assert checkpoint("clip").is_dir()


def test_a_damaged_checkpoint_is_listed_with_what_is_wrong(
    hub: Hub, checkpoint: Get, tmp_path: Path
) -> None:
    hub.repositories["org/clip-cut"] = checkpoint("clip")
    folder = pull("org/clip-cut")
    weights = (folder / "model.safetensors").resolve()
    weights.write_bytes(weights.read_bytes()[:1000])
    assert "no whole safetensors" in show("org/clip-cut").details["damaged"]


@pytest.mark.parametrize("name", ["starter", "gemini:gemini-3.5-flash", "whisper-base"])
def test_what_is_shown_fits_the_terminal(name: str) -> None:
    shown = run("show", name).stdout
    assert max(len(line) for line in shown.splitlines() if "/" not in line) < 80
    told = json.loads(run("show", name, "--json").stdout)
    words = " ".join(shown.split())
    assert told["name"] in words
    for part in told.values():
        limits = part.get("limits", []) if isinstance(part, dict) else []
        assert all(limit in words for limit in limits)
