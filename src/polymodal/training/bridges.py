"""Models of other recipes than LLaVA's, put together from a tower and a language model.

Notable: each is a `Form`: what stands between the parts, and how many tokens a picture takes.
Everything else (parts, checks, chat, data, loss, saving) is LLaVA's.
"""

from __future__ import annotations

import math
from typing import Any

from polymodal.errors import UsageError
from polymodal.models.hub_bridged import (
    Bridged,
    BridgedConfig,
    Gated,
    GatedConfig,
    gated_of,
    projector_of,
)
from polymodal.models.hub_families import STAGE_ONE
from polymodal.models.hub_loading import Source, load_model
from polymodal.training.bridge_recipes import Blip2Recipe, FlamingoRecipe, NanoVLMRecipe
from polymodal.training.llava_model import Llava, assemble
from polymodal.training.llava_parts import LLAVA, Form, config_of
from polymodal.training.llava_recipes import LlavaRecipe
from polymodal.training.llava_towers import Tower

__all__ = ["build"]


def build(recipe: LlavaRecipe, vision: Source | Tower, language: Source) -> Llava:
    """The recipe's model of two checkpoints; what joins them has random weights.

    Args:
        vision: a vision tower, in a folder or loaded; for `blip2_stage2` a folder of `polymodal
            train qformer`.
        language: a causal language model.

    Raises:
        DamagedWeights, ModelUnavailable, MissingDependency: see `load_model`.
        UsageError: recipe and parts do not fit each other.
    """
    first = isinstance(vision, Source) and config_of(vision).get("model_type") == STAGE_ONE
    if first != isinstance(recipe, Blip2Recipe):
        raise UsageError(
            f"{vision.name} is a tower with a Q-Former: go on with --recipe blip2_stage2."
            if first
            else f"{recipe.name} goes on from a Q-Former: name the folder of `polymodal train"
            f" qformer` with --vision; {vision.name} has none."
        )
    form = LLAVA
    if isinstance(recipe, NanoVLMRecipe):
        form = _shuffled(recipe.factor)
    elif isinstance(recipe, FlamingoRecipe):
        form = _gated(recipe)
    elif isinstance(recipe, Blip2Recipe) and isinstance(vision, Source):
        form = _queried(vision)
    try:
        return assemble(vision, language, seed=recipe.seed, form=form)
    except ValueError as error:  # of the blocks
        raise UsageError(
            f"{recipe.name} with {vision.name} and {language.name}: {error}."
        ) from error


def _shuffled(factor: int) -> Form:
    def tokens(patches: int) -> int:
        side = math.isqrt(patches)
        if side * side != patches or factor < 1 or side % factor:
            fits = [f for f in range(2, side + 1) if side % f == 0]
            raise UsageError(
                f"{patches} patches are not divided by squares of {factor} x {factor}: set `factor`"
                f" to one of {', '.join(map(str, fits)) or '1'}."
            )
        return patches // factor**2

    return Form(
        BridgedConfig,
        Bridged,
        _join,
        # SigLIP's tokens behind its last norm, as nanoVLM takes them.
        {"bridge": {"kind": "shuffle", "factor": factor}},
        tokens,
        layer=-1,
    )


def _gated(recipe: FlamingoRecipe) -> Form:
    names = ("latents", "depth", "heads", "head_width", "every")
    bridge = {"kind": "resampler"} | {name: getattr(recipe, name) for name in names}
    return Form(GatedConfig, Gated, _join, {"bridge": bridge}, lambda patches: 1, layer=-1)


def _queried(vision: Source) -> Form:
    first = load_model(vision, "AutoModel", "cpu", "float32")
    numbers = dict(first.config.qformer)

    def join(config: Any, inner: Any) -> None:
        _join(config, inner)
        projector = inner.multi_modal_projector
        projector.norm.load_state_dict(first.norm.state_dict())
        known = projector.qformer.state_dict().keys()  # a Q-Former that reads no words has fewer
        state = first.pretraining.qformer.state_dict()
        projector.qformer.load_state_dict({name: state[name] for name in known})

    return Form(
        BridgedConfig,
        Bridged,
        join,
        {"bridge": {"kind": "qformer", **numbers}},
        lambda patches: int(numbers["queries"]),
        layer=first.config.layer,
        class_token=True,
    )


def _join(config: Any, inner: Any) -> None:
    inner.multi_modal_projector = projector_of(config)
    parts = [inner.multi_modal_projector]
    if isinstance(config, GatedConfig):
        inner.gated = gated_of(config, inner.language_model)
        parts.append(inner.gated)
    for part in parts:
        part.to(config.dtype)
    config.bridge_parameters = sum(p.numel() for part in parts for p in part.parameters())
