"""What `Suite` holds in memory, and taking it out again: models, unload."""

from __future__ import annotations

from functools import cached_property
from typing import TYPE_CHECKING, TypeVar

from polymodal.catalog.names import full_name
from polymodal.suite_parts import SuiteParts

if TYPE_CHECKING:
    from polymodal.models.precision import Precision
    from polymodal.runtime.pool import Pool
    from polymodal.runtime.processes import LoadedModel

__all__ = ["LoadedModels"]

Model = TypeVar("Model")


class LoadedModels(SuiteParts):
    """What `Suite` inherits; it sets the attributes."""

    _memory: int | str | None
    _ttl_s: float | None

    def models(self) -> list[LoadedModel]:
        """The parts of models that are in memory now, with what they take; longest idle first."""
        return self._pool.models()

    def unload(self, name: str | None = None) -> list[LoadedModel]:
        """Take a model out of memory, by the name it was opened by, or all; what is in use stays.

        The next verb that needs it loads it again. A model that was handed to the suite as an
        object is called by its space's or its own name.

        Returns:
            What was unloaded.
        """
        found = self._pool.unload(name)
        return found if found or name is None else self._pool.unload(full_name(name))

    @cached_property
    def _pool(self) -> Pool:
        from polymodal.runtime.memory import parse_bytes
        from polymodal.runtime.pool import Pool

        memory = parse_bytes(self._memory) if isinstance(self._memory, str) else self._memory
        return Pool(memory, ttl_s=self._ttl_s)

    def _kept(self, model: Model, name: object) -> Model:
        """The model, its parts in the pool from now on."""
        self._pool.adopt(model, name if isinstance(name, str) else _own_name(model))
        return model

    def _precision(self) -> Precision:
        from polymodal.models.precision import Precision

        return Precision(self._dtype, self._quantize)


def _own_name(model: object) -> str:
    """What a model calls itself."""
    for attribute in ("space", "info", "provenance"):
        found = getattr(getattr(model, attribute, None), "model", None)
        if isinstance(found, str):
            return found
    return type(model).__name__
