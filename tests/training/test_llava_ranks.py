"""Two processes, one of which may see a picture while the other does not, end where one ends.

And those that were stopped go on bit for bit.
"""

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
from tests.training import resumed_ranks, tiny_llava

ROOT = Path(__file__).resolve().parents[2]
VALUES = ("batch=4", "steps=5", "epochs=9", "precision=float32", "grouped=false")
# As in test_ranks.py: a large eps leaves a step that follows the gradient.
VALUES += ("eps=1.0", 'rates=[["*vision_tower*",null],["*",0.1]]')


LAUNCH = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node=2", "-m"]


def launched(*command):
    """By torchrun, on two processes."""
    ran = subprocess.run(
        [*LAUNCH, *command],
        cwd=ROOT,
        env=os.environ | {"OMP_NUM_THREADS": "1"},
        capture_output=True,
        text=True,
        timeout=200,
        check=False,
    )
    assert ran.returncode == 0, ran.stderr


@pytest.fixture(scope="module")
def root(tmp_path_factory):
    """A model, and conversations with pictures and without."""
    root = tmp_path_factory.mktemp("ranks")
    tiny.clip(root / "clip")
    tiny_llava.llama(root / "llama")
    tiny_llava.joined(root / "clip", root / "llama", root / "whole")
    talk = tiny_llava.shapes(root / "shapes", each=2) / "talk.json"
    rows = json.loads(talk.read_text())
    rows += [tiny_llava.conversation(None, ("w" * n, "words"), name=f"{n}") for n in range(1, 13)]
    talk.write_text(json.dumps(rows))
    return root


def weights(folder):
    return load_file(folder / "model.safetensors")


def farthest(ones, others):
    assert ones.keys() == others.keys()
    return max(float((ones[name] - others[name]).abs().max()) for name in ones)


def train(root, name, *values):
    """The command's arguments."""
    command = ["train", "instruct", str(root / "shapes" / "talk.json"), "-q"]
    command += ["-m", str(root / "whole"), "-o", str(root / name)]
    return command + [part for each in (*VALUES, *values) for part in ("--set", each)]


@pytest.mark.slow
def test_shards_end_where_one_process_does(root):
    alone = CliRunner().invoke(app, train(root, "one"), prog_name="polymodal")
    assert alone.exit_code == 0, alone.output
    launched("polymodal", *train(root, "two", "sharding=shards", "chunks=2"))
    before, wanted = weights(root / "whole"), weights(root / "one")
    moved = farthest(before, wanted)
    assert moved > 1e-3
    assert farthest(wanted, weights(root / "two")) < moved / 1000


@pytest.mark.slow
def test_two_processes_that_were_stopped_go_on_bit_for_bit(root):
    launched("tests.training.resumed_ranks", str(root))
    before = weights(root / "whole")
    for name in resumed_ranks.CASES:
        straight, resumed = weights(root / name), weights(root / f"{name}-resumed")
        assert farthest(straight, resumed) == 0, name
        log = (root / f"{name}-resumed" / "log.jsonl").read_text().splitlines()
        assert len(log) == len((root / name / "log.jsonl").read_text().splitlines()) + 1, name
    for name in resumed_ranks.EXACT:  # nothing is drawn at random: one process ends there too
        resumed_ranks.train(root, f"{name}-alone", resumed_ranks.CASES[name])
        alone = weights(root / f"{name}-alone")
        moved = farthest(before, {key: alone[key] for key in before})
        assert moved > 1e-3
        assert farthest(alone, weights(root / name)) < moved / 1000, name
