"""The memory that a model takes, worked out from its configuration before it is loaded.

Notable: four parts that a person can check one by one. Weights: numbers x bytes; what bitsandbytes
quantises are the linear layers, so embeddings keep their own precision. Keys and values: 2 x layers
x width of the keys x tokens. Visual tokens: by how the family cuts a picture. Activations: what the
widest step holds at once. Whisper on CTranslate2 is counted the same way.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from polymodal.catalog.shapes import Shape, shape_of
from polymodal.models.hub_families import BRIDGED

__all__ = ["Estimate", "Load", "estimate", "visual_tokens"]

BYTES = {"float32": 4.0, "bfloat16": 2.0, "float16": 2.0, "int8": 1.0}
QUANTIZED_BYTES = {"8bit": 1.0, "4bit": 0.5 + 4 / 64}
"""NF4 keeps a float32 scale for each 64 numbers (Dettmers et al. 2023)."""
PICTURE_PX = 1024
MOST_TILES = 12
FULL_PIXELS = 12_845_056
"""What Qwen's processors take at most: 16,384 patches of 28 x 28 pixels."""


@dataclass(frozen=True)
class Load:
    """What a model is asked for at once.

    Attributes:
        dtype: of weights and activations.
        quantize: "8bit" or "4bit", or None.
        context_tokens: prompt and answer of one request, pictures included.
        pictures: in one request.
        picture_px: side of a square picture.
        batch: requests at once.
    """

    dtype: str = "float32"
    quantize: str | None = None
    context_tokens: int = 2048
    pictures: int = 1
    picture_px: int = PICTURE_PX
    batch: int = 1


@dataclass(frozen=True)
class Estimate:
    """Bytes by part; `visual_tokens` are those of one picture."""

    parameters: int
    weight_bytes: int
    kv_cache_bytes: int
    activation_bytes: int
    visual_tokens: int

    @property
    def total_bytes(self) -> int:
        """All parts together."""
        return self.weight_bytes + self.kv_cache_bytes + self.activation_bytes

    def to_dict(self) -> dict[str, int]:
        """For JSON."""
        return {
            "parameters": self.parameters,
            "weight_bytes": self.weight_bytes,
            "kv_cache_bytes": self.kv_cache_bytes,
            "activation_bytes": self.activation_bytes,
            "total_bytes": self.total_bytes,
            "visual_tokens": self.visual_tokens,
        }


def estimate(
    config: Mapping[str, Any],
    load: Load | None = None,
    *,
    name: str = "the model",
    parameters: int | None = None,
) -> Estimate:
    """What the model of a configuration takes under `load`.

    Args:
        parameters: of its weight files, where they are there to be counted.

    Raises:
        UsageError: the configuration lacks a number that this needs.
    """
    load = load or Load()
    shape = shape_of(config, name)
    numbers = parameters or shape.parameters
    each = BYTES[load.dtype]
    seen = visual_tokens(config, load.picture_px)
    return Estimate(
        numbers,
        _weights(shape, numbers, each, load.quantize),
        _keys_and_values(shape, each, load),
        _activations(shape, each, seen, load),
        seen,
    )


def _weights(shape: Shape, numbers: int, each: float, quantize: str | None) -> int:
    if quantize is None:
        return round(numbers * each)
    # Embeddings (and what reads the answer off them) are no linear layers of the blocks.
    decoder = shape.decoder
    kept = 0 if decoder is None else decoder.vocabulary * decoder.width
    kept = min(kept, numbers)
    return round(kept * each + (numbers - kept) * QUANTIZED_BYTES[quantize])


def _keys_and_values(shape: Shape, each: float, load: Load) -> int:
    if shape.decoder is None:
        return 0
    decoder = shape.decoder
    tokens = load.context_tokens * load.batch
    bytes_ = 2 * decoder.kv_layers * decoder.kv_width * tokens * each
    if shape.family == "whisper":  # the sound's keys and values stay for the whole answer
        bytes_ += 2 * decoder.layers * decoder.width * shape.towers[0].patches * load.batch * each
    return round(bytes_)


def _activations(shape: Shape, each: float, seen: int, load: Load) -> int:
    """The largest of the steps: a tower over a picture, the decoder over the prompt."""
    steps = [0.0]
    for tower in shape.towers:
        positions = max(tower.patches, seen) * max(1, load.pictures) * load.batch
        steps.append(positions * (4 * tower.width + 2 * tower.feed_forward))
    if shape.decoder is not None:
        decoder = shape.decoder
        tokens = load.context_tokens * load.batch
        widest = tokens * (4 * decoder.width + 3 * decoder.feed_forward)
        steps.append(widest + load.batch * decoder.vocabulary)
    return round(max(steps) * each)


def visual_tokens(config: Mapping[str, Any], picture_px: int = PICTURE_PX) -> int:
    """Tokens that a square picture of that side takes in the prompt; 0 of an embedder."""
    family = str(config.get("model_type", ""))
    vision = config.get("vision_config")
    if not isinstance(vision, Mapping) or family in {"clip", "siglip", "siglip2", "mllama"}:
        return 0
    patch = _first(vision.get("patch_size"), 14)
    side = _first(vision.get("image_size"), 0)
    grid = side // patch if side else 0
    if family.startswith("qwen"):
        return _by_resolution(patch * int(vision.get("spatial_merge_size", 2)), picture_px)
    if family in {"blip-2", "instructblip"}:
        return int(config.get("num_query_tokens", 32))
    if family in {"idefics3", "smolvlm", "internvl"}:
        return _in_squares(family, config, grid, side, picture_px)
    if family in {"llava_next", "llava_onevision"}:
        return _tiled(config, grid, side, picture_px)
    return int(config["image_seq_length"]) if family in BRIDGED else grid * grid


def _by_resolution(unit_px: int, picture_px: int) -> int:
    """Qwen: a token for each square of that many pixels."""
    across = max(1, round(min(picture_px, math.isqrt(FULL_PIXELS)) / unit_px))
    return across * across


def _in_squares(
    family: str, config: Mapping[str, Any], grid: int, side: int, picture_px: int
) -> int:
    """Idefics3 and InternVL: the picture in squares, and once as a whole; some tokens of each."""
    if family == "internvl":
        across = round(grid * float(config.get("downsample_ratio", 0.5)))
        tiles = min(round(picture_px / side) ** 2, MOST_TILES) if side else 1
        return across * across * (tiles + 1 if tiles > 1 else 1)
    across = grid // int(config.get("scale_factor", 2))
    tiles = math.ceil(picture_px / side) ** 2 if picture_px > side else 0
    return across * across * (tiles + 1)


def _tiled(config: Mapping[str, Any], grid: int, side: int, picture_px: int) -> int:
    """LLaVA-NeXT: the picture as a whole, and in the tiles of the closest size it may have."""
    pinpoints = config.get("image_grid_pinpoints") or [[side * 2, side * 2]]
    fits = [each for each in pinpoints if min(each) >= min(picture_px, max(map(min, pinpoints)))]
    height, width = min(fits, key=lambda each: each[0] * each[1])
    rows, columns = grid * height // side, grid * width // side
    square = min(rows, columns)  # the rest is padding, which is cut off again
    return int(grid * grid + square * (square + 1))


def _first(value: Any, default: int) -> int:
    if isinstance(value, list | tuple) and value:
        value = value[0]
    return int(value) if isinstance(value, int | float) else default
