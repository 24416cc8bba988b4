"""What every result has: which model answered, and what stands in the place of a failed item."""

from __future__ import annotations

from dataclasses import dataclass

from polymodal.errors import Attempt, MediaError

__all__ = ["ItemError", "Provenance"]


@dataclass(frozen=True)
class Provenance:
    """Which model answered, at which revision, and with which prompts."""

    model: str
    revision: str
    prompts: tuple[str, ...] = ()


@dataclass(frozen=True)
class ItemError:
    """An input that failed, in the place of its result.

    Attributes:
        input: the input as the caller named it.
        reason: one sentence for a person.
        kind: the exception's class name, for programs.
        attempts: of an answer that did not fit its schema: every one that was given, in order.
    """

    input: str
    reason: str
    kind: str
    attempts: tuple[Attempt, ...] = ()

    @classmethod
    def of(cls, name: str, error: Exception) -> ItemError:
        """From an exception caught while working on `name`."""
        reason = error.reason if isinstance(error, MediaError) else str(error)
        kind = type(error).__name__
        return cls(name, reason or kind, kind, getattr(error, "attempts", ()))
