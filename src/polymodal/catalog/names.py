"""Which names are those of generators behind an API; without importing anything heavy."""

from __future__ import annotations

__all__ = ["API_FAMILIES", "is_generator_name"]

API_FAMILIES = ("anthropic", "gemini", "openai")


def is_generator_name(name: object) -> bool:
    """Whether a model's name is `FAMILY:MODEL` of a family that is reached through an API."""
    return isinstance(name, str) and ":" in name and name.partition(":")[0] in API_FAMILIES
