"""What the arguments of `add` stand for: files, what is known of each, and where they came from.

Notable: everything is listed before anything is read, so that a total can be shown, and the
metadata of all files are known before the first is written.
"""

from __future__ import annotations

import fnmatch
import glob
import os
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from polymodal.errors import MediaNotFound
from polymodal.media.files import find_files, printable_name
from polymodal.media.tables import path_column, read_rows
from polymodal.results import ItemError
from polymodal.search.store import Place

__all__ = ["Listed", "Listing", "list_inputs"]

TABLES = (".csv", ".tsv", ".jsonl", ".ndjson", ".json")
NAMED_IN_A_NOTE = 5


@dataclass(frozen=True)
class Listed:
    """One file. `metadata` is None where nothing was said: what is known of it then stays."""

    path: str
    metadata: Mapping[str, Any] | None = None
    origin: str = ""


@dataclass
class Listing:
    """What to add.

    Attributes:
        files: by absolute path, in order.
        roots: folders, patterns and files given; `--prune` keeps to them.
        tables: tables given, with the paths each lists.
    """

    files: dict[str, Listed] = field(default_factory=dict)
    errors: list[ItemError] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)
    roots: list[str] = field(default_factory=list)
    tables: dict[str, set[str]] = field(default_factory=dict)

    def lost(self, path: str, place: Place) -> bool:
        """Whether pruning removes what was found at `path`."""
        for table, listed in self.tables.items():
            if place.origin == table and (path not in listed or not Path(path).exists()):
                return True
        return any(_within(path, root) for root in self.roots) and not Path(path).exists()


def list_inputs(
    paths: Iterable[str | os.PathLike[str]], metadata: str | os.PathLike[str] | None
) -> Listing:
    """List files, folders, globs and tables.

    Raises:
        UsageError: a table cannot be read.
    """
    listing = Listing()
    for each in paths:
        if Path(each).suffix.lower() in TABLES and Path(each).is_file():
            _list_table(Path(each), listing)
        else:
            _list_files(os.fspath(each), listing)
    if metadata is not None:
        _join(Path(metadata), listing)
    return listing


def _list_files(given: str, listing: Listing) -> None:
    if Path(given).exists() or glob.has_magic(given):
        # A root that is missing is an error below and prunes nothing: a drive may not be mounted.
        listing.roots.append(_absolute(given))
    for found in find_files([given]):
        if isinstance(found, ItemError):
            listing.errors.append(found)
        else:
            path = _absolute(found)
            listing.files.setdefault(path, Listed(path))


def _list_table(table: Path, listing: Listing) -> None:
    rows = read_rows(table)
    origin = _absolute(table)
    listed = listing.tables.setdefault(origin, set())
    column = path_column(rows) if rows else ""
    nameless = 0
    for row in rows:
        value = row.get(column)
        if not isinstance(value, str) or not value:
            nameless += 1
            continue
        path = _absolute(table.parent / value)
        listed.add(path)
        about = {key: cell for key, cell in row.items() if key != column}
        if Path(path).is_file():
            listing.files[path] = Listed(path, about, origin)
        else:
            reason = f"no such file (named in {table.name})"
            name = printable_name(path)
            listing.errors.append(ItemError.of(name, MediaNotFound(reason, name)))
    if nameless:
        listing.notes.append(f"{nameless} rows of {table.name} name no picture")


def _join(table: Path, listing: Listing) -> None:
    """Give files the metadata of the row that names their path or, failing that, their name."""
    rows = read_rows(table)
    column = path_column(rows) if rows else ""
    by_path: dict[str, int] = {}
    by_name: dict[str, list[int]] = {}
    for number, row in enumerate(rows):
        value = str(row.get(column, ""))
        by_path[_absolute(table.parent / value)] = number
        by_name.setdefault(Path(value).name, []).append(number)
    used: set[int] = set()
    without: list[str] = []
    for path, file in listing.files.items():
        match = _row_of(path, by_path, by_name)
        if match is None:
            without.append(Path(path).name)
            continue
        used.add(match)
        about = {key: cell for key, cell in rows[match].items() if key != column}
        listing.files[path] = Listed(path, {**about, **(file.metadata or {})}, file.origin)
    unused = [str(row.get(column, "")) for n, row in enumerate(rows) if n not in used]
    if unused:
        listing.notes.append(_note(f"rows of {table.name} match no picture", unused))
    if without:
        listing.notes.append(_note(f"pictures have no row in {table.name}", without))


def _row_of(path: str, by_path: Mapping[str, int], by_name: Mapping[str, list[int]]) -> int | None:
    if path in by_path:
        return by_path[path]
    file = Path(path)
    # A table may name pictures by number, without the ending. Two rows of one name decide nothing.
    numbers = by_name.get(file.name) or by_name.get(file.stem) or []
    return numbers[0] if len(numbers) == 1 else None


def _note(what: str, names: Sequence[str]) -> str:
    shown = ", ".join(printable_name(name) for name in names[:NAMED_IN_A_NOTE])
    more = ", ..." if len(names) > NAMED_IN_A_NOTE else ""
    return f"{len(names)} {what}: {shown}{more}"


def _absolute(path: str | os.PathLike[str]) -> str:
    return os.path.abspath(path)  # noqa: PTH100 - Path.resolve would follow links


def _within(path: str, root: str) -> bool:
    if glob.has_magic(root) and not Path(root).exists():
        return fnmatch.fnmatchcase(path, root)
    return path == root or path.startswith(root.rstrip(os.sep) + os.sep)
