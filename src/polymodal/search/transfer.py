"""Export and import of collections: JSON lines, or Parquet.

Notable: an export holds all of an item, its vector included, so an import opens no picture and
loads no model, and importing twice changes nothing. The space of the vectors travels along and is
checked. A file appears whole under its name or not at all.

A line of JSONL, an item each:

    {"id": "<sha256>", "path": "/photos/1.jpg", "metadata": {...}, "bytes": 9, "width_px": 640,
     "height_px": 480, "look": "<base64>", "space": "<fingerprint>", "vector": [...]}

`look` is the thumbnail that copies are recognised by. An item found at several places also has
`places` (path to metadata and origin), and the first line has `space_info`, all attributes of the
space, so that an import can create a collection.
"""

from __future__ import annotations

import base64
import json
import math
import os
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import IO, Any, Protocol

import numpy as np

from polymodal.errors import CollectionNotFound, SpaceMismatch, StorageError, UsageError
from polymodal.results import Space, Vector
from polymodal.search.store import Item, Place

__all__ = ["Transferable", "export_items", "import_items"]

JSON_LINES = (".jsonl", ".ndjson")
PARQUET = (".parquet", ".pq")
NORM_TOLERANCE = 0.01


class Transferable(Protocol):
    """What is needed of a collection."""

    @property
    def name(self) -> str:
        """How it is called in messages."""
        ...

    @property
    def space(self) -> Space:
        """The space of its vectors; raises `CollectionNotFound` when it does not exist yet."""
        ...

    def items(self, *, vectors: bool = False) -> Iterator[Item]:
        """Every item."""
        ...

    def put(self, items: Iterable[Item], space: Space) -> int:
        """Write items, replacing known ids; creates the collection. Returns how many."""
        ...


def export_items(
    collection: Transferable, path: str | os.PathLike[str], *, vectors: bool = True
) -> int:
    """Write every item to a `.jsonl` or `.parquet` file, replacing it.

    Args:
        vectors: False leaves them out: smaller, and of no use to `import_items`.

    Returns:
        How many items were written.

    Raises:
        UsageError: another ending, or a folder that does not exist.
        StorageError: the disk is full or read-only; a file that was there is kept.
        MissingDependency: Parquet without pyarrow.
    """
    target = Path(path)
    kind = _kind(target)
    if target.is_dir() or not target.parent.is_dir():
        what = "is a folder" if target.is_dir() else "is in a folder that does not exist"
        raise UsageError(f"cannot export to {target}: it {what}")
    space = collection.space
    write: Callable[[IO[bytes], Iterable[Item], Space, bool], int] = _write_lines
    if kind == "parquet":
        from polymodal.search.transfer_parquet import write_parquet

        write = write_parquet
    with _whole_file(target) as file:
        return write(file, collection.items(vectors=vectors), space, vectors)


def import_items(collection: Transferable, path: str | os.PathLike[str]) -> int:
    """Add the items of an export; items that are there already are replaced by those of the file.

    Returns:
        How many items were read and written.

    Raises:
        UsageError: the file is missing or is no export; the message names the line. What was
            written before stays, and importing the mended file completes it.
        SpaceMismatch: the vectors are of another space than the collection's.
        MissingDependency: Parquet without pyarrow.
    """
    source = Path(path)
    kind = _kind(source)
    if not source.is_file():
        raise UsageError(f"cannot import {source}: there is no such file")
    try:
        own: Space | None = collection.space
    except CollectionNotFound:
        own = None
    if kind == "parquet":
        from polymodal.search.transfer_parquet import read_parquet

        written_in, items = read_parquet(source)
        return collection.put(items, _checked_space(collection, own, written_in, source))
    with source.open("rb") as file:
        space = _first_space(file, source, own)
        if space is None:
            return 0  # an empty file: an export of an empty collection
        file.seek(0)
        checked = _checked_space(collection, own, space, source)
        return collection.put(_read_lines(file, source, checked), checked)


def _kind(path: Path) -> str:
    ending = path.suffix.lower()
    if ending in JSON_LINES:
        return "lines"
    if ending in PARQUET:
        return "parquet"
    raise UsageError(f"{path.name}: an export ends in .jsonl or .parquet")


def _checked_space(
    collection: Transferable, own: Space | None, space: Space, source: Path
) -> Space:
    if own is not None:
        space.require_same(
            own,
            f"import {source.name} into collection {collection.name!r}",
            "Export again from a collection of the same model, or add the pictures themselves.",
        )
    return space


# JSON lines.


def _write_lines(file: IO[bytes], items: Iterable[Item], space: Space, vectors: bool) -> int:
    count = 0
    for item in items:
        record = record_of(item)
        record["space"] = space.fingerprint
        if count == 0:
            record["space_info"] = space.to_dict()
        line = dump_json(record)
        if vectors:
            # Nine digits bring a float32 back exactly, in half the characters of a float64's.
            numbers = ",".join(f"{number:.9g}" for number in item.vector.tolist())
            line = f'{line[:-1]}, "vector": [{numbers}]}}'
        file.write(line.encode() + b"\n")
        count += 1
    return count


def _first_space(file: IO[bytes], source: Path, own: Space | None) -> Space | None:
    """The space that the first line tells, or the collection's where that has its fingerprint."""
    for number, line in enumerate(file, start=1):
        if not line.strip():
            continue
        record = _record(line, number, source)
        if own is not None and record.get("space") == own.fingerprint:
            return own
        try:
            return Space.from_dict(record["space_info"])
        except (KeyError, TypeError, AttributeError):
            if own is None or "space" not in record:
                raise UsageError(
                    f"line {number} of {source.name} does not tell the space of its vectors;"
                    " the first line of an export has it as space_info"
                ) from None
            raise _mismatch(record["space"], own, number, source) from None
    return None


def _read_lines(file: IO[bytes], source: Path, space: Space) -> Iterator[Item]:
    for number, line in enumerate(file, start=1):
        if not line.strip():
            continue
        record = _record(line, number, source)
        if record.get("space") != space.fingerprint:
            raise _mismatch(record.get("space"), space, number, source)
        if "vector" not in record:
            raise UsageError(
                f"line {number} of {source.name} has no vector: it was exported without;"
                " export again with vectors, or add the pictures themselves"
            )
        try:
            vector = np.asarray(record["vector"], np.float32)
            yield item_of(record, vector, space)
        except (KeyError, TypeError, ValueError) as error:
            raise UsageError(_not_an_item(f"line {number}", source, error)) from error


def _record(line: bytes, number: int, source: Path) -> dict[str, Any]:
    try:
        record = json.loads(line)
    except (ValueError, RecursionError) as error:
        raise UsageError(f"line {number} of {source.name} is not JSON: {error}") from error
    if not isinstance(record, dict):
        raise UsageError(f"line {number} of {source.name} is not a JSON object")
    return record


def _mismatch(found: object, space: Space, number: int, source: Path) -> SpaceMismatch:
    return SpaceMismatch(
        f"cannot import line {number} of {source.name}: its vector is of space {found},"
        f" not of {space.describe()}. Export again from a collection of that model."
    )


def _not_an_item(where: str, source: Path, error: Exception) -> str:
    missing = f"it has no {error}" if isinstance(error, KeyError) else str(error)
    return f"{where} of {source.name} is not an exported item: {missing}"


# An item as JSON values, for both formats.


def record_of(item: Item) -> dict[str, Any]:
    """An item without its vector."""
    record: dict[str, Any] = {
        "id": item.id,
        "path": item.path,
        "metadata": dict(item.metadata),
        "bytes": item.bytes,
        "width_px": item.width_px,
        "height_px": item.height_px,
    }
    if item.look:
        record["look"] = base64.b64encode(item.look).decode()
    places = item.all_places()
    if places != {item.path: Place(item.metadata)}:
        record["places"] = {
            path: {"metadata": dict(place.metadata), "origin": place.origin}
            for path, place in places.items()
        }
    return record


def item_of(record: Mapping[str, Any], vector: Vector, space: Space) -> Item:
    """The inverse of `record_of`.

    Raises:
        KeyError, TypeError, ValueError: the record is not of an item of this space.
    """
    if vector.shape != (space.dimension,):
        raise ValueError(f"its vector has shape {vector.shape}, not ({space.dimension},)")
    length = float(np.linalg.norm(vector))
    if not abs(length - 1) < NORM_TOLERANCE:  # written so that NaN fails too
        raise ValueError(f"its vector has length {length:.3g}, not 1")
    identity, path, metadata = record["id"], record["path"], record["metadata"]
    if not (isinstance(identity, str) and len(identity) == 64 and _is_hex(identity)):
        raise ValueError("its id is not a SHA-256 in hex")
    if not isinstance(path, str) or not isinstance(metadata, dict):
        raise TypeError("path has to be text, and metadata an object")
    return Item(
        id=identity,
        path=path,
        vector=vector,
        metadata=metadata,
        bytes=int(record.get("bytes", 0)),
        width_px=int(record.get("width_px", 0)),
        height_px=int(record.get("height_px", 0)),
        look=base64.b64decode(record.get("look") or "", validate=True),
        places={
            str(each): Place(dict(place["metadata"]), str(place.get("origin", "")))
            for each, place in (record.get("places") or {}).items()
        },
    )


def _is_hex(text: str) -> bool:
    return all(character in "0123456789abcdef" for character in text)


def dump_json(value: Any) -> str:
    """JSON that every reader takes: NaN becomes null, half characters are escaped."""
    try:
        text = json.dumps(value, ensure_ascii=False, allow_nan=False)
    except ValueError:
        return dump_json(_finite(value))
    try:
        text.encode()
    except UnicodeEncodeError:
        return json.dumps(value)
    return text


def _finite(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _finite(inner) for key, inner in value.items()}
    if isinstance(value, (list, tuple)):
        return [_finite(inner) for inner in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value


@contextmanager
def _whole_file(target: Path) -> Iterator[IO[bytes]]:
    """A file that takes the place of `target` when the block ends well, and is gone otherwise."""
    part = target.with_name(f".{target.name[:200]}.{os.getpid()}.part")
    try:
        with part.open("wb") as file:
            yield file
            file.flush()
            os.fsync(file.fileno())
        part.replace(target)
    except OSError as error:
        raise StorageError(f"cannot write {target}: {error.strerror or error}") from error
    finally:
        with suppress(OSError):
            part.unlink(missing_ok=True)
