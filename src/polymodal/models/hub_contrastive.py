"""CLIP, SigLIP and SigLIP 2 checkpoints as embedders, by transformers.

Notable: SigLIP pads every text to the length that it was trained with, and its probabilities are a
sigmoid of scale * cosine + bias, with the checkpoint's own numbers. CLIP has a scale alone, which
makes probabilities over several labels; whether one text fits it was never trained to say. SigLIP
2's "naflex" checkpoints take pictures in their own proportions, as patches with their positions.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Any

import numpy as np

from polymodal.models.fitting import in_memory
from polymodal.models.hub_loading import Source, load_model, load_processor, prepare
from polymodal.models.precision import AS_IT_IS, Precision, torch_device
from polymodal.models.protocols import Device, Pixels
from polymodal.models.resident import Resident
from polymodal.models.vectors import CutWarning, normalised, require_words
from polymodal.profiling import profiled
from polymodal.results import Space, Vector

if TYPE_CHECKING:
    from PIL import Image

__all__ = ["ContrastiveCalibration", "ContrastiveSpec", "HubEmbedder"]

IMAGE_BATCH, TEXT_BATCH = 32, 64
CLIP_FITS = 0.25
"""Cosine at which a text fits a picture as well as not, by rule of thumb: CLIP has no bias."""
CLIP_TEMPLATES = ("a photo of a {}.",)
SIGLIP_TEMPLATES = ("This is a photo of a {}.",)


@dataclass(frozen=True)
class ContrastiveCalibration:
    """See `Calibration`: what the checkpoint was trained with.

    Attributes:
        judges_alone: `match_scale` and `match_bias` were trained, not set by rule of thumb.
    """

    classify_temperature: float
    match_scale: float
    match_bias: float
    relevant_cosine: float
    templates: tuple[str, ...]
    judges_alone: bool

    @classmethod
    def of(cls, log_scale: float, bias: float | None) -> ContrastiveCalibration:
        """From a checkpoint's `logit_scale` (a logarithm) and `logit_bias` (None for CLIP)."""
        scale = math.exp(log_scale)
        if bias is None:
            return cls(1 / scale, scale, -CLIP_FITS * scale, CLIP_FITS, CLIP_TEMPLATES, False)
        return cls(1 / scale, scale, bias, -bias / scale, SIGLIP_TEMPLATES, True)


@dataclass(frozen=True)
class ContrastiveSpec:
    """What is known of a checkpoint before it is loaded.

    Attributes:
        image_size_px: shorter side beyond which a picture is scaled down anyway.
        sigmoid: it was trained with a sigmoid for each pair, on texts of one length.
        dtype: that weights have, or are computed in.
    """

    source: Source
    space: Space
    image_size_px: int
    sigmoid: bool
    dtype: str = "float32"
    precision: Precision = AS_IT_IS


@dataclass
class _Loaded:
    """The model, in memory."""

    model: Any
    device: str
    text_tokens: int


class HubEmbedder:
    """Fits `Embedder` and `Calibrated`; weights are read on first use. Safe between threads."""

    def __init__(self, spec: ContrastiveSpec, *, device: Device = "auto") -> None:
        """Nothing is loaded."""
        self._spec = spec
        self._device = device
        source = spec.source
        self._model = Resident(
            "weights",
            self._load,
            prepare=lambda: prepare(source, "AutoModel"),
            least_bytes=lambda: spec.precision.least_bytes(source.weights.parameters(), spec.dtype),
            device=lambda: torch_device(device),
        )
        self._processor = Resident(
            "processor",
            lambda: load_processor(source),
            prepare=lambda: prepare(source, "AutoProcessor"),
        )
        self._cut = CutWarning(spec.space.model)

    @property
    def residents(self) -> Sequence[Resident[Any]]:
        """See `Unloadable.residents`."""
        return (self._model, self._processor)

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
            with self._model.use() as loaded:
                scale = float(loaded.model.logit_scale)
                bias = float(loaded.model.logit_bias) if self._spec.sigmoid else None
        return ContrastiveCalibration.of(scale, bias)

    @profiled("preprocess")
    def preprocess(self, image: Image.Image) -> Pixels:
        """What the checkpoint's own processor makes of a picture: one record of named arrays."""
        with self._processor.use() as processor:
            inputs = processor(images=image, return_tensors="pt")
        arrays = {name: value[0].numpy() for name, value in inputs.items()}
        kinds = [(name, each.dtype, each.shape) for name, each in arrays.items()]
        packed = np.zeros((), np.dtype(kinds))
        for name, each in arrays.items():
            packed[name] = each
        return packed

    @profiled("encode")
    def embed_images(self, batch: Sequence[Pixels]) -> Vector:
        """See `Embedder.embed_images`."""
        return self._in_batches(
            batch, IMAGE_BATCH, self._image_inputs, "get_image_features", "a picture"
        )

    @profiled("encode")
    def embed_texts(self, texts: Sequence[str]) -> Vector:
        """See `Embedder.embed_texts`.

        Raises:
            UsageError: when a text is empty or only white space; names its position.
        """
        require_words(texts)
        return self._in_batches(texts, TEXT_BATCH, self._text_inputs, "get_text_features", "a text")

    def _in_batches(
        self,
        items: Sequence[Any],
        size: int,
        inputs: Callable[[Sequence[Any]], Mapping[str, Any]],
        method: str,
        what: str,
    ) -> Vector:
        if not items:
            return np.zeros((0, self.space.dimension), np.float32)

        def run(batch: Sequence[Any]) -> list[Vector]:
            with self._model.use() as loaded:
                return list(_features(loaded, inputs(batch), method))

        found: list[Vector] = []
        for start in range(0, len(items), size):
            found += in_memory(run, items[start : start + size], self._model, what)
        return normalised(np.stack(found))

    def _image_inputs(self, batch: Sequence[Pixels]) -> Mapping[str, Any]:
        import torch

        names = batch[0].dtype.names or ()
        records: Any = batch
        return {
            name: torch.from_numpy(np.stack([each[name] for each in records])) for name in names
        }

    def _text_inputs(self, texts: Sequence[str]) -> Mapping[str, Any]:
        with self._model.use() as loaded, self._processor.use() as processor:
            most = loaded.text_tokens
            whole = processor.tokenizer(list(texts), truncation=False, verbose=False)["input_ids"]
            self._cut(max(len(ids) for ids in whole), most)
            padding = "max_length" if self._spec.sigmoid else True
            inputs: Mapping[str, Any] = processor(
                text=list(texts),
                padding=padding,
                truncation=True,
                max_length=most,
                return_tensors="pt",
            )
        return inputs

    def _load(self) -> _Loaded:
        spec, device = self._spec, torch_device(self._device)
        model = load_model(spec.source, "AutoModel", device, spec.dtype, spec.precision)
        return _Loaded(model, device, int(model.config.text_config.max_position_embeddings))


def _features(loaded: _Loaded, inputs: Mapping[str, Any], method: str) -> Vector:
    """Not normalised: float32, shape (n, dimension)."""
    import torch

    on_device = {}
    for name, value in inputs.items():
        kind = loaded.model.dtype if value.is_floating_point() else value.dtype
        on_device[name] = value.to(loaded.device, kind)
    with torch.inference_mode():
        features = getattr(loaded.model, method)(**on_device)
    vectors: Vector = getattr(features, "pooler_output", features).float().cpu().numpy()
    return vectors
