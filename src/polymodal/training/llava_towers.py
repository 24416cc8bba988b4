"""Vision towers that a LLaVA can be built on: transformers' own, and the starter's."""

from __future__ import annotations

import hashlib
import math
from dataclasses import dataclass
from typing import Any

import numpy as np

from polymodal.errors import DamagedWeights
from polymodal.models.hub_loading import Source, load_processor, transformers
from polymodal.training.llava_parts import beyond_patches, load_tower, pixels_of

__all__ = ["Tower", "starter_tower", "tower_of"]

FEATURE_LAYER = -2
"""Of the tower: LLaVA 1.5's `mm_vision_select_layer`."""


@dataclass(frozen=True)
class Tower:
    """A vision tower with what is known of it.

    Attributes:
        images: its image processor.
        extra: features beside those of patches, such as a class token's.
        layer: whose features are taken.
        licence: what its own card says; None for what lies in a folder with one.
    """

    name: str
    module: Any
    images: Any
    extra: int
    layer: int
    licence: str | None = None


def tower_of(source: Source) -> Tower:
    """The vision tower of a checkpoint.

    Raises:
        DamagedWeights, ModelUnavailable, MissingDependency: see `load_model`.
        UsageError: there is none; it gives no patches, or takes pictures of several sizes.
    """
    module = load_tower(transformers(source.name), source)
    images = load_processor(source, "AutoImageProcessor")
    extra = beyond_patches(source.name, module, pixels_of(source.name, images), FEATURE_LAYER)
    return Tower(source.name, module, images, extra, FEATURE_LAYER)


def starter_tower(
    name: str, content: bytes, *, side_px: int, crop: str, resize: str, licence: str
) -> Tower:
    """The starter's image tower, as it is: it does not train.

    Args:
        content: of its ONNX file.
        side_px, crop, resize: see `StarterSpec`.

    Raises:
        DamagedWeights: the tower is one without a grid.
        MissingDependency: transformers is not installed.
    """
    transformers(name)
    from polymodal.models import starter_vision as own
    from polymodal.models.starter import open_session

    own.register()
    session = open_session(content, own.CPU, 1)
    if "grid" not in {output.name for output in session.get_outputs()}:
        raise DamagedWeights(f"the image tower of {name} gives no grid: install the model again.")
    grid_PNV = own.grid_of(session, np.zeros((1, side_px, side_px, 3), np.uint8))
    config = own.StarterVisionConfig(
        hidden_size=grid_PNV.shape[2],
        image_size=side_px,
        patch_size=side_px // math.isqrt(grid_PNV.shape[1]),
        sha256=hashlib.sha256(content).hexdigest(),
    )
    module = own.StarterVision(config).eval().requires_grad_(False)
    module.hold(content, name)
    size = {"height": side_px, "width": side_px}
    images = own.StarterImageProcessor(size, crop, resize)
    return Tower(name, module, images, extra=0, layer=-1, licence=licence)
