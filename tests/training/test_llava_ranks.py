"""Two processes, one of which may see a picture while the other does not, end where one ends."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
from safetensors.torch import load_file
from typer.testing import CliRunner

from polymodal.cli.app import app
from tests.hub import tiny
from tests.training import tiny_llava

ROOT = Path(__file__).resolve().parents[2]
VALUES = ("batch=4", "steps=5", "epochs=9", "precision=float32", "grouped=false")
# As in test_ranks.py: a large eps leaves a step that follows the gradient.
VALUES += ("eps=1.0", 'rates=[["*vision_tower*",null],["*",0.1]]')


def train(root, name, *values):
    """The command's arguments."""
    command = ["train", "instruct", str(root / "shapes" / "talk.json"), "-q"]
    command += ["-m", str(root / "whole"), "-o", str(root / name)]
    return command + [part for each in (*VALUES, *values) for part in ("--set", each)]


@pytest.mark.slow
def test_shards_end_where_one_process_does(tmp_path):
    tiny.clip(tmp_path / "clip")
    tiny_llava.llama(tmp_path / "llama")
    tiny_llava.joined(tmp_path / "clip", tmp_path / "llama", tmp_path / "whole")
    talk = tiny_llava.shapes(tmp_path / "shapes", each=2) / "talk.json"
    rows = json.loads(talk.read_text())
    rows += [tiny_llava.conversation(None, ("w" * n, "words"), name=f"{n}") for n in range(1, 13)]
    talk.write_text(json.dumps(rows))
    before = load_file(tmp_path / "whole" / "model.safetensors")
    alone = CliRunner().invoke(app, train(tmp_path, "one"), prog_name="polymodal")
    assert alone.exit_code == 0, alone.output
    launch = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node=2"]
    ran = subprocess.run(
        [*launch, "-m", "polymodal", *train(tmp_path, "two", "sharding=shards", "chunks=2")],
        cwd=ROOT,
        env=os.environ | {"OMP_NUM_THREADS": "1"},
        capture_output=True,
        text=True,
        timeout=200,
        check=False,
    )
    assert ran.returncode == 0, ran.stderr
    wanted = load_file(tmp_path / "one" / "model.safetensors")
    found = load_file(tmp_path / "two" / "model.safetensors")
    moved = max(float((wanted[name] - before[name]).abs().max()) for name in before)
    off = max(float((wanted[name] - found[name]).abs().max()) for name in before)
    assert moved > 1e-3
    assert off < moved / 1000
