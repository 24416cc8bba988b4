"""Checkpoints of open_clip, by the library itself.

Notable: the weights are a safetensors file that was found before; open_clip downloads nothing. What
its table says of a tag (mean, filter, activation) is handed over with the file.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import TYPE_CHECKING, Any

import numpy as np

from polymodal.errors import DamagedWeights, ModelUnavailable, NotEnoughMemory
from polymodal.models.fitting import in_memory, is_out_of_memory
from polymodal.models.hub_contrastive import (
    IMAGE_BATCH,
    TEXT_BATCH,
    ContrastiveCalibration,
)
from polymodal.models.hub_loading import Source
from polymodal.models.precision import torch_device
from polymodal.models.protocols import Device, Pixels
from polymodal.models.resident import Resident
from polymodal.models.vectors import CutWarning, normalised, require_words
from polymodal.profiling import profiled
from polymodal.results import Space, Vector

if TYPE_CHECKING:
    from PIL import Image

__all__ = ["OpenClipEmbedder", "OpenClipSpec", "open_tokenizer"]

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
        self._weights = Resident(
            "weights",
            self._load,
            prepare=_prepare,
            least_bytes=spec.source.weights.size_bytes,
            device=lambda: torch_device(device),
        )
        self._transform: Callable[[Image.Image], Any] | None = None
        self._cut = CutWarning(spec.space.model)

    @property
    def residents(self) -> Sequence[Resident[Any]]:
        """See `Unloadable.residents`."""
        return (self._weights,)

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
        if self._transform is None:
            with self._weights.use():  # which brings it; it takes no memory worth giving back
                pass
        assert self._transform is not None
        pixels: Pixels = self._transform(image).numpy()
        return pixels

    @profiled("encode")
    def embed_images(self, batch: Sequence[Pixels]) -> Vector:
        """See `Embedder.embed_images`."""

        def run(pixels: Sequence[Pixels]) -> list[Vector]:
            import torch

            with self._weights.use() as (model, _, device), torch.inference_mode():
                vectors = model.encode_image(torch.from_numpy(np.stack(pixels)).to(device))
                return list(vectors.float().cpu().numpy())

        return self._in_batches(run, batch, IMAGE_BATCH, "a picture")

    @profiled("encode")
    def embed_texts(self, texts: Sequence[str]) -> Vector:
        """See `Embedder.embed_texts`.

        Raises:
            UsageError: when a text is empty or only white space; names its position.
        """
        require_words(texts)

        def run(chosen: Sequence[str]) -> list[Vector]:
            import torch

            with self._weights.use() as (model, tokenizer, device), torch.inference_mode():
                self._warn_of_long(tokenizer, chosen)
                vectors = model.encode_text(tokenizer(list(chosen)).to(device))
                return list(vectors.float().cpu().numpy())

        return self._in_batches(run, texts, TEXT_BATCH, "a text")

    def _in_batches(
        self,
        run: Callable[[Sequence[Any]], list[Vector]],
        items: Sequence[Any],
        size: int,
        one: str,
    ) -> Vector:
        if not items:
            return np.zeros((0, self.space.dimension), np.float32)
        found: list[Vector] = []
        for start in range(0, len(items), size):
            found += in_memory(run, items[start : start + size], self._weights, one)
        return normalised(np.stack(found))

    def _warn_of_long(self, tokenizer: Any, texts: Sequence[str]) -> None:
        encode = getattr(tokenizer, "encode", None)
        if encode is None:
            return
        longest = max(len(encode(text)) for text in texts) + 2  # begin and end
        self._cut(longest, self._spec.text_tokens)

    def _load(self) -> tuple[Any, Any, str]:
        device = torch_device(self._device)
        model, self._transform, tokenizer = _load(self._spec, device)
        return model, tokenizer, device


def _prepare() -> None:
    import open_clip  # noqa: F401


def _load(spec: OpenClipSpec, device: str) -> tuple[Any, Any, Any]:
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
        if is_out_of_memory(error):
            raise NotEnoughMemory(f"{spec.source.name} does not fit into memory.") from error
        said = " ".join(str(error).split())[:SHOWN]
        raise DamagedWeights(f"{file} cannot be loaded as {spec.architecture}: {said}") from error
    return model.eval(), transform, open_tokenizer(spec.source.name, spec.architecture)


def open_tokenizer(name: str, architecture: str) -> Any:
    """What open_clip cuts texts with; for some architectures it comes from the hub.

    Raises:
        ModelUnavailable: it is not in the hub's cache, and the hub was not reached.
    """
    import open_clip

    try:
        return open_clip.get_tokenizer(architecture)
    except Exception as error:  # the library's own, the hub's and its HTTP client's
        raise ModelUnavailable(
            f"the tokenizer of {name} is on the hub, which was not reached:"
            f" {' '.join(str(error).split())[:SHOWN]}"
        ) from error
