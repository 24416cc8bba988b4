"""One rank of `test_contrastive_step.py`: its gradients against those of the full batch.

    python -m tests.training.exact_gradients RANK WORLD RENDEZVOUS

Prints nothing and exits 0 when every gradient is equal to 1e-10, relative to its largest number.
"""

import gc
import sys
from itertools import product

import torch
import torch.distributed as dist
from torch import nn
from torch.distributed.fsdp import fully_shard
from torch.nn.parallel import DistributedDataParallel

from polymodal.nn.dual_encoder import DualEncoder
from polymodal.nn.losses import InfoNCE, SigLIP
from polymodal.training.contrastive import contrastive_step

ITEMS, WIDTH = 16, 6


def encoder():
    torch.manual_seed(3)
    towers = [
        nn.Sequential(nn.Linear(8, 12), nn.Tanh(), nn.Linear(12, 10)),
        nn.Sequential(nn.Linear(5, 12), nn.Tanh(), nn.Linear(12, 7)),
    ]
    return DualEncoder(*towers, image_width=10, text_width=7, width=WIDTH).double()


def loss_called(name):
    made = InfoNCE(scale=5.0, label_smoothing=0.1) if name == "clip" else SigLIP(ITEMS)
    return made.double()


def batch():
    generator = torch.Generator().manual_seed(7)
    images = torch.randn(ITEMS, 8, generator=generator, dtype=torch.float64)
    texts = torch.randn(ITEMS, 5, generator=generator, dtype=torch.float64)
    group = torch.arange(ITEMS)
    group[9] = group[2]  # positives of each other, on different ranks
    return images, texts, group


def full_batch(name):
    """The reference: no chunk, no rank, none of `polymodal.training`."""
    model, loss = encoder(), loss_called(name)
    images, texts, group = batch()
    value = loss(*model(images, texts), group_N=group)
    value.backward()
    return value.item(), gradients(model, loss)


def gradients(model, loss):
    def whole(gradient):
        return gradient.full_tensor() if hasattr(gradient, "full_tensor") else gradient

    inner = getattr(model, "module", model)
    found = {name: whole(each.grad) for name, each in inner.named_parameters()}
    return found | {name: each.grad for name, each in loss.named_parameters()}


def check(rank, world, wrapping, name, chunks):
    model, loss = encoder(), loss_called(name)
    if wrapping == "ddp":
        model = DistributedDataParallel(model)
    elif wrapping == "fsdp":
        fully_shard(model)
    rows = slice(rank * ITEMS // world, (rank + 1) * ITEMS // world)
    images, texts, group = (each[rows] for each in batch())
    value = contrastive_step(model, loss, images, texts, group_B=group, chunks=chunks)
    wanted_value, wanted = full_batch(name)
    assert abs(value.item() - wanted_value) < 1e-12, (name, chunks, value.item(), wanted_value)
    found = gradients(model, loss)
    assert found.keys() == wanted.keys()
    for parameter, gradient in wanted.items():
        off = ((found[parameter] - gradient).abs().max() / gradient.abs().max()).item()
        assert off < 1e-10, (wrapping, name, chunks, parameter, off)


def main(rank, world, rendezvous):
    torch.set_num_threads(1)
    if world > 1:
        dist.init_process_group("gloo", f"file://{rendezvous}", rank=rank, world_size=world)
    for wrapping, name, chunks in product(
        ["ddp", "fsdp"] if world > 1 else ["alone"], ["clip", "siglip"], [1, 2, 4]
    ):
        check(rank, world, wrapping, name, chunks)
    if world > 1:
        dist.barrier()
        gc.collect()  # models of a group that is gone can end the process
        dist.destroy_process_group()


if __name__ == "__main__":
    main(int(sys.argv[1]), int(sys.argv[2]), sys.argv[3])
