"""A whole run on two processes ends where the run of one ends, in copies and in shards."""

import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from safetensors.numpy import load_file

from tests.hub.tiny import clip
from tests.training import tiny

ROOT = Path(__file__).resolve().parents[2]
VALUES = ("batch=8", "steps=4", "epochs=9", "warmup=2", "save_every=2")
# AdamW divides by the gradient's size, which makes rounding where it is zero as large as the rest;
# a large eps leaves a step that follows the gradient.
VALUES += ("eps=1.0", 'rates=[["*",0.1]]')


def train(folder, checkpoint, data, processes, *values):
    command = [sys.executable, "-m"]
    if processes > 1:
        command += ["torch.distributed.run", "--standalone", f"--nproc-per-node={processes}", "-m"]
    command += ["polymodal", "train", "contrastive", str(data), "-m", str(checkpoint)]
    command += ["-o", str(folder), "-q"]
    command += [part for each in (*VALUES, *values) for part in ("--set", each)]
    ran = subprocess.run(
        command,
        cwd=ROOT,
        env=os.environ | {"OMP_NUM_THREADS": "1"},
        capture_output=True,
        text=True,
        timeout=200,
        check=False,
    )
    assert ran.returncode == 0, ran.stderr
    return load_file(folder / "model.safetensors")


@pytest.fixture(scope="module")
def alone(tmp_path_factory):
    root = tmp_path_factory.mktemp("ranks")
    data, checkpoint = tiny.table(root / "data"), clip(root / "clip")
    return data, checkpoint, train(root / "one", checkpoint, data, 1)


@pytest.mark.parametrize("sharding", ["copies", "shards"])
def test_two_processes_end_where_one_does(alone, tmp_path, sharding):
    data, checkpoint, wanted = alone
    found = train(tmp_path / "two", checkpoint, data, 2, f"sharding={sharding}", "chunks=2")
    before = load_file(checkpoint / "model.safetensors")
    assert found.keys() == wanted.keys()
    moved = max(np.abs(wanted[name] - before[name]).max() for name in wanted)
    off = max(np.abs(wanted[name] - found[name]).max() for name in wanted)
    assert moved > 1e-3
    assert off < moved / 1000
