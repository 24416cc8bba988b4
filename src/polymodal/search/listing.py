"""What the arguments of `add` stand for: files, what is known of each, and where they came from.

Notable: everything is listed before anything is read, so that a total can be shown, and the
metadata of all files are known before the first is written.
"""

from __future__ import annotations

import fnmatch
import glob
import os
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from polymodal.errors import MediaNotFound
from polymodal.media.files import PICTURE_EXTENSIONS, find_files, printable_name
from polymodal.media.moments import file_of
from polymodal.media.tables import path_column, read_rows
from polymodal.results import ItemError
from polymodal.search.store import Place

__all__ = ["Listed", "Listing", "list_inputs"]

TABLES = (".csv", ".tsv", ".jsonl", ".ndjson", ".json")
NAMED_IN_A_NOTE = 5


@dataclass(frozen=True)
class Listed:
    """One file.

    Attributes:
        path: absolute.
        metadata: None where nothing was said: what is known of it then stays.
        name: the path as the user wrote it, for messages.
    """

    path: str
    metadata: Mapping[str, Any] | None = None
    origin: str = ""
    name: str = ""


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
        """Whether pruning removes what was found at `path`, a file or a moment of a video."""
        path = file_of(path)
        for table, listed in self.tables.items():
            if place.origin == table and (path not in listed or not Path(path).exists()):
                return True
        return any(_within(path, root) for root in self.roots) and not Path(path).exists()


def list_inputs(
    paths: Iterable[str | os.PathLike[str]],
    metadata: str | os.PathLike[str] | None,
    extensions: frozenset[str] = PICTURE_EXTENSIONS,
) -> Listing:
    """List files, folders, globs and tables.

    Args:
        extensions: what a folder yields.

    Raises:
        UsageError: a table cannot be read.
    """
    listing = Listing()
    for each in paths:
        if Path(each).suffix.lower() in TABLES and Path(each).is_file():
            _list_table(Path(each), listing)
        else:
            _list_files(os.fspath(each), listing, extensions)
    if metadata is not None:
        _join(Path(metadata), listing)
    return listing


def _list_files(given: str, listing: Listing, extensions: frozenset[str]) -> None:
    if Path(given).exists() or glob.has_magic(given):
        # A root that is missing is an error below and prunes nothing: a drive may not be mounted.
        listing.roots.append(_absolute(given))
    for found in find_files([given], extensions=extensions):
        if isinstance(found, ItemError):
            listing.errors.append(found)
        else:
            path = _absolute(found)
            listing.files.setdefault(path, Listed(path, name=printable_name(found)))


def _list_table(table: Path, listing: Listing) -> None:
    rows = read_rows(table)
    origin = _absolute(table)
    listed = listing.tables.setdefault(origin, set())
    column = path_column(rows, table.name) if rows else ""
    nameless = 0
    numbers: dict[str, list[int]] = {}
    for number, row in enumerate(rows):
        value = row.get(column)
        if not isinstance(value, str) or not value:
            nameless += 1
            continue
        path = _absolute(table.parent / value)
        numbers.setdefault(path, []).append(number)
        about = {key: cell for key, cell in row.items() if key != column}
        name = printable_name(table.parent / value)
        if Path(path).is_file():
            listing.files[path] = Listed(path, about, origin, name)
        elif path not in listed:
            reason = f"no such file (named in {table.name})"
            listing.errors.append(ItemError.of(name, MediaNotFound(reason, name)))
        listed.add(path)
    listing.notes += _doubles(table, rows, column, numbers.values())
    if nameless:
        row_names = "row of {} names" if nameless == 1 else "rows of {} name"
        listing.notes.append(f"{nameless} {row_names.format(table.name)} no picture")


def _join(table: Path, listing: Listing) -> None:
    """Give files the metadata of the row that names their path or, failing that, their name."""
    rows = read_rows(table)
    column = path_column(rows, table.name) if rows else ""
    by_path: dict[str, list[int]] = {}
    by_name: dict[str, list[int]] = {}
    for number, row in enumerate(rows):
        if not (value := str(row.get(column, ""))):
            continue
        by_path.setdefault(_absolute(table.parent / value), []).append(number)
        by_name.setdefault(Path(value).name, []).append(number)
    listing.notes += _doubles(table, rows, column, by_path.values())
    same = {number: numbers for numbers in by_path.values() for number in numbers}
    used: set[int] = set()
    unclear: list[str] = []
    without: list[str] = []
    for path, file in listing.files.items():
        fitting = _rows_of(path, by_path, by_name)
        used.update(fitting)
        if not fitting:
            without.append(Path(path).name)
            continue
        match = fitting[-1]  # of rows that name the same file, the last counts
        if same[match] != fitting:
            unclear.append(file.name)
            continue
        about = {key: cell for key, cell in rows[match].items() if key != column}
        listing.files[path] = replace(file, metadata={**about, **(file.metadata or {})})
    unused = [str(row.get(column, "")) for n, row in enumerate(rows) if n not in used]
    if unused:
        words = (f"row of {table.name} matches", f"rows of {table.name} match")
        listing.notes.append(_note(words, "no picture", unused))
    if unclear:
        what = f"several rows of {table.name} by name, and took none (give paths there)"
        listing.notes.append(_note(("picture fits", "pictures fit"), what, unclear))
    if without:
        words = ("picture has", "pictures have")
        listing.notes.append(_note(words, f"no row in {table.name}", without))


def _rows_of(
    path: str, by_path: Mapping[str, list[int]], by_name: Mapping[str, list[int]]
) -> list[int]:
    """Rows that name this file: by its path or else by its name; then they may mean others too."""
    if path in by_path:
        return by_path[path]
    file = Path(path)
    # A table may name pictures by number, without the ending.
    return by_name.get(file.name) or by_name.get(file.stem) or []


def _doubles(
    table: Path, rows: Sequence[Mapping[str, Any]], column: str, groups: Iterable[Sequence[int]]
) -> list[str]:
    """What to say of files that several rows name; rows are numbered as a spreadsheet does."""
    first = 2 if table.suffix.lower() in (".csv", ".tsv") else 1  # below the header
    several = [numbers for numbers in groups if len(numbers) > 1]
    notes = []
    for numbers in several[:NAMED_IN_A_NOTE]:
        shown = [str(number + first) for number in numbers]
        both, counts = ("both", "later") if len(numbers) == 2 else ("all", "last")
        name = printable_name(str(rows[numbers[-1]][column]))
        notes.append(
            f"rows {', '.join(shown[:-1])} and {shown[-1]} of {table.name} {both} name {name};"
            f" the {counts} one counts"
        )
    if (more := len(several) - NAMED_IN_A_NOTE) > 0:
        notes.append(f"{table.name} names {more} more pictures in several rows")
    return notes


def _note(words: tuple[str, str], what: str, names: Sequence[str]) -> str:
    """`words`: how the sentence begins for one, and for several."""
    shown = ", ".join(printable_name(name) for name in names[:NAMED_IN_A_NOTE])
    more = ", ..." if len(names) > NAMED_IN_A_NOTE else ""
    return f"{len(names)} {words[len(names) != 1]} {what}: {shown}{more}"


def _absolute(path: str | os.PathLike[str]) -> str:
    return os.path.abspath(path)  # noqa: PTH100 - Path.resolve would follow links


def _within(path: str, root: str) -> bool:
    if glob.has_magic(root) and not Path(root).exists():
        return fnmatch.fnmatchcase(path, root)
    return path == root or path.startswith(root.rstrip(os.sep) + os.sep)
