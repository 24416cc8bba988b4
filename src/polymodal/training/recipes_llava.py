"""Recipes of LLaVA 1.5 (Liu et al. 2023, "Improved Baselines with Visual Instruction Tuning")."""

from __future__ import annotations

import difflib
from collections.abc import Callable, Mapping
from dataclasses import dataclass

from polymodal.errors import UsageError, did_you_mean
from polymodal.training.settings import Recipe

__all__ = [
    "LLAVA",
    "LlavaRecipe",
    "llava15_lora",
    "llava15_stage1",
    "llava15_stage2",
    "llava_recipe_called",
]

PAPER = "Liu et al. 2023, table 9"
SCRIPTS = "LLaVA, scripts/v1_5/"


@dataclass(frozen=True, kw_only=True)
class LlavaRecipe(Recipe):
    """Adds what instruction training alone is told.

    Attributes:
        chunks: parts of a rank's batch, one at a time in memory; the loss is of the whole batch.
        most_tokens: of a conversation, its pictures' included; what is over is cut off.
        lora_rank: of the adapters; 0 trains the weights themselves.
    """

    chunks: int = 1
    most_tokens: int = 2048
    lora_rank: int = 0
    lora_alpha: int = 0
    lora_dropout: float = 0.0


def llava15_stage1() -> LlavaRecipe:
    """Alignment: the projector alone, on captions as answers."""
    return LlavaRecipe(
        name="llava15_stage1",
        sources={
            "rates, batch, epochs, warmup, decay": PAPER,
            "most_tokens, clip_norm": f"{SCRIPTS}pretrain.sh",
        },
        rates=(("model.multi_modal_projector.*", 1e-3), ("*", None)),
        batch=256,
        epochs=1,
        warmup=0.03,
    )


def llava15_stage2() -> LlavaRecipe:
    """Instruction tuning: language model and projector; the vision tower stays."""
    return LlavaRecipe(
        name="llava15_stage2",
        sources={
            "rates, batch, epochs, warmup, decay": PAPER,
            "most_tokens, clip_norm": f"{SCRIPTS}finetune.sh",
        },
        rates=(("model.vision_tower.*", None), ("*", 2e-5)),
        batch=128,
        epochs=1,
        warmup=0.03,
    )


def llava15_lora() -> LlavaRecipe:
    """Instruction tuning by LoRA on the language model; the projector is trained whole."""
    return LlavaRecipe(
        name="llava15_lora",
        sources={
            "rates, lora_rank, lora_alpha, lora_dropout": f"{SCRIPTS}finetune_lora.sh",
            "batch, epochs, warmup, decay, most_tokens": f"{SCRIPTS}finetune_lora.sh",
        },
        rates=(("*.lora_*", 2e-4), ("*.multi_modal_projector.*", 2e-5), ("*", None)),
        batch=128,
        epochs=1,
        warmup=0.03,
        lora_rank=128,
        lora_alpha=256,
        lora_dropout=0.05,
    )


LLAVA: Mapping[str, Callable[[], LlavaRecipe]] = {
    "llava15_stage1": llava15_stage1,
    "llava15_stage2": llava15_stage2,
    "llava15_lora": llava15_lora,
}


def llava_recipe_called(name: str) -> LlavaRecipe:
    """The recipe of that name.

    Raises:
        UsageError: there is none; names the nearest.
    """
    if name not in LLAVA:
        hint = did_you_mean(difflib.get_close_matches(name, LLAVA, n=2))
        known = f" Known: {', '.join(LLAVA)}."
        raise UsageError(f"no recipe is called {name!r}.{hint or known}")
    return LLAVA[name]()
