"""What a command prints: JSON lines or text on stdout, everything else on stderr.

Notable: with `--json` nothing but JSON objects reaches stdout, failed items included; a failed
item is named on stderr either way. File names and metadata are untrusted: control characters are
shown as escapes, so that a name can neither break a line nor drive the terminal.
"""

from __future__ import annotations

import json
import math
import os
import sys
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from typing import TYPE_CHECKING, Any

import typer

if TYPE_CHECKING:
    from polymodal.results import ItemError

__all__ = ["Output", "printable", "to_json"]


class Output:
    """Where a command's results, notes and failures go.

    Attributes:
        failed: how many items failed so far; decides the exit code.
    """

    def __init__(self, *, as_json: bool, quiet: bool = False) -> None:
        self.as_json = as_json
        self.quiet = quiet
        self.failed = 0

    def line(self, values: Mapping[str, Any]) -> None:
        """One JSON object on stdout; nothing without `--json`."""
        if self.as_json:
            print(to_json(values))

    def text(self, text: str = "") -> None:
        """A line of text on stdout; nothing with `--json`."""
        if not self.as_json:
            print(printable(text))

    def wrapped(self, text: str, start: str = "") -> None:
        """A text behind `start`, over as many lines of the terminal as it needs."""
        from polymodal.cli.tables import wrapped_lines

        for line in wrapped_lines(text, start):
            self.text(line)

    def remark(self, text: str) -> None:
        """What belongs to the results for a person: with them, or on stderr with `--json`."""
        if self.as_json:
            self.note(text)
        elif not self.quiet:
            self.text(text)

    def note(self, text: str) -> None:
        """A line for the person on stderr; nothing with `--quiet`."""
        if not self.quiet:
            print(printable(text), file=sys.stderr)

    def fail(self, error: ItemError) -> None:
        """An item that failed: named on stderr, and a JSON line with `--json`."""
        self.failed += 1
        # An empty text is an input too; unquoted, it could not be seen.
        name = printable(error.input) if error.input.strip() else repr(error.input)
        print(f"failed: {name}: {printable(error.reason)}", file=sys.stderr)
        values = {"input": error.input, "error": error.reason, "kind": error.kind}
        tried = {"attempts": [asdict(each) for each in error.attempts]} if error.attempts else {}
        self.line({**values, **tried})

    def table(self, columns: Sequence[str], rows: Sequence[Sequence[str]], **layout: Any) -> None:
        """Rows under headings, on stdout, as wide as the terminal; nothing with `--json`."""
        if self.as_json or not rows:
            return
        from polymodal.cli.tables import print_table

        print_table(columns, [[printable(cell) for cell in row] for row in rows], **layout)

    def finish(self) -> None:
        """End the command: exit code 1 when an item failed."""
        if self.failed:
            raise typer.Exit(1)


def to_json(values: Mapping[str, Any]) -> str:
    """One line of strict JSON: no NaN, no raw newlines, valid UTF-8 whatever the file names are."""
    try:
        line = json.dumps(values, ensure_ascii=False, allow_nan=False, default=_plain)
        line.encode()
    except UnicodeEncodeError:  # a file name that is not UTF-8 arrives as lone surrogates
        return json.dumps(values, default=_plain)
    except ValueError:
        return to_json(_without_nan(values))
    return line


def printable(text: str, *, keep_newlines: bool = False) -> str:
    """`text` with control characters, and what only looks like a blank, as escapes."""
    if text.isprintable():
        return text
    return "".join(
        c if c.isprintable() or (keep_newlines and c == "\n") else repr(c)[1:-1] for c in text
    )


def _plain(value: Any) -> Any:
    """Numbers and arrays of numpy, paths, dates: what `json` does not know."""
    for method in ("tolist", "isoformat"):
        if hasattr(value, method):
            return getattr(value, method)()
    return os.fspath(value) if isinstance(value, os.PathLike) else str(value)


def _without_nan(value: Any) -> Any:
    if isinstance(value, Mapping):
        return {key: _without_nan(item) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [_without_nan(item) for item in value]
    if isinstance(value, float) and not math.isfinite(value):
        return None
    return value
