"""Recipes of other ways to join a tower and a language model, with where each value is from.

Rates fall as a cosine to zero here; what the originals do otherwise stands in the sources.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass

from polymodal.training.llava_recipes import ALIGN, LlavaRecipe
from polymodal.training.settings import Recipe

__all__ = [
    "BUILDING",
    "QFORMER",
    "Blip2Recipe",
    "FlamingoRecipe",
    "NanoVLMRecipe",
    "QFormerRecipe",
    "blip2_stage1",
    "blip2_stage2",
    "flamingo",
    "nanovlm",
]

NANO_MODEL = "nanoVLM's repository, models/config.py (VLMConfig)"
NANO_TRAIN = "nanoVLM's repository, models/config.py (TrainConfig)"
NANO_LOOP = "nanoVLM's repository, train.py"
ALAYRAC = "Alayrac et al. 2022 (Flamingo)"
OPEN_FLAMINGO = "open_flamingo's repository, open_flamingo"
LI = "Li et al. 2023 (BLIP-2), section 3.4"
LAVIS = "LAVIS's repository, lavis"
OURS = "ours"


@dataclass(frozen=True, kw_only=True)
class NanoVLMRecipe(LlavaRecipe):
    """Adds the side of the square of visual tokens that becomes one (pixel shuffle)."""

    factor: int


@dataclass(frozen=True, kw_only=True)
class FlamingoRecipe(LlavaRecipe):
    """Adds the resampler and the gated layers.

    Attributes:
        latents, depth: tokens that a picture becomes, and blocks of the resampler.
        heads, head_width: of the attention in the resampler and the gated layers.
        every: a gated layer in so many of the language model's.
    """

    latents: int
    depth: int
    heads: int
    head_width: int
    every: int


@dataclass(frozen=True, kw_only=True)
class Blip2Recipe(LlavaRecipe):
    """A Q-Former that was trained before (`blip2_stage1`) learns to speak to a language model."""


@dataclass(frozen=True, kw_only=True)
class QFormerRecipe(Recipe):
    """Adds what the first stage of a Q-Former is told.

    Attributes:
        queries: vectors that a picture becomes.
        every: a layer in so many looks at the picture.
        shared: width of the space where pictures and texts are compared.
        words: of a text at most, in tokens.
        label_smoothing: of the contrast.
        smallest_crop: share of a picture's square that a training crop keeps at least.
    """

    queries: int
    every: int
    shared: int
    words: int
    label_smoothing: float
    smallest_crop: float


def nanovlm() -> NanoVLMRecipe:
    """SigLIP 2, pixel shuffle and SmolLM2, all trained at once, the projector fastest."""
    return NanoVLMRecipe(
        name="nanovlm",
        sources={
            "factor": f"{NANO_MODEL}: mp_pixel_shuffle_factor",
            "rates, steps, clip_norm, tokens": NANO_TRAIN,
            "batch": f"{NANO_TRAIN}: batch_size times gradient_accumulation_steps, of one process",
            "warmup, precision": f"{NANO_LOOP}, get_lr and autocast; its rate ends at a tenth",
            "decay, betas, eps": f"{NANO_LOOP}: the defaults of torch's AdamW",
            "epochs": f"{OURS}: the run ends by its steps",
        },
        rates=(("*multi_modal_projector*", 0.00512), ("*vision_tower*", 5e-5), ("*", 5e-5)),
        batch=16,
        epochs=1000,
        steps=20_100,
        warmup=0.03,
        decay=0.01,
        clip_norm=1.0,
        precision="bfloat16",
        tokens=4096,
        factor=4,
    )


def flamingo() -> FlamingoRecipe:
    """A frozen tower and a frozen language model; resampler and gated layers learn."""
    return FlamingoRecipe(
        name="flamingo",
        sources={
            "latents, depth, heads, head_width": f"{OPEN_FLAMINGO}/src/helpers.py",
            "every": f"{OPEN_FLAMINGO}/scripts/run_train.sh (OpenFlamingo-3B); the paper's 9B: 4",
            "rates, decay": f"{OPEN_FLAMINGO}/train/train.py (learning_rate, weight_decay)",
            "what is frozen": f"{ALAYRAC}, section 2.2; open_flamingo trains word embeddings too",
            "batch": f"{OPEN_FLAMINGO}/scripts/run_train.sh: eight GPUs of 32 pages and 64 pairs",
            "warmup": f"{OPEN_FLAMINGO}/scripts/run_train.sh; its rate then stays",
            "betas, eps": "the defaults of torch's AdamW, as there",
            "clip_norm": f"{OPEN_FLAMINGO}/train/train_utils.py",
            "epochs, tokens, precision, recompute, grouped": OURS,
        },
        rates=(("*.gated.*", 1e-4), ("*multi_modal_projector*", 1e-4), ("*", None)),
        batch=768,
        epochs=1,
        warmup=1875,
        decay=0.1,
        clip_norm=1.0,
        precision="bfloat16",
        recompute=True,
        grouped=False,
        tokens=2048,
        latents=64,
        depth=6,
        heads=8,
        head_width=64,
        every=1,
    )


def blip2_stage2() -> Blip2Recipe:
    """The Q-Former of stage 1 and a linear map learn to speak to a frozen language model."""
    return Blip2Recipe(
        name="blip2_stage2",
        sources={
            "rates, batch, steps, decay, betas, warmup": f"{LI} (OPT); its rate ends at 5e-5",
            "form": f"{LAVIS}/models/blip2_models/blip2_opt.py: queries, the text, a new line",
            "tokens": f"{LAVIS}/models/blip2_models/blip2_opt.py: 32 queries, max_txt_len of 32",
            "precision": f"{LAVIS}/projects/blip2/train/pretrain_stage2.yaml (amp)",
            "eps, clip_norm": f"{LAVIS}/runners/runner_base.py: AdamW's default, nothing clipped",
            "epochs": f"{OURS}: the run ends by its steps",
        },
        rates=(("*multi_modal_projector*", 1e-4), ("*", None)),
        form="plain",
        grouped=False,
        batch=1920,
        epochs=1000,
        steps=80_000,
        warmup=2000,
        decay=0.05,
        betas=(0.9, 0.98),
        clip_norm=0.0,
        precision="float16",
        tokens=64,
    )


def blip2_stage1() -> QFormerRecipe:
    """A Q-Former learns from pairs what a frozen tower sees: contrast, matching, writing."""
    return QFormerRecipe(
        name="blip2_stage1",
        sources={
            "rates, batch, steps, decay, betas, warmup": f"{LI} (ViT-g; ViT-L: batch 2,320)",
            "queries, shared, words": f"{LAVIS}/models/blip2_models/blip2_qformer.py",
            "label_smoothing": f"{LAVIS}/models/blip2_models/blip2_qformer.py",
            "every": f"{LAVIS}/models/blip2_models/blip2.py (cross_attention_freq)",
            "smallest_crop": f"{LAVIS}/processors/blip_processors.py (min_scale); it mirrors too",
            "precision": f"{LAVIS}/projects/blip2/train/pretrain_stage1.yaml (amp)",
            "eps, clip_norm": f"{LAVIS}/runners/runner_base.py: AdamW's default, nothing clipped",
            "epochs": f"{OURS}: the run ends by its steps",
        },
        rates=(("*vision_model*", None), ("*", 1e-4)),
        batch=1680,
        epochs=1000,
        steps=250_000,
        warmup=2000,
        decay=0.05,
        betas=(0.9, 0.98),
        clip_norm=0.0,
        precision="float16",
        queries=32,
        every=2,
        shared=256,
        words=32,
        label_smoothing=0.1,
        smallest_crop=0.5,
    )


BUILDING: Mapping[str, Callable[[], LlavaRecipe]] = {
    **ALIGN,
    "blip2_stage2": blip2_stage2,
    "flamingo": flamingo,
    "nanovlm": nanovlm,
}
QFORMER: Mapping[str, Callable[[], QFormerRecipe]] = {"blip2_stage1": blip2_stage1}
