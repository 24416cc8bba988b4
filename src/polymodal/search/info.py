"""What is told of a collection without loading a model."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any

from polymodal.results import Space

__all__ = ["CollectionInfo"]


@dataclass(frozen=True)
class CollectionInfo:
    """What a collection holds.

    Attributes:
        items: pictures; copies at several paths count once.
        fields: metadata fields and their kinds: number, text or bool.
        text_fields: those that keyword search sees.
        indexed: items that the search graph covers; the others are scanned.
        bytes: on disk.
    """

    name: str
    path: str
    items: int
    space: Space
    fields: Mapping[str, str]
    text_fields: tuple[str, ...]
    indexed: int
    bytes: int
    generation: int
    created: float

    def to_dict(self) -> dict[str, Any]:
        """As JSON values."""
        return {**asdict(self), "space": self.space.to_dict()}
