"""Recipes of bridged training, after LLaVA 1.5 and NeXT: what to run, and where values are from.

A recipe is a function that gives a dataclass; `--set key=value` replaces values. LLaVA's batches
are for eight GPUs of 80 GB: `chunks` cuts a batch for less memory and leaves its gradient as it is.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Literal

from polymodal.training.settings import Recipe

__all__ = [
    "ALIGN",
    "INSTRUCT",
    "LlavaRecipe",
    "llava15_lora",
    "llava15_stage1",
    "llava15_stage2",
    "llava_next_stage2",
]

SCRIPTS = "LLaVA's repository, scripts/v1_5"
HF = "the defaults of transformers' Trainer, which LLaVA trains with"


def _common(script: str) -> dict[str, str]:
    """What is the same in all of LLaVA 1.5's scripts."""
    return {
        "epochs, decay, warmup, precision, tokens, recompute": script,
        "batch": f"{script}: 16 a GPU, by accumulation and the GPUs that it names",
        "betas, eps, clip_norm": HF,
    }


@dataclass(frozen=True, kw_only=True)
class LlavaRecipe(Recipe):
    """Adds what bridged training alone is told.

    Attributes:
        form: "plain" trains on a picture followed by its text; "chat" on the chat template.
        tokens: of a conversation at most, its pictures' included.
        grouped: batches of one kind and about one length.
        chunks: parts of a rank's batch that are in memory one at a time; gradients are the same.
        grids: rows and columns of tiles that a large picture may be seen as (AnyRes); without any
            the model sees pictures as it did before.
        rank, alpha, dropout: of LoRA on every linear layer of the language model; rank 0 is none.
    """

    form: Literal["plain", "chat"] = "chat"
    tokens: int = 2048
    grouped: bool = True
    chunks: int = 1
    grids: tuple[tuple[int, int], ...] = ()
    rank: int = 0
    alpha: int = 0
    dropout: float = 0.0


def llava15_stage1() -> LlavaRecipe:
    """The projector alone learns what a picture's caption is."""
    return LlavaRecipe(
        name="llava15_stage1",
        sources={
            "rates": f"{SCRIPTS}/pretrain.sh (--learning_rate 1e-3, --tune_mm_mlp_adapter)",
            "form": f"{SCRIPTS}/pretrain.sh (--version plain)",
        }
        | _common(f"{SCRIPTS}/pretrain.sh"),
        rates=(("*multi_modal_projector*", 1e-3), ("*", None)),
        form="plain",
        grouped=False,
        batch=256,
        epochs=1,
        warmup=0.03,
        precision="bfloat16",
        recompute=True,
    )


def llava15_stage2() -> LlavaRecipe:
    """Language model and projector learn to answer; the vision tower stays frozen."""
    return LlavaRecipe(
        name="llava15_stage2",
        sources={
            "rates": f"{SCRIPTS}/finetune.sh (--learning_rate 2e-5)",
            "grouped": f"{SCRIPTS}/finetune.sh (--group_by_modality_length True)",
        }
        | _common(f"{SCRIPTS}/finetune.sh"),
        rates=(("*vision_tower*", None), ("*", 2e-5)),
        batch=128,
        epochs=1,
        warmup=0.03,
        precision="bfloat16",
        recompute=True,
    )


def llava15_lora() -> LlavaRecipe:
    """Stage 2 with adapters on the language model's linear layers instead of all its weights."""
    lora = f"{SCRIPTS}/finetune_lora.sh"
    return LlavaRecipe(
        name="llava15_lora",
        sources={
            "rates": f"{lora} (--learning_rate 2e-4 --mm_projector_lr 2e-5)",
            "rank, alpha": f"{lora} (--lora_r 128 --lora_alpha 256)",
            "dropout": "LLaVA's repository, llava/train/train.py (lora_dropout)",
            "grouped": lora,
        }
        | _common(lora),
        rates=(("*lora_*", 2e-4), ("*multi_modal_projector*", 2e-5), ("*", None)),
        batch=128,
        epochs=1,
        warmup=0.03,
        precision="bfloat16",
        recompute=True,
        rank=128,
        alpha=256,
        dropout=0.05,
    )


def llava_next_stage2() -> LlavaRecipe:
    """Stage 2 on tiles of pictures, after stage 1 of LLaVA 1.5; the vision tower trains too."""
    script = "LLaVA-NeXT's repository, scripts/train/finetune_clip.sh"
    return LlavaRecipe(
        name="llava_next_stage2",
        sources={
            "grids": f"{script} (--image_grid_pinpoints, in tiles of 336 px)",
            "rates": f"{script} (--mm_vision_tower_lr 2e-6 --learning_rate 1e-5)",
            "epochs, decay, warmup, precision, tokens, recompute, grouped": script,
            "batch": "as in LLaVA 1.5; the script gives 4 a device, and not how many devices",
            "betas, eps, clip_norm": HF,
        },
        rates=(("*vision_tower*", 2e-6), ("*", 1e-5)),
        grids=((1, 2), (2, 1), (2, 2), (3, 1), (1, 3)),
        batch=128,
        epochs=1,
        warmup=0.03,
        precision="bfloat16",
        recompute=True,
        tokens=32768,
    )


ALIGN: Mapping[str, Callable[[], LlavaRecipe]] = {"llava15_stage1": llava15_stage1}
INSTRUCT: Mapping[str, Callable[[], LlavaRecipe]] = {
    "llava15_stage2": llava15_stage2,
    "llava15_lora": llava15_lora,
    "llava_next_stage2": llava_next_stage2,
}
