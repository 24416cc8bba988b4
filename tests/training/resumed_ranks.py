"""Run by torchrun: trains, goes back to an earlier checkpoint, and resumes; see test_llava_ranks.

    python -m torch.distributed.run ... -m tests.training.resumed_ranks ROOT

ROOT has a model in `whole` and conversations in `shapes`. In ROOT/CASE lies the model of the run
that was not stopped, in ROOT/CASE-resumed that of the other.
"""

import gc
import shutil
import sys
from pathlib import Path

import torch
import torch.distributed as dist

from polymodal.training.conversations import open_dialogues
from polymodal.training.llava_model import load_llava
from polymodal.training.llava_recipes import INSTRUCT
from polymodal.training.llava_run import LlavaRun
from polymodal.training.settings import overridden, recipe_of
from tests.training import tiny_llava

FEW = ("batch=4", "steps=5", "epochs=9", "precision=float32", "save_every=2", "keep_last=9")
FEW += ("chunks=2", "recompute=false")
# As in test_ranks.py: a large eps leaves a step that follows the gradient.
STEADY = ("eps=1.0", 'rates=[["*vision_tower*",null],["*",0.1]]')
LORA = ("rank=2", "alpha=4", "eps=1.0", 'rates=[["*lora_*",0.5],["*projector*",0.1],["*",null]]')
CASES = {
    "copies": ("llava15_lora", *LORA, "dropout=0.3", "sharding=copies"),
    "adapters": ("llava15_lora", *LORA, "dropout=0", "sharding=shards", "recompute=true"),
    "tiles": ("llava15_stage2", *STEADY, "grids=[[1,2],[2,1]]", "sharding=shards"),
}
"""What two processes run."""
EXACT = ("adapters", "tiles")
"""Those that draw nothing at random."""


def train(root, name, values, resume=False):
    """A run, into ROOT/NAME."""
    recipe, *changes = values
    chosen = overridden(recipe_of(INSTRUCT, recipe), [*FEW, *changes])
    llava = load_llava(tiny_llava.source(root / "whole"))
    data = open_dialogues(root / "shapes" / "talk.json")
    made = LlavaRun(chosen, llava, data, None, torch.device("cpu"))
    made.run(root / name, lambda line: None, resume=resume)


def main(root):
    """Every case, without and with a stop after two of five steps."""
    dist.init_process_group("gloo")
    for name, values in CASES.items():
        train(root, name, values)
        dist.barrier()
        again = root / f"{name}-resumed"
        if dist.get_rank() == 0:
            shutil.copytree(root / name, again)
            for step in (4, 5):
                (again / "checkpoints" / f"step-{step:08d}.pt").unlink()
            (again / "model.safetensors").unlink()
        dist.barrier()
        train(root, again.name, values, resume=True)
        dist.barrier()
    gc.collect()  # models of a group that is gone can end the process
    dist.destroy_process_group()


if __name__ == "__main__":
    main(Path(sys.argv[1]))
