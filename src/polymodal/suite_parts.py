"""What every group of the suite's verbs stands on: models, cache, journal and limits."""

from __future__ import annotations

import threading
from abc import abstractmethod
from typing import TYPE_CHECKING, TypeVar

if TYPE_CHECKING:
    from polymodal.media.pictures import Limits
    from polymodal.models.describing import Captioner
    from polymodal.models.precision import Precision
    from polymodal.models.protocols import Device, Embedder, Generator
    from polymodal.runtime.cache import Cache
    from polymodal.runtime.journal import Journal
    from polymodal.runtime.texts import TextVectors

__all__ = ["SuiteParts"]

Model = TypeVar("Model")


class SuiteParts:
    """Declared here, so that a group of verbs can be read alone; `Suite` and its groups have it."""

    _device: Device
    _dtype: str
    _quantize: str | None
    _lock: threading.Lock

    if TYPE_CHECKING:

        @property
        def cache(self) -> Cache | None: ...

        @property
        def journal(self) -> Journal | None: ...

    if TYPE_CHECKING:

        def _kept(self, model: Model, name: object) -> Model: ...

        def _precision(self) -> Precision: ...

    @abstractmethod
    def embedder(self) -> Embedder:
        """See `Suite.embedder`."""

    @abstractmethod
    def captioner(self) -> Captioner:
        """See `Suite.captioner`."""

    @abstractmethod
    def _checking_vectors(self) -> TextVectors: ...

    @abstractmethod
    def _writer(self, given: str | Generator | None) -> Generator | None: ...

    @abstractmethod
    def _picture_limits(self) -> Limits: ...
