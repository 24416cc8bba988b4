"""Downloading from a hub: a server on this machine that speaks the part of its API that is used."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
import torch

import polymodal as pm
from polymodal.catalog.names import is_generator_name
from polymodal.catalog.opening import open_embedder
from tests.hub.server import COMMIT, Hub

Get = Callable[[str], Path]


def test_a_checkpoint_is_downloaded_once_and_then_needs_no_network(
    hub: Hub, checkpoint: Get, monkeypatch: pytest.MonkeyPatch
) -> None:
    hub.repositories["org/clip-once"] = checkpoint("clip")
    first = open_embedder("org/clip-once", device="cpu")
    assert (first.space.model, first.space.revision) == ("org/clip-once", COMMIT[:12])
    same = open_embedder(str(checkpoint("clip")), device="cpu")
    assert (first.embed_texts(["cat"]) == same.embed_texts(["cat"])).all()
    before = len(hub.asked)
    assert any("model.safetensors" in each for each in hub.asked)
    monkeypatch.setenv("POLYMODAL_OFFLINE", "1")
    again = open_embedder("org/clip-once", device="cpu")
    assert again.space == first.space
    assert len(hub.asked) == before


def test_a_name_is_judged_by_its_config_alone(hub: Hub, checkpoint: Get) -> None:
    hub.repositories["org/llava-judged"] = checkpoint("llava")
    assert is_generator_name("org/llava-judged")
    assert {each.rpartition("/")[2] for each in hub.asked} == {"config.json"}
    with pytest.raises(pm.UsageError, match="writes text and has no vectors"):
        open_embedder("org/llava-judged")


def test_pickles_and_what_is_no_checkpoint_are_refused_before_they_are_downloaded(
    hub: Hub, checkpoint: Get, tmp_path: Path
) -> None:
    config = (checkpoint("clip") / "config.json").read_bytes()
    (tmp_path / "old").mkdir()
    (tmp_path / "old" / "config.json").write_bytes(config)
    torch.save({}, tmp_path / "old" / "pytorch_model.bin")
    hub.repositories["org/clip-old"] = tmp_path / "old"
    with pytest.raises(pm.ModelUnavailable, match=r"pickles only.*were not downloaded"):
        open_embedder("org/clip-old")
    assert not any("pytorch_model.bin" in each for each in hub.asked)
    (tmp_path / "data").mkdir()
    (tmp_path / "data" / "table.csv").write_text("a,b\n")
    hub.repositories["org/a-table"] = tmp_path / "data"
    with pytest.raises(pm.ModelUnavailable, match=r"has no config\.json"):
        open_embedder("org/a-table")


def test_what_the_hub_says_is_understood(hub: Hub) -> None:
    hub.refused["org/gated"] = (403, "GatedRepo")
    with pytest.raises(pm.ModelUnavailable, match=r"is gated.*hf auth login"):
        open_embedder("org/gated")
    with pytest.raises(pm.ModelUnavailable, match=r"no such model.*mean 'openai/clip-vit-large"):
        open_embedder("openai/clip-vit-large-patch-14")
    hub.refused["org/revised"] = (404, "RevisionNotFound")
    with pytest.raises(pm.ModelUnavailable, match="not that revision"):
        open_embedder("org/revised@v9")
