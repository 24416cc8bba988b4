"""The memory that a model takes, worked out from its configuration before it is loaded.

Notable: four parts that a person can check one by one. Weights: numbers x bytes; what bitsandbytes
quantises are the linear layers, so embeddings keep their own precision. Keys and values: 2 x layers
x width of the keys x tokens. Visual tokens: by how the family cuts a picture. Activations: what the
widest step holds at once. Whisper on CTranslate2 is counted the same way.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from polymodal.catalog.shapes import Shape, shape_of
from polymodal.catalog.visual import Seen, visual_tokens

__all__ = ["Estimate", "Load", "estimate"]

BYTES = {"float32": 4.0, "bfloat16": 2.0, "float16": 2.0, "int8": 1.0}
QUANTIZED_BYTES = {"8bit": 1.0, "4bit": 0.5 + 4 / 64}
"""NF4 keeps a float32 scale for each 64 numbers (Dettmers et al. 2023)."""
TURNED = 6
"""Arrays of a tower's width in float32 while queries and keys are turned by their place."""
PICTURE_PX = 1024


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
    processing: Mapping[str, Any] | None = None,
) -> Estimate:
    """What the model of a configuration takes under `load`.

    Args:
        parameters: of its weight files, where they are there to be counted.
        processing: how its pictures are prepared, where its processor's file is there.

    Raises:
        UsageError: the configuration lacks a number that this needs.
    """
    load = load or Load()
    shape = shape_of(config, name)
    numbers = parameters or shape.parameters
    each = BYTES[load.dtype]
    seen = visual_tokens(config, (load.picture_px, load.picture_px), processing)
    return Estimate(
        numbers,
        _weights(shape, numbers, each, load.quantize),
        _keys_and_values(shape, each, load),
        _activations(shape, each, seen, load),
        seen.tokens,
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


def _activations(shape: Shape, each: float, seen: Seen, load: Load) -> int:
    """The largest of the steps: a tower over a picture, the decoder over the prompt."""
    steps = [0.0]
    for tower in shape.towers:
        positions = max(tower.patches, seen.patches) * max(1, load.pictures) * load.batch
        steps.append(each * positions * (4 * tower.width + tower.held * tower.feed_forward))
        if tower.turned:
            steps.append(positions * tower.width * (5 * each + TURNED * BYTES["float32"]))
    if shape.decoder is not None:
        decoder = shape.decoder
        tokens = load.context_tokens * load.batch
        widest = tokens * (4 * decoder.width + 3 * decoder.feed_forward)
        steps.append(each * (widest + load.batch * decoder.vocabulary))
    return round(max(steps))
