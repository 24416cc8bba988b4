"""What the processes of a run say to each other: who they are, sums, and gathered features.

Notable: the gather carries gradients. Its backward pass adds up, over all ranks, what each of them
found for the rows that are held here, so a row gets the gradient of the whole batch's loss and not
only of its own rank's. Without torchrun everything here is the identity.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch
import torch.distributed as dist
from torch import Tensor

__all__ = [
    "Ranks",
    "gathered",
    "largest_over_ranks",
    "mean_over_ranks",
    "of_all_ranks",
    "ranks",
    "sum_over_ranks",
    "wait_for_all",
]


@dataclass(frozen=True)
class Ranks:
    """This process among those of the run."""

    rank: int
    world: int

    @property
    def first(self) -> bool:
        """Whether this is the one that writes and prints."""
        return self.rank == 0


def ranks() -> Ranks:
    """Who this process is; alone where no process group was started."""
    if not (dist.is_available() and dist.is_initialized()):
        return Ranks(0, 1)
    return Ranks(dist.get_rank(), dist.get_world_size())


def wait_for_all() -> None:
    """Go on when every rank is here."""
    if ranks().world > 1:
        dist.barrier()


def of_all_ranks(value: Tensor) -> list[Tensor]:
    """What each rank gives, in their order; the same list on each."""
    if ranks().world == 1:
        return [value]
    found: list[Any] = [None] * ranks().world
    dist.all_gather_object(found, value)
    return found


class _Gather(torch.autograd.Function):
    """All ranks' rows, one rank after another; every rank holds equally many."""

    @staticmethod
    def forward(context: Any, mine_BD: Tensor) -> Tensor:
        context.rows = len(mine_BD)
        parts = [torch.empty_like(mine_BD) for _ in range(dist.get_world_size())]
        dist.all_gather(parts, mine_BD.contiguous())
        return torch.cat(parts)

    @staticmethod
    def backward(context: Any, *gradients: Any) -> Tensor:
        total_ND: Tensor = gradients[0].contiguous().clone()
        dist.all_reduce(total_ND)
        start = dist.get_rank() * context.rows
        return total_ND[start : start + context.rows]


def gathered(mine_BD: Tensor) -> Tensor:
    """The rows (N, D) of all ranks, with gradient; N = world * B."""
    if ranks().world == 1:
        return mine_BD
    whole: Tensor = _Gather.apply(mine_BD)
    return whole


@torch.no_grad()
def sum_over_ranks(value: Tensor) -> Tensor:
    """The sum of a tensor over the ranks, the same on each; no gradient."""
    if ranks().world == 1:
        return value.detach()
    total = value.detach().clone()
    dist.all_reduce(total)
    return total


def largest_over_ranks(value: int) -> int:
    """The largest of the ranks' numbers, the same on each."""
    return max(int(each) for each in of_all_ranks(torch.tensor(value)))


def mean_over_ranks(value: Tensor) -> Tensor:
    """The mean of a tensor over the ranks, the same on each; no gradient."""
    return sum_over_ranks(value) / ranks().world
