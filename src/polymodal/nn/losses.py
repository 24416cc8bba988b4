"""Contrastive losses between two sets of unit vectors: InfoNCE and SigLIP's sigmoid loss.

Notable: both are sums over rows of the similarity matrix, and one row needs only its own logits.
So the memory-saving form is the plain form, `chunk` rows at a time under checkpointing: the same
numbers, `chunk` x N logits alive instead of N x N. And a rank of a distributed run computes its own
B rows against the N gathered items: the mean of the ranks' losses is the loss of the whole batch,
and so are the gradients, as long as the gathered features carry gradients.

Legend of shapes: B rows held here, N items in the whole batch (all ranks), C rows of a chunk,
D width.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

__all__ = ["MAX_LOGIT_SCALE", "InfoNCE", "SigLIP", "sigmoid_bias"]

MAX_LOGIT_SCALE = math.log(100.0)
"""The logarithm of the largest factor on a cosine (Radford et al. 2021, section 2.5)."""


def sigmoid_bias(batch: int) -> float:
    """The bias at which an untrained model says "pair" for one of `batch` items in a row.

    A row has one positive among `batch`, so the prior of a pair is 1 / batch, whose logit is
    -ln(batch - 1): at SigLIP's batch of 32,768 that is -10.4, where the paper sets -10.

    Raises:
        ValueError: a batch under two.
    """
    if batch < 2:
        raise ValueError(f"a contrastive loss needs a batch of two or more, not {batch}")
    return -math.log(batch - 1)


class _PairLoss(nn.Module):
    """What both losses share: the scale, the rows and the chunks."""

    both_ways: bool
    """Whether texts look for their pictures as well as pictures for their texts."""

    def __init__(self, scale: float, chunk: int | None) -> None:
        super().__init__()
        if scale <= 0:
            raise ValueError(f"the scale multiplies cosines and must be positive, not {scale}")
        if chunk is not None and chunk < 1:
            raise ValueError(f"a chunk has at least one row, not {chunk}")
        self.logit_scale = nn.Parameter(torch.tensor(math.log(scale)))
        self.chunk = chunk

    @torch.no_grad()
    def clamp_(self) -> None:
        """Keep the factor between 1 and 100; call it after each step of the optimiser."""
        self.logit_scale.clamp_(0.0, MAX_LOGIT_SCALE)

    def forward(
        self,
        image_BD: Tensor,
        text_BD: Tensor,
        *,
        all_image_ND: Tensor | None = None,
        all_text_ND: Tensor | None = None,
        offset: int = 0,
        group_N: Tensor | None = None,
    ) -> Tensor:
        """The mean loss of the B rows held here.

        Args:
            image_BD: unit vectors; row i belongs with `text_BD[i]`.
            text_BD: unit vectors.
            all_image_ND: the features of all ranks, gathered with gradient; by default the B here.
            all_text_ND: likewise.
            offset: where the B items stand among the N: rank * B.
            group_N: an integer an item of the whole batch; equal ones are positives of each other.
                By default each item is its own group.

        Raises:
            ValueError: a batch of one (the loss would be zero whatever the features), shapes that
                do not fit each other.
        """
        all_image_ND = image_BD if all_image_ND is None else all_image_ND
        all_text_ND = text_BD if all_text_ND is None else all_text_ND
        group_B, group_N = _groups(
            image_BD, text_BD, all_image_ND, all_text_ND, offset=offset, group_N=group_N
        )
        total = self._summed(image_BD, all_text_ND, group_B, group_N)
        if self.both_ways:
            total = (total + self._summed(text_BD, all_image_ND, group_B, group_N)) / 2
        return total / len(image_BD)

    def _summed(self, x_BD: Tensor, y_ND: Tensor, group_B: Tensor, group_N: Tensor) -> Tensor:
        """The sum of the losses of the rows, `chunk` rows at a time."""
        if self.chunk is None or len(x_BD) <= self.chunk:
            return self._rows(x_BD, y_ND, group_B, group_N)
        total = x_BD.new_zeros((), dtype=_exact(x_BD.dtype))
        for x_CD, group_C in _chunks(self.chunk, x_BD, group_B):
            total = total + checkpoint(
                self._rows,
                x_CD,
                y_ND,
                group_C,
                group_N,
                use_reentrant=False,
                preserve_rng_state=False,  # nothing here is random
            )
        return total

    def _rows(self, x_CD: Tensor, y_ND: Tensor, group_C: Tensor, group_N: Tensor) -> Tensor:
        logit_CN = _cosines(x_CD, y_ND) * self.logit_scale.exp()
        return self._losses(logit_CN, group_C[:, None] == group_N).sum()

    def _losses(self, logit_CN: Tensor, positive_CN: Tensor) -> Tensor:
        """Losses whose sum is that of the rows."""
        raise NotImplementedError


class InfoNCE(_PairLoss):
    """The symmetric cross-entropy of CLIP (van den Oord et al. 2018; Radford et al. 2021).

    Items of equal `group` are each other's positives: the target of a row is spread evenly over its
    positives (Khosla et al. 2020, "outside" form; Yang et al. 2022). `label_smoothing` moves that
    share of the target to all columns. `hardness` (beta) weights a negative of cosine s by
    exp(beta * scale * s), scaled so that the weights of a row average one (Robinson et al. 2021;
    Radenovic et al. 2023); at 0 all negatives count the same.

    Args:
        scale: the factor on cosines at the start; it is learned as its logarithm, `logit_scale`.
        label_smoothing: between 0 and 1.
        hardness: beta, not negative.
        chunk: rows of logits alive at once; None for all of them.
    """

    both_ways = True

    def __init__(
        self,
        *,
        scale: float = 1 / 0.07,
        label_smoothing: float = 0.0,
        hardness: float = 0.0,
        chunk: int | None = None,
    ) -> None:
        super().__init__(scale, chunk)
        if not 0 <= label_smoothing < 1:
            raise ValueError(f"label_smoothing is a share under 1, not {label_smoothing}")
        if hardness < 0:
            raise ValueError(f"hardness is not negative; 0 weights all alike, not {hardness}")
        self.label_smoothing = label_smoothing
        self.hardness = hardness

    def _losses(self, logit_CN: Tensor, positive_CN: Tensor) -> Tensor:
        share_C = (1 - self.label_smoothing) / positive_CN.sum(1).to(logit_CN.dtype)
        pull_C = torch.where(positive_CN, logit_CN, 0).sum(1) * share_C
        if self.label_smoothing:
            pull_C = pull_C + self.label_smoothing * logit_CN.mean(1)
        return self._normaliser(logit_CN, positive_CN) - pull_C

    def _normaliser(self, logit_CN: Tensor, positive_CN: Tensor) -> Tensor:
        """log(sum of positives + weighted sum of negatives) of each row.

        The weighted sum of the n negatives, with w_j = n exp(beta l_j) / sum_k exp(beta l_k), is
        n sum_j exp((1 + beta) l_j) / sum_k exp(beta l_k): two log-sum-exps.
        """
        if not self.hardness:
            return logit_CN.logsumexp(1)
        nothing = torch.finfo(logit_CN.dtype).min / (2 + 2 * self.hardness)  # a finite -infinity
        negative_CN = logit_CN.masked_fill(positive_CN, nothing)
        weighted_C = (
            ((1 + self.hardness) * negative_CN).logsumexp(1)
            - (self.hardness * negative_CN).logsumexp(1)
            + (~positive_CN).sum(1).to(logit_CN.dtype).log()
        )
        return torch.logaddexp(logit_CN.masked_fill(~positive_CN, nothing).logsumexp(1), weighted_C)


class SigLIP(_PairLoss):
    """The sigmoid loss of Zhai et al. 2023: every pair is one yes-or-no question.

    A pair is counted once, in the row of its picture, so `all_image_ND` adds nothing and is there
    to be called as `InfoNCE` is.

    Args:
        batch: how many items the whole batch has: sets the bias at the start (`sigmoid_bias`).
        scale: the factor on cosines at the start (10 in the paper), learned as its logarithm.
        chunk: rows of logits alive at once; None for all of them.
    """

    both_ways = False

    def __init__(self, batch: int, *, scale: float = 10.0, chunk: int | None = None) -> None:
        super().__init__(scale, chunk)
        self.logit_bias = nn.Parameter(torch.tensor(sigmoid_bias(batch)))

    def _losses(self, logit_CN: Tensor, positive_CN: Tensor) -> Tensor:
        logit_CN = logit_CN + self.logit_bias
        return -F.logsigmoid(torch.where(positive_CN, logit_CN, -logit_CN))


def _exact(dtype: torch.dtype) -> torch.dtype:
    """Sums of thousands of exponentials are taken in float32 at least."""
    return torch.promote_types(dtype, torch.float32)


def _cosines(x_CD: Tensor, y_ND: Tensor) -> Tensor:
    cosine_CN = x_CD @ y_ND.T
    return cosine_CN.to(_exact(cosine_CN.dtype))


def _chunks(size: int, *tensors: Tensor) -> Iterator[Any]:
    return zip(*(tensor.split(size) for tensor in tensors), strict=True)


def _groups(
    image_BD: Tensor,
    text_BD: Tensor,
    all_image_ND: Tensor,
    all_text_ND: Tensor,
    *,
    offset: int,
    group_N: Tensor | None,
) -> tuple[Tensor, Tensor]:
    """The groups of the rows held here and of the whole batch, after a look at the shapes."""
    rows, items = len(image_BD), len(all_image_ND)
    if image_BD.shape != text_BD.shape or all_image_ND.shape != all_text_ND.shape:
        raise ValueError(
            f"pictures {tuple(image_BD.shape)} and texts {tuple(text_BD.shape)} come in pairs of "
            f"one width, and so do the gathered ones: {tuple(all_image_ND.shape)}, "
            f"{tuple(all_text_ND.shape)}"
        )
    if items < 2:
        raise ValueError(
            "a contrastive loss compares an item with the others of its batch, and this batch has "
            "one item: raise the batch size to two or more"
        )
    if not 0 <= offset <= items - rows:
        raise ValueError(f"{rows} rows at offset {offset} do not lie within {items} items")
    if group_N is None:
        group_N = torch.arange(items, device=image_BD.device)
    elif group_N.shape != (items,):
        raise ValueError(f"group_N has shape {tuple(group_N.shape)}; {items} items need ({items},)")
    return group_N[offset : offset + rows], group_N
