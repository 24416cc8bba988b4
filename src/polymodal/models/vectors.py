"""What adapters that embed share: texts that say something, what was cut, rows of length 1."""

from __future__ import annotations

import threading
import warnings
from collections.abc import Sequence

import numpy as np

from polymodal.errors import UsageError
from polymodal.results import Vector

__all__ = ["CutWarning", "normalised", "require_words"]


def require_words(texts: Sequence[str]) -> None:
    """Refuse texts that say nothing.

    Raises:
        UsageError: when a text is empty or only white space; names its position.
    """
    for position, text in enumerate(texts):
        if not text.strip():
            raise UsageError(f"text {position} is empty; a text needs at least one word.")


def normalised(vectors: Vector) -> Vector:
    """Rows of length 1, float32."""
    lengths = np.linalg.norm(vectors, axis=1, keepdims=True)
    scaled: Vector = (vectors / np.maximum(lengths, 1e-12)).astype(np.float32)
    return scaled


class CutWarning:
    """Warns, once, that a text is longer than a model reads. Safe between threads."""

    def __init__(self, model: str) -> None:
        self._model = model
        self._lock = threading.Lock()
        self._said = False

    def __call__(self, tokens: int, most: int) -> None:
        """Called from a helper of `embed_texts` with a text's length, and the most that is read."""
        with self._lock:
            if tokens <= most or self._said:
                return
            self._said = True
        warnings.warn(
            f"a text of {tokens} tokens was cut to the {most} that {self._model} reads;"
            " what follows is ignored (said once).",
            stacklevel=5,
        )
