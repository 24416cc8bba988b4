"""One rank of `test_qformer_ranks.py`: its losses and gradients against those of the full batch.

    python -m tests.training.qformer_ranks RANK WORLD RENDEZVOUS

Prints nothing and exits 0 when all are equal to 1e-10, relative to the largest gradient.
"""

import gc
import sys

import torch
import torch.distributed as dist
from torch.nn.parallel import DistributedDataParallel

from polymodal.nn.qformer import QFormer
from polymodal.nn.qformer_losses import QFormerPretraining
from polymodal.training.ranks import gathered, mean_over_ranks

PAIRS = 6


def model():
    torch.manual_seed(3)
    qformer = QFormer(6, vocabulary=20, width=12, depth=2, heads=2, queries=3, dropout=0.0)
    return QFormerPretraining(qformer, begin=19, width=8).double()


def batch():
    random = torch.Generator().manual_seed(7)
    token = torch.randn(PAIRS, 7, 6, generator=random, dtype=torch.float64)
    ids = torch.randint(1, 18, (PAIRS, 5), generator=random)
    mask = torch.ones_like(ids)
    mask[0, 2:] = 0  # the ranks have different numbers of words
    mask[4, 4:] = 0
    return token, ids, mask


def likeliest(share, count):
    """In place of a draw, which would fall differently on each rank."""
    return share.topk(count, dim=1).indices


def full_batch():
    """The reference: one process, nothing gathered."""
    whole, (token, ids, mask) = model(), batch()
    token.requires_grad_()
    losses = whole(token, ids, mask)
    losses.total.backward()
    return losses, token.grad, {name: each.grad for name, each in whole.named_parameters()}


def assert_equal(name, found, wanted, size):
    off = ((found - wanted).abs().max() / size).item()
    assert off < 1e-10, (name, off)


def main(rank, world, rendezvous):
    torch.set_num_threads(1)
    torch.multinomial = likeliest
    dist.init_process_group("gloo", f"file://{rendezvous}", rank=rank, world_size=world)
    wanted, token_gradient, gradients = full_batch()
    rows = slice(rank * PAIRS // world, (rank + 1) * PAIRS // world)
    token, ids, mask = (each[rows] for each in batch())
    token.requires_grad_()
    copy = DistributedDataParallel(model())
    losses = copy(token, ids, mask, gather=gathered, offset=rows.start)
    losses.total.backward()
    for name in losses._fields:
        value = getattr(wanted, name).detach()
        assert_equal(name, mean_over_ranks(getattr(losses, name)), value, value)
    # A bias of keys moves no softmax: its gradient is rounding, so all are held to the largest.
    largest = max(each.abs().max() for each in gradients.values())
    for name, each in copy.module.named_parameters():
        assert_equal(name, each.grad, gradients[name], largest)
    # What a tower would get: its copies' gradients are averaged.
    assert_equal("tokens", token.grad / world, token_gradient[rows], token_gradient.abs().max())
    dist.barrier()
    gc.collect()  # models of a group that is gone can end the process
    dist.destroy_process_group()


if __name__ == "__main__":
    main(int(sys.argv[1]), int(sys.argv[2]), sys.argv[3])
