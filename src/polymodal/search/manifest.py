"""`collection.json`: what a collection is, and which generation of its data is current.

Notable: the file is replaced whole (written beside, synced, renamed), so it is always either the
old one or the new one; replacing it is what makes a new generation current.
"""

from __future__ import annotations

import contextlib
import json
import os
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any
from uuid import uuid4

from polymodal.errors import CollectionDamaged, CollectionNotFound, StorageError
from polymodal.results import Space

__all__ = ["FORMAT", "Manifest", "sync_folder"]

FORMAT = 1
FILE = "collection.json"


@dataclass(frozen=True)
class Manifest:
    """What `collection.json` says.

    Attributes:
        space: of the vectors; a collection is bound to it.
        generation: number of the folder with the current data.
        created: seconds since 1970.
        fields: metadata fields and their kinds: `number`, `text` or `bool`.
        text_fields: those that keyword search sees.
        loose_items: how many were written or removed since the search graph was built.
    """

    space: Space
    generation: int = 1
    created: float = 0.0
    fields: Mapping[str, str] = field(default_factory=dict)
    text_fields: tuple[str, ...] = ()
    loose_items: int = 0

    @classmethod
    def read(cls, folder: Path, name: str) -> Manifest:
        """Read a collection's manifest.

        Raises:
            CollectionNotFound: there is none.
            CollectionDamaged: it is not one, or one of a later version of polymodal.
        """
        path = folder / FILE
        try:
            data = json.loads(path.read_bytes())
        except FileNotFoundError:
            raise CollectionNotFound(
                f"there is no collection {name!r} (looked in {folder})."
                f" Create it by adding pictures: polymodal add FOLDER --collection {name}"
            ) from None
        except OSError as error:
            raise StorageError(f"cannot read {path}: {error.strerror}.") from error
        except ValueError as error:
            raise _damaged(path, f"it is not valid JSON: {error}") from error
        return cls._parse(data, path)

    @classmethod
    def _parse(cls, data: Any, path: Path) -> Manifest:
        version = data.get("format") if isinstance(data, dict) else None
        if isinstance(version, int) and version > FORMAT:
            raise CollectionDamaged(
                f"{path} is of format {version}, and this polymodal reads {FORMAT}:"
                " it was written by a later version; upgrade polymodal to open it."
            )
        try:
            return cls(
                space=Space.from_dict(data["space"]),
                generation=int(data["generation"]),
                created=float(data["created"]),
                fields=dict(data["fields"]),
                text_fields=tuple(data["text_fields"]),
                loose_items=int(data["loose_items"]),
            )
        except (KeyError, TypeError, ValueError, AttributeError) as error:
            raise _damaged(path, f"an entry is missing or wrong: {error}") from error

    def write(self, folder: Path) -> None:
        """Replace the collection's manifest by this one, atomically and durably."""
        data = {
            "format": FORMAT,
            "space": self.space.to_dict(),
            "generation": self.generation,
            "created": self.created,
            "fields": dict(self.fields),
            "text_fields": list(self.text_fields),
            "loose_items": self.loose_items,
        }
        beside = folder / f".{FILE}.{uuid4().hex}"
        try:
            with beside.open("w") as file:
                json.dump(data, file, indent=1)
                file.flush()
                os.fsync(file.fileno())
            beside.replace(folder / FILE)
            sync_folder(folder)
        except OSError as error:
            with contextlib.suppress(OSError):
                beside.unlink(missing_ok=True)
            raise StorageError(
                f"cannot write {folder / FILE}: {error.strerror}. The collection is unchanged."
            ) from error

    def with_(self, **changes: Any) -> Manifest:
        """A copy with some attributes changed."""
        return replace(self, **changes)


def _damaged(path: Path, reason: str) -> CollectionDamaged:
    return CollectionDamaged(
        f"the file {path}, which describes the collection, is damaged ({reason})."
        " Put it back from a backup, or delete the collection's folder and add the pictures again."
    )


def sync_folder(folder: Path) -> None:
    """Make renames and new files in a folder durable."""
    handle = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
