"""What every group of the suite's verbs stands on: models, cache, journal and limits."""

from __future__ import annotations

import threading
from abc import abstractmethod
from typing import TYPE_CHECKING, TypeVar

from polymodal.errors import UsageError

if TYPE_CHECKING:
    from polymodal.media.containers import StreamInput
    from polymodal.media.limits import StreamLimits
    from polymodal.media.pictures import Limits
    from polymodal.models.describing import Captioner
    from polymodal.models.precision import Precision
    from polymodal.models.protocols import Device, Embedder, Generator
    from polymodal.models.trust import Trust
    from polymodal.results_speech import Transcript
    from polymodal.runtime.cache import Cache
    from polymodal.runtime.journal import Journal
    from polymodal.runtime.judging import Judge
    from polymodal.runtime.texts import TextVectors

__all__ = ["SuiteParts", "no_data", "only_for_generators"]

WRITES = (
    "openai:MODEL, anthropic:MODEL, gemini:MODEL, or a checkpoint such as"
    " Qwen/Qwen2.5-VL-3B-Instruct"
)
"""Names of models that write what they are asked for."""


def only_for_generators(**given: object) -> None:
    """Refuse what only a generator takes, where none answers.

    Raises:
        UsageError: naming what was given.
    """
    if named := [name for name, value in given.items() if value]:
        raise UsageError(f"{' and '.join(named)} go with a model that writes: {WRITES}.")


def no_data(schema: str) -> UsageError:
    """What is said where data is asked for of a model that answers in a word or two."""
    return UsageError(
        f"this model answers in a word or two, and cannot fill {schema}. Name a model that writes:"
        f" {WRITES}. For receipts and invoices, extract needs no other model."
    )


Model = TypeVar("Model")


class SuiteParts:
    """Declared here, so that a group of verbs can be read alone; `Suite` and its groups have it."""

    _model: str | Embedder
    _device: Device
    _dtype: str
    _quantize: str | None
    _trust: Trust
    _lock: threading.Lock

    if TYPE_CHECKING:

        @property
        def cache(self) -> Cache | None: ...

        @property
        def journal(self) -> Journal | None: ...

    if TYPE_CHECKING:

        def _kept(self, model: Model, name: object) -> Model: ...

        def _precision(self) -> Precision: ...

    def _device_beside(self) -> Device:
        """Where what helps another model runs, which need not be where that model was sent."""
        return "cpu" if self._device == "cpu" else "auto"

    @abstractmethod
    def embedder(self) -> Embedder:
        """See `Suite.embedder`."""

    @abstractmethod
    def captioner(self) -> Captioner:
        """See `Suite.captioner`."""

    @abstractmethod
    def judge(self, model: str) -> Judge:
        """See `JudgingVerbs.judge`."""

    @abstractmethod
    def _checking_vectors(self) -> TextVectors: ...

    @abstractmethod
    def _starter(self) -> Embedder: ...

    @abstractmethod
    def _writer(self, given: str | Generator | None) -> Generator | None: ...

    @abstractmethod
    def _hear(self, source: StreamInput) -> Transcript: ...

    @abstractmethod
    def _sound_limits(self) -> StreamLimits: ...

    @abstractmethod
    def _picture_limits(self) -> Limits: ...
