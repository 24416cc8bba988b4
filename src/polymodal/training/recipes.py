"""Recipes of contrastive training: what to run, with where each value is from.

A recipe is a function that gives a dataclass; `--set key=value` replaces values. Rates are for the
batch they were published with: with a smaller batch set smaller ones.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Literal

from polymodal.training.settings import Recipe, recipe_of

__all__ = [
    "CONTRASTIVE",
    "ClipRecipe",
    "ContrastiveRecipe",
    "StarterRecipe",
    "clip_finetune",
    "clip_from_scratch",
    "recipe_called",
    "siglip_lit",
    "starter_finetune",
]

RADFORD = "Radford et al. 2021, tables 18 and 20 (ViT-B/32)"
OPEN_CLIP = "open_clip's README, Fine-tuning CoCa"
WISE_FT = "WiSE-FT's repository (Wortsman et al. 2022)"
SIGLIP_LIT = "big_vision, configs/proj/image_text/siglip_lit_coco.py"
OURS = "ours"


@dataclass(frozen=True, kw_only=True)
class ContrastiveRecipe(Recipe):
    """Adds what contrastive training alone is told.

    Attributes:
        loss: InfoNCE of CLIP, or the sigmoid loss of SigLIP.
        chunks: parts of a rank's batch that are in memory one at a time; gradients are the same.
        smallest_crop: share of a picture's square that a training crop keeps at least.
        scale: the factor on cosines at the start; 0 takes the checkpoint's.
    """

    loss: Literal["infonce", "sigmoid"] = "infonce"
    label_smoothing: float = 0.0
    chunks: int = 1
    smallest_crop: float = 1.0
    scale: float = 0.0


@dataclass(frozen=True, kw_only=True)
class ClipRecipe(ContrastiveRecipe):
    """Adds the shape of a model that starts from nothing; towers are width, layers, heads."""

    image_size: int
    patch: int
    vision: tuple[int, int, int]
    text: tuple[int, int, int]
    width: int
    text_tokens: int
    vocabulary: int


@dataclass(frozen=True, kw_only=True)
class StarterRecipe(ContrastiveRecipe):
    """Adds the head on the starter's image tower.

    Attributes:
        hidden: its inner width.
        dropout: before its last layer.
        keep: the weight of the squared distance that pictures of `--keep` may move.
    """

    hidden: int
    dropout: float
    keep: float


def clip_from_scratch() -> ClipRecipe:
    """CLIP ViT-B/32 with random weights, as OpenAI trained it."""
    return ClipRecipe(
        name="clip_from_scratch",
        sources={
            "batch, epochs, rates, decay, betas, eps, warmup, vocabulary, scale": RADFORD,
            "vision, text, width, image_size, patch, text_tokens": RADFORD,
            "smallest_crop": "open_clip, image_transform (0.9 to 1.0)",
            "clip_norm": OURS,
        },
        rates=(("encoder.*", 5e-4), ("loss.*", 5e-4)),
        batch=32_768,
        epochs=32,
        warmup=2000,
        decay=0.2,
        betas=(0.9, 0.98),
        eps=1e-6,
        smallest_crop=0.9,
        scale=1 / 0.07,
        image_size=224,
        patch=32,
        vision=(768, 12, 12),
        text=(512, 12, 8),
        width=512,
        text_tokens=77,
        vocabulary=49_408,
    )


def clip_finetune() -> ContrastiveRecipe:
    """A CLIP checkpoint on own data, both towers, the image tower ten times slower."""
    return ContrastiveRecipe(
        name="clip_finetune",
        sources={
            "rates, decay": f"{OPEN_CLIP} (1e-5, 0.1); a tenth for the image tower: {OURS}",
            "batch, epochs": f"{WISE_FT}, README, where its rate is 3e-5",
            "clip_norm": f"{WISE_FT}, src/models/finetune.py",
            "warmup": f"{OURS}; open_clip's is 1,000",
            "smallest_crop": "open_clip, image_transform (0.9 to 1.0)",
        },
        rates=(("encoder.model.vis*", 1e-6), ("encoder.*", 1e-5), ("loss.*", 1e-5)),
        batch=512,
        epochs=10,
        warmup=500,
        decay=0.1,
        clip_norm=1.0,
        smallest_crop=0.9,
    )


def siglip_lit() -> ContrastiveRecipe:
    """Locked image tower, sigmoid loss: only the text tower learns (Zhai et al. 2022, 2023)."""
    return ContrastiveRecipe(
        name="siglip_lit",
        sources={
            "rates, batch, steps, decay, warmup, clip_norm, loss, scale": SIGLIP_LIT,
            "betas, eps": "Adam's defaults, as there",
            "pictures": f"{OURS}: the middle square; there mirrored and changed (randaug)",
            "the bias at the start": "set for the batch: polymodal.nn.losses.sigmoid_bias",
        },
        rates=(("encoder.model.vis*", None), ("encoder.*", 1e-3), ("loss.*", 1e-3)),
        batch=512,
        epochs=1000,
        steps=5000,
        warmup=150,
        decay=0.01,
        clip_norm=1.0,
        loss="sigmoid",
        scale=10.0,
    )


def starter_finetune() -> StarterRecipe:
    """The starter embedder on own data: a head on its frozen towers, minutes on a CPU."""
    return StarterRecipe(
        name="starter_finetune",
        sources={
            "rates, batch, steps, warmup, decay, hidden, dropout, keep": f"{OURS}: docs/training.md"
        },
        rates=(("encoder.*", 1e-3), ("loss.*", None)),
        batch=256,
        epochs=60,
        warmup=0.1,
        decay=0.3,
        label_smoothing=0.05,
        scale=17.5,
        hidden=256,
        dropout=0.5,
        keep=5.0,
    )


CONTRASTIVE: Mapping[str, Callable[[], ContrastiveRecipe]] = {
    "clip_from_scratch": clip_from_scratch,
    "clip_finetune": clip_finetune,
    "siglip_lit": siglip_lit,
    "starter_finetune": starter_finetune,
}


def recipe_called(name: str) -> ContrastiveRecipe:
    """The recipe of that name.

    Raises:
        UsageError: there is none; names the nearest.
    """
    return recipe_of(CONTRASTIVE, name)
