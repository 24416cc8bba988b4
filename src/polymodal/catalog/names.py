"""Which names are those of generators behind an API; without importing anything heavy."""

from __future__ import annotations

from polymodal.errors import UsageError

__all__ = ["API_FAMILIES", "is_generator_name", "no_vectors"]

API_FAMILIES = ("anthropic", "gemini", "openai")


def is_generator_name(name: object) -> bool:
    """Whether a model's name is `FAMILY:MODEL` of a family that is reached through an API."""
    return isinstance(name, str) and ":" in name and name.partition(":")[0] in API_FAMILIES


def no_vectors(name: object) -> UsageError:
    """The error for a generator's name where vectors are needed."""
    return UsageError(
        f"{name} writes text and has no vectors: it answers caption, ask and extract. For"
        " everything else name a model such as starter."
    )
