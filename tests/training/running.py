"""How runs are started in these tests: on ranks, from the command line, and what they leave."""

import os
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]


def on_ranks(module, world, rendezvous):
    """Run `python -m module RANK WORLD RENDEZVOUS` as so many processes; all must exit with 0."""
    ranks = [
        subprocess.Popen(
            [sys.executable, "-m", module, str(rank), str(world), str(rendezvous)],
            cwd=ROOT,
            env=os.environ | {"OMP_NUM_THREADS": "1"},
            stderr=subprocess.PIPE,
            text=True,
        )
        for rank in range(world)
    ]
    said = [rank.communicate(timeout=120)[1] for rank in ranks]
    assert [rank.returncode for rank in ranks] == [0] * world, "\n".join(said)
