"""Checkpoints of open_clip, by the library itself.

Notable: the weights are a safetensors file that was found before; open_clip downloads nothing. What
its table says of a tag (mean, filter, activation) is handed over with the file.
"""

from __future__ import annotations

import threading
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import TYPE_CHECKING, Any

import numpy as np

from polymodal.errors import DamagedWeights, ModelUnavailable
from polymodal.models.hub_contrastive import (
    IMAGE_BATCH,
    TEXT_BATCH,
    ContrastiveCalibration,
)
from polymodal.models.hub_loading import Source, device_name
from polymodal.models.protocols import Device, Pixels
from polymodal.models.vectors import CutWarning, normalised, require_words
from polymodal.profiling import profiled
from polymodal.results import Space, Vector

if TYPE_CHECKING:
    from PIL import Image

__all__ = ["OpenClipEmbedder", "OpenClipSpec"]

SHOWN = 300


@dataclass(frozen=True)
class OpenClipSpec:
    """What is known before the weights are loaded.

    Attributes:
        architecture: in open_clip's words.
        text_tokens: the length that every text is padded or cut to.
        settings: of the weights: `image_mean`, `image_std`, `image_interpolation`,
            `image_resize_mode`, `force_quick_gelu`; what is missing has open_clip's default.
    """

    source: Source
    architecture: str
    space: Space
    image_size_px: int
    text_tokens: int
    settings: Mapping[str, Any] = field(default_factory=dict)


class OpenClipEmbedder:
    """Fits `Embedder` and `Calibrated`; weights are read on first use. Safe between threads."""

    def __init__(self, spec: OpenClipSpec, *, device: Device = "auto") -> None:
        """Nothing is loaded."""
        self._spec = spec
        self._device = device
        self._lock = threading.Lock()
        self._loaded: tuple[Any, Any, Any, str] | None = None
        self._cut = CutWarning(spec.space.model)

    @property
    def space(self) -> Space:
        """See `Embedder.space`."""
        return self._spec.space

    @property
    def image_size_px(self) -> int:
        """See `Embedder.image_size_px`."""
        return self._spec.image_size_px

    @cached_property
    def calibration(self) -> ContrastiveCalibration:
        """See `Calibrated.calibration`; two numbers of the weights."""
        weights = self._spec.source.weights
        scale, bias = weights.number("logit_scale"), weights.number("logit_bias")
        if scale is None:
            raise DamagedWeights(f"{weights.files[0]} has no logit_scale: it is no CLIP model.")
        return ContrastiveCalibration.of(scale, bias)

    @profiled("preprocess")
    def preprocess(self, image: Image.Image) -> Pixels:
        """float32, shape (3, side, side)."""
        pixels: Pixels = self._ready()[1](image).numpy()
        return pixels

    @profiled("encode")
    def embed_images(self, batch: Sequence[Pixels]) -> Vector:
        """See `Embedder.embed_images`."""
        import torch

        found = [np.zeros((0, self.space.dimension), np.float32)]
        for start in range(0, len(batch), IMAGE_BATCH):
            model, _, _, device = self._ready()
            pixels = torch.from_numpy(np.stack(batch[start : start + IMAGE_BATCH])).to(device)
            with torch.inference_mode():
                found.append(model.encode_image(pixels).float().cpu().numpy())
        return normalised(np.concatenate(found))

    @profiled("encode")
    def embed_texts(self, texts: Sequence[str]) -> Vector:
        """See `Embedder.embed_texts`.

        Raises:
            UsageError: when a text is empty or only white space; names its position.
        """
        import torch

        require_words(texts)
        found = [np.zeros((0, self.space.dimension), np.float32)]
        for start in range(0, len(texts), TEXT_BATCH):
            model, _, tokenizer, device = self._ready()
            chosen = list(texts[start : start + TEXT_BATCH])
            self._warn_of_long(tokenizer, chosen)
            with torch.inference_mode():
                encoded = model.encode_text(tokenizer(chosen).to(device))
            found.append(encoded.float().cpu().numpy())
        return normalised(np.concatenate(found))

    def _warn_of_long(self, tokenizer: Any, texts: Sequence[str]) -> None:
        encode = getattr(tokenizer, "encode", None)
        if encode is None:
            return
        longest = max(len(encode(text)) for text in texts) + 2  # begin and end
        self._cut(longest, self._spec.text_tokens)

    def _ready(self) -> tuple[Any, Any, Any, str]:
        with self._lock:
            if self._loaded is None:
                self._loaded = _load(self._spec, device_name(self._device))
            return self._loaded


def _load(spec: OpenClipSpec, device: str) -> tuple[Any, Any, Any, str]:
    import open_clip

    file = spec.source.weights.files[0]
    try:
        model, _, transform = open_clip.create_model_and_transforms(
            spec.architecture,
            pretrained=str(file),
            device=device,
            weights_only=True,
            **spec.settings,
        )
    except Exception as error:  # the library's own, torch's and the format's
        said = " ".join(str(error).split())[:SHOWN]
        raise DamagedWeights(f"{file} cannot be loaded as {spec.architecture}: {said}") from error
    try:
        tokenizer = open_clip.get_tokenizer(spec.architecture)
    except Exception as error:
        raise ModelUnavailable(
            f"the tokenizer of {spec.source.name} is on the hub, which was not reached:"
            f" {' '.join(str(error).split())[:SHOWN]}"
        ) from error
    return model.eval(), transform, tokenizer, device
