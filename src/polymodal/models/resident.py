"""A part of a model that is in memory while it is needed: a tower, a decoder, a speech model.

Notable: whoever runs a part holds a lease on it (`with part.use() as loaded:`), and what is leased
is never taken away. By itself a part is loaded on first use, once for any number of threads, and
stays. A keeper (`polymodal.runtime.pool`) makes room before it is loaded, measures it, and takes it
out of memory again when nobody uses it.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any, Generic, Protocol, TypeVar

from polymodal.profiling import profiled

__all__ = ["Keeper", "Resident"]

Loaded = TypeVar("Loaded")


class Keeper(Protocol):
    """What decides which parts are in memory."""

    def take(self, part: Resident[Any]) -> Any:
        """What `part.load` gives, loaded now if it is not there; under lease until `give_back`."""
        ...

    def give_back(self, part: Resident[Any]) -> None:
        """End one lease."""
        ...

    def make_room(self, part: Resident[Any]) -> None:
        """Unload everything else that is idle: the device of `part` had no memory left."""
        ...


class Resident(Generic[Loaded]):
    """See the module. Safe between threads.

    Attributes:
        part: which part of its model it is, for people: "image tower".
        model: the name of the model; its keeper's to set.
        load: reads the weights and gives what runs them; anything that it raises is raised by
            `use`, and it is called again the next time.
    """

    def __init__(
        self,
        part: str,
        load: Callable[[], Loaded],
        *,
        prepare: Callable[[], object] | None = None,
        least_bytes: Callable[[], int] | None = None,
        device: Callable[[], str] | None = None,
    ) -> None:
        """Nothing is loaded.

        Args:
            prepare: imports the libraries that `load` needs, so that they are not measured as part
                of the model.
            least_bytes: what it takes at least, such as the size of its files, to make room by
                before it was ever measured.
            device: where it runs: "cpu", "cuda", "cuda:1"; "cpu" by default.
        """
        self.part = part
        self.model = ""
        self.load = profiled("load")(load)
        self.prepare = profiled("load")(prepare) if prepare else (lambda: None)
        self.least_bytes = least_bytes or (lambda: 0)
        self.device = device or (lambda: "cpu")
        self._keeper: Keeper | None = None
        self._lock = threading.Lock()
        self._own: Loaded | None = None

    @contextmanager
    def use(self) -> Iterator[Loaded]:
        """The part, in memory for as long as the block lasts."""
        keeper = self._keeper
        if keeper is None:
            yield self._loaded()
            return
        value: Loaded = keeper.take(self)
        try:
            yield value
        finally:
            keeper.give_back(self)

    def make_room(self) -> None:
        """Unload other models, if there is who can."""
        if self._keeper is not None:
            self._keeper.make_room(self)

    def adopt(self, keeper: Keeper, model: str) -> bool:
        """From now on `keeper` decides; False where another one does already."""
        with self._lock:
            if self._keeper is not None:
                return self._keeper is keeper
            self._keeper, self._own, self.model = keeper, None, model
            return True

    def _loaded(self) -> Loaded:
        with self._lock:
            if self._own is None:
                self._own = self.load()
            return self._own
