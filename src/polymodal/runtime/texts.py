"""Text vectors, kept: the labels and prompts of a run are embedded once."""

from __future__ import annotations

import threading
from collections import OrderedDict
from collections.abc import Sequence

import numpy as np

from polymodal.models.protocols import Embedder
from polymodal.results import Vector

__all__ = ["TextVectors"]


class TextVectors:
    """A bounded, thread-safe memory of the text vectors of one embedder, oldest out first."""

    def __init__(self, embedder: Embedder, *, capacity: int = 4096) -> None:
        self.embedder = embedder
        self._capacity = capacity
        self._kept: OrderedDict[str, Vector] = OrderedDict()
        self._lock = threading.Lock()

    def embed(self, texts: Sequence[str]) -> Vector:
        """Vectors of `texts`, float32, shape (n, dimension)."""
        with self._lock:
            known = {text: self._kept[text] for text in texts if text in self._kept}
        missing = list(dict.fromkeys(text for text in texts if text not in known))
        if missing:
            known.update(zip(missing, self.embedder.embed_texts(missing), strict=True))
        with self._lock:
            for text, vector in known.items():
                self._kept[text] = vector
                self._kept.move_to_end(text)
            while len(self._kept) > self._capacity:
                self._kept.popitem(last=False)
        if not texts:
            return np.zeros((0, self.embedder.space.dimension), np.float32)
        return np.stack([known[text] for text in texts])
