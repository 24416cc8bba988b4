"""The contrastive step: the gradient of the whole batch, whatever the memory and the ranks.

Notable: a contrastive loss is not a sum over items, so the usual accumulation (a loss for every
part of the batch, gradients added up) computes something else: a part's items never meet the other
parts' negatives, and the scale's gradient grows with the number of parts. Gradient caching (Gao et
al. 2021) is exact instead: 1. all chunks forward without a graph, 2. the loss of the whole batch
and its gradient at the features, 3. each chunk forward again, with the random state of its first
pass so that dropout falls alike, and backward from its features' gradient. It is the only way of
accumulating here. Across ranks features are gathered with gradient, and gradients are averaged.

Legend of shapes: B items of this rank, N items of all ranks, C items of a chunk, D width.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

import torch
from torch import Tensor, nn

from polymodal.training.ranks import gathered, mean_over_ranks, ranks

__all__ = ["contrastive_step", "slices_of", "synchronised", "whole_loss"]


def whole_loss(loss: nn.Module, image_BD: Tensor, text_BD: Tensor, group_B: Tensor) -> Tensor:
    """This rank's share of the loss of all ranks' items; the ranks' mean is the whole loss.

    Args:
        loss: `polymodal.nn.losses.InfoNCE` or `SigLIP`.
        group_B: an integer an item; equal ones, on whatever rank, are positives of each other.
    """
    share: Tensor = loss(
        image_BD,
        text_BD,
        all_image_ND=gathered(image_BD),
        all_text_ND=gathered(text_BD),
        offset=ranks().rank * len(image_BD),
        group_N=gathered(group_B),
    )
    return share


def contrastive_step(
    encoder: nn.Module,
    loss: nn.Module,
    images: Any,
    texts: Any,
    *,
    group_B: Tensor,
    chunks: int = 1,
    cast: AbstractContextManager[Any] | None = None,
    scale: float = 1.0,
) -> Tensor:
    """Add the whole batch's gradient to `.grad` of encoder and loss.

    Args:
        encoder: `encoder(images, texts)` gives unit vectors (B, D) of both; it may be wrapped in
            DDP or `fully_shard`, whose gradients are then already averaged over the ranks. Those of
            `loss`, which is wrapped in nothing, are averaged here.
        loss: see `whole_loss`.
        images, texts: a tensor, or a mapping of tensors, whose first axis is B.
        chunks: parts the encoder runs in, one at a time; the memory of activations falls by it.
        cast: an autocast context, reusable.
        scale: what the loss is multiplied by before backward (a gradient scaler's).

    Returns:
        The loss of the whole batch, averaged over the ranks, without graph or `scale`.

    Raises:
        ValueError: a batch of one; fewer items than chunks.
    """
    rows = len(group_B)
    if not 1 <= chunks <= rows:
        raise ValueError(f"{rows} items cannot be split into {chunks} chunks: 1 to {rows} can")
    cast = nullcontext() if cast is None else cast
    if chunks == 1:
        with cast:
            image_BD, text_BD = encoder(images, texts)
        share = whole_loss(loss, _exact(image_BD), _exact(text_BD), group_B)
        (share * scale).backward()
    else:
        share = _cached(
            encoder, loss, images, texts, group_B, chunks=chunks, cast=cast, scale=scale
        )
    for parameter in loss.parameters():
        if parameter.grad is not None:
            parameter.grad.copy_(mean_over_ranks(parameter.grad))
    return mean_over_ranks(share)


def _cached(
    encoder: nn.Module,
    loss: nn.Module,
    images: Any,
    texts: Any,
    group_B: Tensor,
    *,
    chunks: int,
    cast: AbstractContextManager[Any],
    scale: float,
) -> Tensor:
    slices = slices_of(len(group_B), chunks)
    states: list[_RandomState] = []
    image_parts, text_parts = [], []
    with torch.no_grad():
        for rows in slices:
            states.append(_RandomState.now(group_B.device))
            with cast:
                image_CD, text_CD = encoder(_part(images, rows), _part(texts, rows))
            image_parts.append(_exact(image_CD))
            text_parts.append(_exact(text_CD))
    image_BD = torch.cat(image_parts).requires_grad_()
    text_BD = torch.cat(text_parts).requires_grad_()
    share = whole_loss(loss, image_BD, text_BD, group_B)
    (share * scale).backward()
    after = _RandomState.now(group_B.device)
    for number, (rows, state) in enumerate(zip(slices, states, strict=True)):
        state.restore()
        with synchronised(encoder, last=number == chunks - 1):
            with cast:
                pair = encoder(_part(images, rows), _part(texts, rows))
            wanted = [_of(image_BD)[rows], _of(text_BD)[rows]]
            torch.autograd.backward([_exact(each) for each in pair], wanted)
    after.restore()
    return share


def _of(feature_BD: Tensor) -> Tensor:
    """The gradient; none at all where a loss does not look at one side."""
    return torch.zeros_like(feature_BD) if feature_BD.grad is None else feature_BD.grad


def _exact(feature_BD: Tensor) -> Tensor:
    """The loss is taken in float32 at least, whatever the towers ran in."""
    return feature_BD.to(torch.promote_types(feature_BD.dtype, torch.float32))


def slices_of(rows: int, chunks: int) -> list[slice]:
    """`chunks` slices whose lengths differ by one at most."""
    ends = [rows * number // chunks for number in range(chunks + 1)]
    return [slice(start, stop) for start, stop in pairwise(ends)]


def _part(batch: Any, rows: slice) -> Any:
    if isinstance(batch, Mapping):
        return {name: value[rows] for name, value in batch.items()}
    return batch[rows]


@dataclass(frozen=True)
class _RandomState:
    """Of the generators that dropout draws from."""

    cpu: Tensor
    cuda: Tensor | None
    device: torch.device

    @classmethod
    def now(cls, device: torch.device) -> _RandomState:
        cuda = torch.cuda.get_rng_state(device) if device.type == "cuda" else None
        return cls(torch.get_rng_state(), cuda, device)

    def restore(self) -> None:
        torch.set_rng_state(self.cpu)
        if self.cuda is not None:
            torch.cuda.set_rng_state(self.cuda, self.device)


@contextmanager
def synchronised(encoder: nn.Module, *, last: bool) -> Iterator[None]:
    """Ranks exchange gradients once a step: with the last chunk's backward pass."""
    if hasattr(encoder, "set_requires_gradient_sync"):  # fully_shard
        encoder.set_requires_gradient_sync(last)
        yield
    elif hasattr(encoder, "no_sync") and not last:  # DDP
        with encoder.no_sync():
            yield
    else:
        yield
