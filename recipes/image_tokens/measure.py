"""What is measured: pictures that were rebuilt, codes in use, bits, and what was drawn.

Legend of shapes: n pictures or sequences, S codes of a picture, C what a code may be.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor

__all__ = ["bits_a_code", "dead_codes", "flat", "perplexity", "psnr_db", "right", "unigram_bits"]


def mean_squared(pixels: Tensor, others: Tensor) -> Tensor:
    """Of each picture (n), of bytes as shares of white."""
    return ((pixels.float() - others.float()) / 255).pow(2).flatten(1).mean(1)


def psnr_db(pixels: Tensor, others: Tensor) -> float:
    """The mean of the pictures' peak signal-to-noise ratios.

    An exact picture counts as one with a tenth of its numbers one off: 58 dB and not infinity.
    """
    error = mean_squared(pixels, others).clamp(min=0.1 / 255**2)
    return float((-10 * error.log10()).mean())


def flat(pixels: Tensor) -> Tensor:
    """Pictures with nothing on them: each channel's median, which is the background here."""
    return pixels.flatten(2).median(2).values[:, :, None, None].expand_as(pixels)


def perplexity(ids: Tensor, codes: int) -> float:
    """The number of codes that, used alike, would be as hard to guess: exp of the entropy."""
    share = torch.bincount(ids.flatten(), minlength=codes).double() / ids.numel()
    return math.exp(float(torch.special.entr(share).sum()))


def dead_codes(ids: Tensor, codes: int) -> int:
    """Codes that no picture uses."""
    return codes - len(ids.unique())


def bits_a_code(log_share_nSC: Tensor, ids_nS: Tensor) -> float:
    """The mean cost of a code under log-probabilities in nats."""
    chosen_nS = log_share_nSC.gather(2, ids_nS[..., None]).squeeze(2)
    return -float(chosen_nS.double().mean()) / math.log(2)


def unigram_bits(train_nS: Tensor, test_nS: Tensor, codes: int, *, by_place: bool) -> float:
    """The cost of a code by how often training has it (add-one), everywhere or at its place."""
    places = train_nS.shape[1]
    slot_nS = train_nS + codes * torch.arange(places)
    count_SC = torch.bincount(slot_nS.flatten(), minlength=places * codes).double()
    count_SC = count_SC.view(places, codes)
    if not by_place:
        count_SC = count_SC.sum(0, keepdim=True).expand_as(count_SC)
    share_SC = (count_SC + 1) / (count_SC + 1).sum(1, keepdim=True)
    return bits_a_code(share_SC.log().expand(len(test_nS), -1, -1), test_nS)


def right(said: tuple[Tensor, Tensor], asked: tuple[Tensor, Tensor]) -> dict[str, float]:
    """Shares of pictures whose colour, shape and both are those asked for."""
    colour, shape = (each == wanted for each, wanted in zip(said, asked, strict=True))
    return {
        "colour": float(colour.float().mean()),
        "shape": float(shape.float().mean()),
        "both": float((colour & shape).float().mean()),
    }
