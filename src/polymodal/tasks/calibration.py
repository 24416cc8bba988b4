"""What turns cosines into probabilities, and what to say when a model has nothing for it."""

from __future__ import annotations

import warnings
from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from polymodal.models.protocols import Calibrated, Calibration, Embedder
from polymodal.results import Provenance, Vector

__all__ = ["Doubles", "calibration_of", "elsewhere", "fits", "provenance_of", "sigmoid", "softmax"]

Doubles = NDArray[np.float64]


@dataclass(frozen=True)
class Raw:
    """Stands in where a model has no calibration: the scale that CLIP-like models train with."""

    classify_temperature: float = 0.01
    match_scale: float = 100.0
    match_bias: float = -25.0
    relevant_cosine: float = 0.25
    templates: tuple[str, ...] = ("a photo of a {}.",)


def calibration_of(embedder: Embedder) -> Calibration:
    """The embedder's own calibration; without one, a warning and the usual scale."""
    if isinstance(embedder, Calibrated):
        return embedder.calibration
    warnings.warn(
        f"{embedder.space.model} has no calibration: its scores rank, but are not probabilities.",
        stacklevel=3,
    )
    return Raw()


def fits(
    calibration: Calibration, cosines: Doubles, purpose: Literal["match", "multi_label", "unknown"]
) -> Doubles:
    """Probability that each text fits its picture, from their cosine.

    Args:
        purpose: a description is judged by "match", a label on its own by "multi_label", the best
            of several labels by "unknown", its cosine less `elsewhere`; a calibration without the
            latter two uses the first.
    """
    if not getattr(calibration, "judges_alone", True):
        warnings.warn(
            "this model was trained to compare texts, not to judge one alone: whether a text or"
            " label fits by itself follows a rule of thumb, and is no probability.",
            stacklevel=3,
        )
    scale = getattr(calibration, f"{purpose}_scale", calibration.match_scale)
    bias = getattr(calibration, f"{purpose}_bias", calibration.match_bias)
    return sigmoid(scale * cosines + bias)


def elsewhere(calibration: Calibration, vector: Vector) -> float:
    """How close a picture is to what it may show instead of the labels; 0 where none is known.

    With it, "none of these" is said where other things fit better, and not below one closeness for
    all pictures (cf. Jiang et al., 2024, "Negative label guided OOD detection").
    """
    everyday: Vector | None = getattr(calibration, "everyday", None)
    if everyday is None:
        return 0.0
    nearest: int = getattr(calibration, "everyday_nearest", 1)
    return float(np.sort(everyday @ vector)[-nearest:].mean())


def provenance_of(embedder: Embedder, prompts: tuple[str, ...] = ()) -> Provenance:
    """Which model answers."""
    return Provenance(embedder.space.model, embedder.space.revision, prompts)


def softmax(logits: Doubles) -> Doubles:
    """Softmax over the last axis."""
    powers = np.exp(logits - logits.max(-1, keepdims=True))
    shares: Doubles = powers / powers.sum(-1, keepdims=True)
    return shares


def sigmoid(logits: Doubles) -> Doubles:
    """The logistic function, without overflow."""
    probabilities: Doubles = 0.5 * (1.0 + np.tanh(0.5 * logits))
    return probabilities
