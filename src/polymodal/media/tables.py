"""Metadata tables: CSV, JSON lines or a JSON array to one dict a row.

Notable: a CSV column has one type, found over all its cells, so that `price < 2000` never meets a
price that is text and an article number `007` keeps its zeros; an empty cell is an absent key.
Every complaint names the file and the line.
"""

from __future__ import annotations

import csv
import io
import json
import os
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, NoReturn

from polymodal.errors import UsageError
from polymodal.media.files import printable_name

__all__ = ["PATH_COLUMNS", "path_column", "read_rows"]

PATH_COLUMNS = (
    *("path", "file", "filename", "image", "image_path", "filepath"),
    *("file_name", "file_path", "picture"),
)
"""Headers that name the picture of a row, in order of preference; case does not matter."""

_DELIMITERS = ",;\t"
_ABSENT = {"", "n/a", "na", "nan", "none", "null", "-"}
"""Cells of a number column that say there is no number."""
_INTEGER = re.compile(r"-?(0|[1-9][0-9]{0,17})")
_FLOAT = re.compile(r"-?(0|[1-9][0-9]*)?\.[0-9]+([eE][+-]?[0-9]{1,2})?|-?(0|[1-9][0-9]{0,17})")
_BOOLS = {"true": True, "false": False}


def read_rows(path: str | os.PathLike[str]) -> list[dict[str, Any]]:
    """The rows of a metadata table, in order.

    CSV (UTF-8; separated by comma, semicolon or tab, found from its header) or, told by how the
    content begins, JSON lines or a JSON array of objects. CSV values are int, float, bool or str by
    column; empty cells and JSON nulls are absent from their row.

    Raises:
        UsageError: the file is missing, is none of these, or one of its lines cannot be read; the
            message names file and line.
    """
    table = _Table(path)
    if table.suffix not in {".csv", ".tsv"}:
        start = table.text.lstrip()[:1]
        if start == "[":
            return list(_json_array(table))
        if start == "{":
            return list(_json_lines(table))
        if table.suffix in {".json", ".jsonl", ".ndjson"}:
            table.fail(1, "does not begin with a JSON object or array")
    return _csv_rows(table)


def path_column(rows: Sequence[Mapping[str, Any]], table: str = "the table") -> str:
    """The column that names each row's picture, spelt as in the table; `table` is for messages.

    Raises:
        UsageError: no column is called one of `PATH_COLUMNS`.
    """
    seen: dict[str, str] = {}
    for row in rows:
        for column in row:
            seen.setdefault(column.lower(), column)
    for name in PATH_COLUMNS:
        if name in seen:
            return seen[name]
    raise UsageError(
        f"{table} has no column for the pictures' paths: name it one of {', '.join(PATH_COLUMNS)}"
        f" (found: {', '.join(seen.values()) or 'no columns'})"
    )


class _Table:
    """A table's text, and how to complain about it."""

    def __init__(self, path: str | os.PathLike[str]) -> None:
        self.name = printable_name(path)
        self.suffix = Path(path).suffix.lower()
        try:
            data = Path(path).read_bytes()
        except (OSError, ValueError) as error:
            reason = (getattr(error, "strerror", None) or str(error)).lower()
            raise UsageError(f"cannot read the table {self.name}: {reason}") from error
        encoding = "utf-16" if data[:2] in {b"\xff\xfe", b"\xfe\xff"} else "utf-8-sig"
        try:
            self.text = data.decode(encoding)
        except UnicodeDecodeError as error:
            line = data.count(b"\n", 0, error.start) + 1
            self.fail(line, "is not UTF-8: save the table as UTF-8 (Excel: 'CSV UTF-8')")

    def fail(self, line: int, reason: str) -> NoReturn:
        """Raise the error for one line, counted from 1."""
        raise UsageError(f"{self.name}, line {line}: {reason}") from None


def _csv_rows(table: _Table) -> list[dict[str, Any]]:
    reader = csv.reader(io.StringIO(table.text, newline=""), delimiter=_delimiter(table.text))
    header: list[str] = []
    lines: list[list[str]] = []
    try:
        for cells in reader:
            if not any(cell.strip() for cell in cells):
                continue
            if not header:
                header = _checked_header(table, reader.line_num, cells)
            elif len(cells) > len(header):
                table.fail(
                    reader.line_num, f"has {len(cells)} cells, but the header has {len(header)}"
                )
            else:
                lines.append([cell.strip() for cell in cells])
    except csv.Error as error:
        table.fail(reader.line_num, str(error))
    rows: list[dict[str, Any]] = [{} for _ in lines]
    for index, column in enumerate(header):
        cells = [line[index] if index < len(line) else "" for line in lines]
        for row, value in zip(rows, _typed(column, cells), strict=True):
            if value is not None:
                row[column] = value
    return rows


def _checked_header(table: _Table, line: int, cells: Sequence[str]) -> list[str]:
    header = [cell.strip() for cell in cells]
    for index, column in enumerate(header):
        if not column:
            table.fail(line, f"column {index + 1} of the header has no name")
        if column in header[:index]:
            table.fail(line, f"the header has two columns called '{column}'")
    return header


def _delimiter(text: str) -> str:
    """The separator that splits the header, shows a path column, and agrees with most rows."""

    def fitness(delimiter: str) -> tuple[bool, bool, int, int]:
        reader = csv.reader(io.StringIO(text[:100_000], newline=""), delimiter=delimiter)
        try:
            rows = [cells for _, cells in zip(range(20), reader, strict=False) if cells]
        except csv.Error:
            return False, False, 0, 0
        header = rows[0] if rows else []
        has_path = any(cell.strip().lower() in PATH_COLUMNS for cell in header)
        agreeing = sum(len(cells) == len(header) for cells in rows)
        return len(header) > 1, has_path, agreeing, len(header)

    return max(_DELIMITERS, key=fitness)


def _typed(column: str, cells: Sequence[str]) -> Iterator[Any]:
    """The cells of one column as the narrowest type that fits them all; None for absent ones."""
    convert: Callable[[str], Any] = str
    absent = {""}
    told = [cell for cell in cells if cell.lower() not in _ABSENT]
    if told and column.lower() not in PATH_COLUMNS:
        if all(_INTEGER.fullmatch(cell) for cell in told):
            convert, absent = int, _ABSENT
        elif all(_FLOAT.fullmatch(cell) for cell in told):
            convert, absent = float, _ABSENT
        elif all(cell.lower() in _BOOLS for cell in told):
            convert, absent = (lambda cell: _BOOLS[cell.lower()]), _ABSENT
    return (None if cell.lower() in absent else convert(cell) for cell in cells)


def _json_lines(table: _Table) -> Iterator[dict[str, Any]]:
    for number, line in enumerate(table.text.split("\n"), start=1):
        if line.strip():
            yield _json_row(table, number, _parsed(table, number, line))


def _json_array(table: _Table) -> Iterator[dict[str, Any]]:
    for number, value in enumerate(_parsed(table, 1, table.text), start=1):
        if not isinstance(value, dict):
            raise UsageError(f"{table.name}, item {number} of the array is not an object")
        yield _json_row(table, number, value)


def _parsed(table: _Table, line: int, text: str) -> Any:
    def refuse(constant: str) -> NoReturn:
        raise ValueError(f"{constant} is not valid JSON")

    try:
        return json.loads(text, parse_constant=refuse)
    except json.JSONDecodeError as error:
        table.fail(
            line + error.lineno - 1, f"is not valid JSON ({error.msg}, column {error.colno})"
        )
    except (ValueError, RecursionError) as error:
        table.fail(line, f"is not valid JSON ({error})")


def _json_row(table: _Table, line: int, value: Any) -> dict[str, Any]:
    if not isinstance(value, dict):
        table.fail(line, "is not a JSON object")
    return {key: item for key, item in value.items() if item is not None}
