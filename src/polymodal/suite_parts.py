"""What every group of the suite's verbs stands on: models, cache, journal and limits."""

from __future__ import annotations

import threading
from abc import abstractmethod
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from polymodal.media.pictures import Limits
    from polymodal.models.describing import Captioner
    from polymodal.models.protocols import Device, Embedder, Generator
    from polymodal.runtime.cache import Cache
    from polymodal.runtime.journal import Journal
    from polymodal.runtime.judging import Judge
    from polymodal.runtime.texts import TextVectors

__all__ = ["SuiteParts"]


class SuiteParts:
    """Declared here, so that a group of verbs can be read alone; `Suite` and its groups have it."""

    _device: Device
    _lock: threading.Lock

    if TYPE_CHECKING:

        @property
        def cache(self) -> Cache | None: ...

        @property
        def journal(self) -> Journal | None: ...

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
    def _writer(self, given: str | Generator | None) -> Generator | None: ...

    @abstractmethod
    def _picture_limits(self) -> Limits: ...
