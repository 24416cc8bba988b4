"""How runs are started in these tests, by words or on ranks, and what they leave."""

import os
import subprocess
import sys
from pathlib import Path

import torch
from safetensors.torch import load_file
from typer.testing import CliRunner

from polymodal.cli.app import app

ROOT = Path(__file__).resolve().parents[2]
ONE_THREAD = os.environ | {"OMP_NUM_THREADS": "1"}


def assigned(*values):
    """`key=value` as a command's words."""
    return [word for each in values for word in ("--set", each)]


def cli(*words):
    """The standard output of a command that succeeds."""
    ran = CliRunner().invoke(app, [str(each) for each in words], prog_name="polymodal")
    if ran.exception and not isinstance(ran.exception, SystemExit):
        raise ran.exception
    assert ran.exit_code == 0, ran.output
    return ran.stdout


def command(*words, processes=1):
    """Run `polymodal` in processes of its own."""
    launch = ["-m", "torch.distributed.run", "--standalone", f"--nproc-per-node={processes}"]
    ran = subprocess.run(
        [sys.executable, *(launch if processes > 1 else []), "-m", "polymodal", *map(str, words)],
        cwd=ROOT,
        env=ONE_THREAD,
        capture_output=True,
        text=True,
        timeout=200,
        check=False,
    )
    assert ran.returncode == 0, ran.stderr


def on_ranks(module, world, rendezvous):
    """Run `python -m module RANK WORLD RENDEZVOUS` as so many processes; all must exit with 0."""
    ranks = [
        subprocess.Popen(
            [sys.executable, "-m", module, str(rank), str(world), str(rendezvous)],
            cwd=ROOT,
            env=ONE_THREAD,
            stderr=subprocess.PIPE,
            text=True,
        )
        for rank in range(world)
    ]
    said = [rank.communicate(timeout=120)[1] for rank in ranks]
    assert [rank.returncode for rank in ranks] == [0] * world, "\n".join(said)


def weights(folder):
    """What a run or a checkpoint holds, by name."""
    return load_file(folder / "model.safetensors")


def changed(before, after):
    """The names whose numbers are not the same; both hold the same names."""
    assert before.keys() == after.keys()
    return {name for name in before if not torch.equal(before[name], after[name])}


def assert_ends_alike(before, wanted, found):
    """Two runs went the same way, by the length of that way."""
    assert found.keys() == wanted.keys()
    moved = max(float((wanted[name] - before[name]).abs().max()) for name in wanted)
    off = max(float((wanted[name] - found[name]).abs().max()) for name in wanted)
    assert moved > 1e-3
    assert off < moved / 1000
