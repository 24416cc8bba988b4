"""A plugin: the models of open_clip, named `openclip:ARCHITECTURE` or `openclip:ARCHITECTURE/TAG`.

Notable: nothing is inherited and nothing of polymodal is imported but the identity of a space; the
model fits the `Embedder` protocol, and that is all it takes.
"""

from __future__ import annotations

import threading
from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from polymodal import ModelRequest, Space, UsageError

__all__ = ["OpenClip", "build"]

DEFAULT = "ViT-B-32"
TAGS = {"ViT-B-32": "laion2b_s34b_b79k", "ViT-L-14": "laion2b_s32b_b82k"}
"""Weights that are used where none are named."""


def build(request: ModelRequest) -> OpenClip:
    """What the entry point calls: `-m openclip:ViT-L-14` or `-m openclip:ViT-B-32/openai`."""
    architecture, _, tag = (request.variant or DEFAULT).partition("/")
    return OpenClip(architecture, tag or TAGS.get(architecture, "openai"))


class OpenClip:
    """One open_clip model on the CPU; its weights are fetched on first use."""

    def __init__(self, architecture: str, tag: str | None) -> None:
        import open_clip

        config: Any = open_clip.get_model_config(architecture)
        if config is None:
            known = ", ".join(open_clip.list_models()[:5])
            raise UsageError(f"open_clip has no model {architecture!r}; it has {known}, ...")
        self.image_size_px = int(config["vision_cfg"]["image_size"])
        self.space = Space(
            model=f"openclip:{architecture}",
            revision=str(tag),
            dimension=int(config["embed_dim"]),
            preprocessing=f"open_clip {self.image_size_px} px",
        )
        self._names = architecture, tag
        self._lock = threading.Lock()
        self._loaded: tuple[Any, Any, Any] | None = None

    def preprocess(self, image: Image.Image) -> NDArray[np.float32]:
        """float32, shape (3, size, size)."""
        pixels: NDArray[np.float32] = self._model()[1](image).numpy()
        return pixels

    def embed_images(self, batch: Sequence[NDArray[np.float32]]) -> NDArray[np.float32]:
        """L2-normalised float32, shape (n, dimension)."""
        import torch

        with torch.inference_mode():
            encoded = self._model()[0].encode_image(torch.from_numpy(np.stack(batch)))
        return _normalised(encoded.numpy())

    def embed_texts(self, texts: Sequence[str]) -> NDArray[np.float32]:
        """L2-normalised float32, shape (n, dimension); long texts are truncated."""
        import torch

        with torch.inference_mode():
            encoded = self._model()[0].encode_text(self._model()[2](list(texts)))
        return _normalised(encoded.numpy())

    def _model(self) -> tuple[Any, Any, Any]:
        with self._lock:
            if self._loaded is None:
                import open_clip

                architecture, tag = self._names
                model, _, transform = open_clip.create_model_and_transforms(
                    architecture, pretrained=tag
                )
                tokenizer = open_clip.get_tokenizer(architecture)
                self._loaded = model.eval(), transform, tokenizer
            return self._loaded


def _normalised(vectors: NDArray[np.float32]) -> NDArray[np.float32]:
    lengths = np.linalg.norm(vectors, axis=1, keepdims=True)
    scaled: NDArray[np.float32] = (vectors / lengths).astype(np.float32)
    return scaled
