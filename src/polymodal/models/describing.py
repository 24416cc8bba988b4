"""The seam for models that describe pictures and answer questions about them.

Notable: a picture is looked at once (`look`); what was seen serves captions, answers, scores and
the embedder's own checks, however often it is asked about.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal, Protocol, runtime_checkable

import numpy as np
from numpy.typing import NDArray

from polymodal.models.protocols import Pixels
from polymodal.results import Provenance, Vector

if TYPE_CHECKING:
    from PIL import Image

__all__ = ["STYLES", "Captioner", "Said", "Sight", "Style"]

Style = Literal["plain", "short", "detailed"]
STYLES: tuple[Style, ...] = ("plain", "short", "detailed")


@dataclass(frozen=True)
class Sight:
    """What a model saw of one picture.

    Attributes:
        embedding: the picture's L2-normalised vector, float32, shape (dimension,), from the same
            pass; in the space of the model's embedder.
        grid: features of places, float32, shape (places, features); the adapter's own.
    """

    embedding: Vector
    grid: NDArray[np.float32]


@dataclass(frozen=True)
class Said:
    """A text that a model would say of a picture.

    Attributes:
        logprob: its summed log-probability, end included.
        score: what ranks candidates: `logprob` over a power of the length, and for captions what
            the embedder makes of them.
        probability: geometric mean of its tokens' probabilities, 0..1.
    """

    text: str
    logprob: float
    score: float
    probability: float


@runtime_checkable
class Captioner(Protocol):
    """Pictures to sentences and answers; batches in, batches out, in order."""

    @property
    def provenance(self) -> Provenance:
        """Which model answers, at which revision."""
        ...

    @property
    def image_size_px(self) -> int:
        """See `Embedder.image_size_px`."""
        ...

    def preprocess(self, image: Image.Image) -> Pixels:
        """See `Embedder.preprocess`; called from several threads at once."""
        ...

    def look(self, batch: Sequence[Pixels]) -> list[Sight]:
        """Run the image tower, once, on preprocessed pictures."""
        ...

    def caption(
        self,
        sights: Sequence[Sight],
        *,
        style: Style = "plain",
        about: str = "",
        candidates: int = 1,
        beams: int | None = None,
    ) -> list[list[Said]]:
        """Captions of each picture, best first, at most `candidates`.

        Args:
            about: words the caption should take up; "" for none.
            beams: width of the search, 1 for greedy; the model's own by default, and never less
                than `candidates`.

        Raises:
            UsageError: when the model knows none of the words of `about`.
        """
        ...

    def answer(
        self, sights: Sequence[Sight], questions: Sequence[str], *, candidates: int = 1
    ) -> list[list[Said]]:
        """Answers to one question a picture, best first.

        Raises:
            UsageError: when a question has no words or too many.
        """
        ...

    def score_answers(
        self, sights: Sequence[Sight], questions: Sequence[str], answers: Sequence[Sequence[str]]
    ) -> list[list[float]]:
        """Log-probability (summed over tokens, end included) of given answers.

        An answer with a word that the model does not know, without a word, or with too many
        (more than four, for the starter), scores -inf.
        """
        ...
