"""The seam between verbs and models: what an object must offer to be used as a model.

Protocols, not base classes: any object that fits can be handed to `Suite(...)`. Batches
go in, batches come out in the same order; an adapter knows nothing of tasks, files or errors of
single items (media are opened before they reach it).
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Protocol, TypeAlias, runtime_checkable

import numpy as np
from numpy.typing import NDArray

from polymodal.errors import PolymodalError
from polymodal.models.messages import (
    GREEDY,
    Conversation,
    Generation,
    GenerationOptions,
    GeneratorInfo,
)
from polymodal.models.resident import Resident
from polymodal.results import Provenance, Space, Vector
from polymodal.results_documents import Line
from polymodal.results_speech import SpeechSegment

if TYPE_CHECKING:
    from PIL import Image

__all__ = [
    "Calibrated",
    "Calibration",
    "CloseLook",
    "CloseLooker",
    "CloseUp",
    "Device",
    "Embedder",
    "Eye",
    "FeatureExtractor",
    "Generator",
    "ModelRequest",
    "Pixels",
    "Priced",
    "ReadPage",
    "Reader",
    "Samples",
    "Spoken",
    "StreamingGenerator",
    "Transcriber",
    "Unloadable",
]

Pixels = NDArray[np.generic]
"""One picture as a model wants it; shape and type are the adapter's own."""

Samples = NDArray[np.float32]
"""Sound for a speech model: mono, 16 kHz, -1..1, shape (n,)."""

Device: TypeAlias = str
"""Where a model runs: "cpu", "cuda", "cuda:N", or "auto": an accelerator if the runtime has one."""


@dataclass(frozen=True)
class ModelRequest:
    """What an entry point of the group `polymodal.models` is called with; it returns an `Embedder`.

    Attributes:
        name: what the user wrote, e.g. `clip:ViT-B-32`.
        family: the entry point's name, the part before the colon.
        variant: the part after the colon, or "".
    """

    name: str
    family: str
    variant: str = ""
    device: Device = "auto"


@runtime_checkable
class Embedder(Protocol):
    """Pictures and texts into one space."""

    @property
    def space(self) -> Space:
        """The space of the vectors; constant for the life of the object."""
        ...

    @property
    def image_size_px(self) -> int:
        """The longer side, in pixels, beyond which a larger picture adds nothing."""
        ...

    def preprocess(self, image: Image.Image) -> Pixels:
        """An upright RGB picture to the model's input; called from several threads at once."""
        ...

    def embed_images(self, batch: Sequence[Pixels]) -> Vector:
        """Preprocessed pictures to L2-normalised float32 vectors, shape (n, dimension)."""
        ...

    def embed_texts(self, texts: Sequence[str]) -> Vector:
        """Texts to L2-normalised float32 vectors, shape (n, dimension).

        A text over the tokenizer's limit is truncated; the first one warns (`UserWarning`).
        """
        ...


@runtime_checkable
class FeatureExtractor(Protocol):
    """An embedder that also gives the features before the projection, for linear probes."""

    def extract_features(self, batch: Sequence[Pixels]) -> Vector:
        """Preprocessed pictures to float32 features, shape (n, f); not normalised."""
        ...

    def embed_and_extract(self, batch: Sequence[Pixels]) -> tuple[Vector, Vector]:
        """What `embed_images` and `extract_features` give, from one pass."""
        ...


class Eye(Protocol):
    """How a picture gets to a model; every embedder is one."""

    @property
    def image_size_px(self) -> int:
        """The longer side, in pixels, beyond which a larger picture adds nothing."""
        ...

    def preprocess(self, image: Image.Image) -> Pixels:
        """An upright RGB picture to the model's input; called from several threads at once."""
        ...


class CloseUp(Eye, Protocol):
    """A closer look at pictures than an embedding takes, which a probe gains from."""

    @property
    def look(self) -> CloseLook:
        """How close."""
        ...

    def extract_features(self, batch: Sequence[Pixels]) -> Vector:
        """What `preprocess` of this eye gave to float32 features, shape (n, f)."""
        ...


@dataclass(frozen=True)
class CloseLook:
    """How close a look is.

    Attributes:
        image_size_px: side of the square that is looked at.
        cells: parts of it, each way, of which features are kept apart.
    """

    image_size_px: int
    cells: int

    def __str__(self) -> str:
        """For people."""
        return f"{self.image_size_px} px in {self.cells} x {self.cells} cells"


@runtime_checkable
class CloseLooker(Protocol):
    """A feature extractor that may have a closer look, too."""

    @property
    def close_up(self) -> CloseUp | None:
        """None where it has none."""
        ...


class Calibration(Protocol):
    """Numbers fitted on development data that turn cosines of one space into probabilities.

    Two more pairs are used where they are there, and `match_scale` and `match_bias` where not:
    `multi_label_scale` and `_bias` judge a label on its own, `unknown_scale` and `_bias` give the
    probability that the best of several labels fits at all. `kinds` (name -> kinds of it) has class
    names that the model knows by their kinds alone. `everyday` has what a picture may show instead
    of what it is asked for: vectors of common things, shape (things, dimension); the mean cosine of
    the `everyday_nearest` closest is taken from the best label's before `unknown_scale`.
    """

    @property
    def classify_temperature(self) -> float:
        """softmax(cosine / temperature) over the labels."""
        ...

    @property
    def match_scale(self) -> float:
        """sigmoid(scale * cosine + bias) is the probability that a text fits a picture."""
        ...

    @property
    def match_bias(self) -> float:
        """See `match_scale`."""
        ...

    @property
    def relevant_cosine(self) -> float:
        """Cosine from which a text-to-picture hit counts as relevant."""
        ...

    @property
    def templates(self) -> Sequence[str]:
        """Prompt templates with one `{}`, averaged for zero-shot classification."""
        ...


@runtime_checkable
class Calibrated(Protocol):
    """An embedder that knows its calibration; without one, verbs say that scores are raw."""

    @property
    def calibration(self) -> Calibration:
        """Fitted on development data, kept in the model's card."""
        ...


@runtime_checkable
class Unloadable(Protocol):
    """A model whose parts can leave memory while nobody uses them."""

    @property
    def residents(self) -> Sequence[Resident[Any]]:
        """Its parts; it runs them under a lease (`Resident.use`) alone."""
        ...


@runtime_checkable
class Generator(Protocol):
    """Messages of text and media in, text out. What they are made of: `polymodal.models.messages`.

    A verb puts any generator behind a schema, a cache and the journal; an adapter only answers.
    """

    @property
    def info(self) -> GeneratorInfo:
        """Which model answers and what it takes; cheap, and constant for the life of the object."""
        ...

    def generate(
        self, batch: Sequence[Conversation], options: GenerationOptions = GREEDY
    ) -> Sequence[Generation | PolymodalError]:
        """An answer to each conversation, in order; greedy by default.

        A conversation that fails alone (a context that overflows, a service that gives up) is an
        error in its place, which is not raised.

        Raises:
            UsageError: what `GeneratorInfo.check` finds; nothing was computed.
            ModelUnavailable: the weights or the service cannot be reached at all.
        """
        ...


@runtime_checkable
class StreamingGenerator(Generator, Protocol):
    """A generator that can say its answer piece by piece."""

    def stream(
        self, conversation: Conversation, options: GenerationOptions = GREEDY
    ) -> Iterator[str | Generation]:
        """Pieces of the answer as they come; the last item is the whole `Generation`.

        Raises:
            PolymodalError: see `Generator.generate`; also after pieces that came.
        """
        ...


@runtime_checkable
class Priced(Protocol):
    """A generator that knows what it costs."""

    def most_usd(
        self, conversation: Conversation, options: GenerationOptions = GREEDY
    ) -> float | None:
        """The most that an answer can cost, in US dollars, before it is asked for; None unknown."""
        ...


@dataclass(frozen=True)
class ReadPage:
    """What a reader found on one page picture.

    Attributes:
        lines: in any order; boxes in pixels of the picture as it was given, `page` is 1.
        rotation: degrees clockwise by which the picture has to be turned to be upright: 0, 90, 180
            or 270.
        skew_degrees: by which lines at the upper and at the lower edge then still fall to the right
            (or rise, below zero), as in a photograph that was not held straight.
    """

    lines: tuple[Line, ...]
    rotation: int = 0
    skew_degrees: tuple[float, float] = (0.0, 0.0)


@runtime_checkable
class Reader(Protocol):
    """Pictures of pages into lines of text (OCR)."""

    @property
    def provenance(self) -> Provenance:
        """Which model this is."""
        ...

    @property
    def batch_size(self) -> int:
        """How many pages at once keep it busy."""
        ...

    def read(self, batch: Sequence[Image.Image]) -> list[ReadPage]:
        """RGB pictures to their lines, in order; a page without text has none."""
        ...


@dataclass(frozen=True)
class Spoken:
    """What a piece of sound says; times count from the piece's beginning."""

    language: str
    language_probability: float
    segments: tuple[SpeechSegment, ...]


@runtime_checkable
class Transcriber(Protocol):
    """Pieces of sound with speech in them into words."""

    @property
    def provenance(self) -> Provenance:
        """Which model this is."""
        ...

    @property
    def longest_s(self) -> float:
        """The longest piece it takes."""
        ...

    @property
    def languages(self) -> Sequence[str]:
        """Codes of the languages it knows, such as "en"."""
        ...

    def transcribe(self, batch: Sequence[Samples], *, language: str | None = None) -> list[Spoken]:
        """Pieces to words, in order; the language is recognised for each where it is not given.

        Called from several threads at once.
        """
        ...
