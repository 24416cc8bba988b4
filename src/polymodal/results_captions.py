"""What `caption` returns: a sentence, and those it was chosen from."""

from __future__ import annotations

from dataclasses import dataclass

from polymodal.results_core import Provenance

__all__ = ["Caption", "CaptionCandidate"]


@dataclass(frozen=True)
class CaptionCandidate:
    """A caption that was considered; `score` and `fit` as in `Caption`."""

    text: str
    score: float | None
    fit: float | None = None


@dataclass(frozen=True)
class Caption:
    """A sentence about a picture.

    Attributes:
        score: how sure the model is of its words: their geometric mean probability, 0..1. It
            compares captions of one model; it is not the probability of being right. None where
            the model does not tell.
        candidates: best first; the first is the caption.
        fit: probability, by the embedder, that the caption fits the picture, as `match` gives it.
            None where there was no embedder to look.
    """

    input: str
    text: str
    score: float | None
    candidates: tuple[CaptionCandidate, ...]
    provenance: Provenance
    fit: float | None = None
