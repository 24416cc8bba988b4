"""Memory worked out from a configuration, against what transformers builds, keeps and loads."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
import transformers as hf

from polymodal.catalog.choices import filled
from polymodal.catalog.estimate import Load, estimate
from polymodal.catalog.shapes import shape_of
from polymodal.models.tensorfiles import find_weight_files
from tests.hub.tiny import CONTRASTIVE
from tests.hub.tiny_generators import GENERATORS

Get = Callable[[str], Path]
ROOT = Path(__file__).parents[2]


def configuration(folder: Path) -> Any:
    return filled(json.loads((folder / "config.json").read_text(encoding="utf-8")))


@pytest.mark.parametrize("family", [*CONTRASTIVE, *GENERATORS])
def test_numbers_are_those_of_the_weight_files(family: str, checkpoint: Get) -> None:
    folder = checkpoint(family)
    counted = find_weight_files(folder).parameters()
    assert counted is not None
    assert shape_of(configuration(folder)).parameters == pytest.approx(counted, rel=0.05)


def test_loading_takes_what_was_worked_out() -> None:
    done = subprocess.run(
        [sys.executable, "-m", "benchmarks.memory_estimates", "--json"],
        capture_output=True,
        text=True,
        check=True,
        cwd=ROOT,
        env={**os.environ, "OMP_NUM_THREADS": "1"},
    )
    rows = json.loads(done.stdout.splitlines()[-1])
    assert len(rows) >= 6
    for row in rows:
        assert row["measured_bytes"] > 100e6, row
        assert row["estimate_bytes"] == pytest.approx(row["measured_bytes"], rel=0.15), row


@pytest.mark.skipif(not Path("/proc/self/clear_refs").exists(), reason="peaks are Linux's")
def test_the_widest_step_takes_what_was_worked_out() -> None:
    name = "CLIP, 16 pictures"
    command = [sys.executable, "-m", "benchmarks.working_memory", name]
    done = subprocess.run(command, capture_output=True, text=True, check=True, cwd=ROOT)
    found = json.loads(done.stdout.splitlines()[-1])
    assert found["measured"] > 50e6
    assert found["worked_out"] == pytest.approx(found["measured"], rel=0.15)


@pytest.mark.parametrize("family", ["qwen2_text", "llava", "paligemma"])
def test_keys_and_values_are_as_many_as_transformers_keeps(family: str, checkpoint: Get) -> None:
    folder, tokens = checkpoint(family), 23
    config = hf.AutoConfig.from_pretrained(folder)
    text = getattr(config, "text_config", config)
    model = hf.AutoModelForCausalLM.from_config(text).eval()
    with torch.no_grad():
        kept = model(torch.ones((1, tokens), dtype=torch.long), use_cache=True).past_key_values
    held = sum(
        part.numel() * part.element_size()
        for layer in kept.layers
        for part in (layer.keys, layer.values)
    )
    found = estimate(configuration(folder), Load(context_tokens=tokens))
    assert found.kv_cache_bytes == held


def test_quantised_weights_are_smaller_and_embeddings_stay(checkpoint: Get) -> None:
    config = configuration(checkpoint("llava"))
    whole, eight, four = (
        estimate(config, Load(dtype="bfloat16", quantize=each)).weight_bytes
        for each in (None, "8bit", "4bit")
    )
    vocabulary = config["text_config"]["vocab_size"] * config["text_config"]["hidden_size"]
    assert 2 * vocabulary < four < eight < whole
    assert whole - eight == shape_of(config).parameters - vocabulary
