"""The seam for models that describe pictures and answer questions about them.

Notable: a picture is looked at once (`look`); what was seen serves captions, answers, scores and
the embedder's own checks, however often it is asked about.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Protocol, runtime_checkable

from polymodal.results import Provenance

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray
    from PIL import Image

    from polymodal.models.protocols import Pixels
    from polymodal.models.unopened import Style
    from polymodal.results import Vector

__all__ = [
    "AnswerCalibrated",
    "AnswerCalibration",
    "AnswerWeights",
    "Captioner",
    "KnowsWords",
    "Said",
    "Sight",
    "TextScorer",
]


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
        fit: probability, by the embedder, that a caption fits the picture; None where it did not
            look.
    """

    text: str
    logprob: float
    score: float
    probability: float
    fit: float | None = None


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


@runtime_checkable
class KnowsWords(Protocol):
    """A captioner with a closed list of words."""

    def knows(self, word: str) -> bool:
        """Whether it can read and say a word (lower case)."""
        ...


@runtime_checkable
class TextScorer(Protocol):
    """A captioner that says how likely a given text is."""

    def score_text(self, sights: Sequence[Sight], text: str) -> list[float]:
        """Log-probability of a text as the caption of each picture, summed over the words it knows.

        Raises:
            UsageError: it knows none of the words.
        """
        ...


@dataclass(frozen=True)
class AnswerWeights:
    """How the answers to one kind of question are weighed; see `polymodal.tasks.grounding`.

    Attributes:
        decoder: of the model's log-probability of an answer.
        embedder: of the cosine of its statement with the picture.
        bias: added to "yes".
        alone, alone_bias: the same two for the embedder without the model.
        trust: added to the log-odds that the best answer is right.
    """

    decoder: float
    embedder: float
    bias: float
    alone: float
    alone_bias: float
    trust: float


@dataclass(frozen=True)
class AnswerCalibration:
    """Numbers fitted on development data that turn scores of answers into probabilities.

    Attributes:
        kinds: weights by kind of question.
        share, decoder, embedder: weights of the log-odds of the best answer's share, of the
            model's own log-odds for it, and of the embedder's.
        threshold: confidence from which an answer is given.
    """

    kinds: Mapping[str, AnswerWeights] = field(default_factory=dict)
    share: float = 1.0
    decoder: float = 0.0
    embedder: float = 0.0
    threshold: float = 0.5


@runtime_checkable
class AnswerCalibrated(Protocol):
    """A captioner that knows how far its answers can be trusted."""

    @property
    def answer_calibration(self) -> AnswerCalibration:
        """Fitted on development data, kept in the model's card."""
        ...
