"""One rank of a whole Q-Former run; see `test_qformer_ranks.py`.

    python -m tests.training.qformer_run_ranks RANK WORLD RENDEZVOUS

Beside RENDEZVOUS lie a tower in `clip`, a BERT in `bert` and pairs in `shapes/uneven.jsonl`; the
model goes to `ranks`.
"""

import gc
import sys
from pathlib import Path

import torch
import torch.distributed as dist

from polymodal.nn.attention import Attention
from polymodal.training.bridge_recipes import QFORMER
from polymodal.training.pairs import open_pairs
from polymodal.training.qformer_run import QFormerRun
from polymodal.training.settings import overridden, recipe_of
from tests.training import tiny_llava
from tests.training.qformer_ranks import likeliest

VALUES = ("batch=4", "steps=4", "epochs=9", "warmup=1", "queries=3", "shared=8", "log_every=1")
VALUES += ("precision=float32", "smallest_crop=1")
# As in test_ranks.py: a large eps leaves a step that follows the gradient.
VALUES += ("eps=1.0", 'rates=[["*vision_model*",null],["*",0.05]]')


def train(root, name):
    """A run without dropout, into ROOT/NAME; gives the weights that it began with."""
    recipe = overridden(recipe_of(QFORMER, "blip2_stage1"), VALUES)
    parts = tiny_llava.source(root / "clip"), tiny_llava.source(root / "bert")
    pairs = open_pairs(root / "shapes" / "uneven.jsonl")
    made = QFormerRun(recipe, *parts, pairs, None, torch.device("cpu"))
    for module in made.parts.model.modules():
        if isinstance(module, torch.nn.Dropout):
            module.p = 0.0
        elif isinstance(module, Attention):
            module.dropout = 0.0
    before = {key: value.clone() for key, value in made.parts.model.state_dict().items()}
    made.run(root / name, lambda line: None)
    return before


def main(rank, world, rendezvous):
    """The run, on all ranks."""
    torch.set_num_threads(1)
    torch.multinomial = likeliest
    dist.init_process_group("gloo", f"file://{rendezvous}", rank=rank, world_size=world)
    train(Path(rendezvous).parent, "ranks")
    dist.barrier()
    gc.collect()  # models of a group that is gone can end the process
    dist.destroy_process_group()


if __name__ == "__main__":
    main(int(sys.argv[1]), int(sys.argv[2]), sys.argv[3])
