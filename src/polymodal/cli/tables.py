"""Tables that fit the terminal: drawn by rich on one, aligned plain text everywhere else.

Notable: the widths are worked out here for both. A path gives way in its middle (the folder and
the file's ending are what people read), the last column at its end.
"""

from __future__ import annotations

import os
import shutil
import sys
import textwrap
import unicodedata
from collections.abc import Sequence

__all__ = [
    "cell_width",
    "fit_columns",
    "is_cut",
    "line_width",
    "print_table",
    "shorten_end",
    "shorten_middle",
    "wrapped_lines",
]

GAP = 2
"""Blanks between two columns."""
LEAST_TEXT, LEAST_PATH, LEAST = 22, 30, 8
"""Texts give way first, down to `LEAST_TEXT` cells; then paths; at last every column."""
PLAIN_WIDTH = 80
LEAST_WIDTH = 30
"""Of what is wrapped behind a label."""


def print_table(
    columns: Sequence[str],
    rows: Sequence[Sequence[str]],
    *,
    paths: Sequence[int] = (),
    numbers: Sequence[int] = (),
    whole: Sequence[int] = (),
) -> None:
    """Print to stdout.

    Args:
        paths: indices of columns that are shortened in the middle.
        whole: of columns that are not shortened: what stands there is typed again.
        numbers: indices of columns that are aligned to the right.
    """
    on_terminal, width = sys.stdout.isatty(), line_width()
    fitted = fit_columns(columns, rows, width=width - 1, paths=paths, whole=whole)
    if on_terminal and os.environ.get("TERM") != "dumb":
        _print_rich(fitted, width, numbers)
    else:
        _print_plain(fitted, numbers)


def is_cut(
    columns: Sequence[str],
    rows: Sequence[Sequence[str]],
    kept: Sequence[int],
    *,
    paths: Sequence[int] = (),
) -> bool:
    """Whether a cell of the columns `kept`, which people want to the end, would be shortened."""
    fitted = fit_columns(columns, rows, width=line_width() - 1, paths=paths)[1:]
    return any(fit[i] != row[i] for fit, row in zip(fitted, rows, strict=True) for i in kept)


def line_width() -> int:
    """Cells that a line on stdout may have."""
    if sys.stdout.isatty():
        return shutil.get_terminal_size((PLAIN_WIDTH, 24)).columns
    return _plain_width()


def wrapped_lines(text: str, start: str) -> list[str]:
    """`text` behind `start` and, below, indented as far; a word (an address) stays whole."""
    lines = textwrap.wrap(
        text,
        max(len(start) + LEAST_WIDTH, line_width() - 1),
        initial_indent=start,
        subsequent_indent=" " * max(2, len(start)),
        break_long_words=False,
        break_on_hyphens=False,
    )
    return lines or [start]


def fit_columns(
    columns: Sequence[str],
    rows: Sequence[Sequence[str]],
    *,
    width: int,
    paths: Sequence[int] = (),
    whole: Sequence[int] = (),
) -> list[list[str]]:
    """The heading and the rows with cells shortened so that a line is at most `width` cells."""
    table = [list(columns), *(list(row) for row in rows)]
    wanted = [max(cell_width(row[i]) for row in table) for i in range(len(columns))]
    room = width - GAP * (len(columns) - 1)
    texts = [i for i in range(len(wanted)) if i not in paths and i not in whole]
    widths = _narrow(wanted, room, texts, LEAST_TEXT)
    widths = _narrow(widths, room, paths, LEAST_PATH)
    widths = _narrow(widths, room, [*texts, *paths], LEAST)
    return [
        [
            shorten_middle(cell, widths[i]) if i in paths else shorten_end(cell, widths[i])
            for i, cell in enumerate(row)
        ]
        for row in table
    ]


def _narrow(wanted: Sequence[int], room: int, which: Sequence[int], least: int) -> list[int]:
    """Take cells from the widest of `which`, again and again, until the line fits."""
    widths = list(wanted)
    while which and sum(widths) > room:
        widest = max(which, key=lambda i: widths[i])
        if widths[widest] <= least:
            break
        widths[widest] -= 1
    return widths


def cell_width(text: str) -> int:
    """Terminal cells that `text` takes: wide characters count two, combining ones none."""
    if text.isascii():
        return len(text)
    return sum(_character_width(character) for character in text)


def shorten_end(text: str, width: int) -> str:
    """At most `width` cells, cut at the end with an ellipsis."""
    if cell_width(text) <= width:
        return text
    return _take(text, width - 1).rstrip() + "…"


def shorten_middle(text: str, width: int) -> str:
    """At most `width` cells, cut in the middle; the end of a path keeps the larger part."""
    if cell_width(text) <= width:
        return text
    head = (width - 1) // 3
    tail = _take(text[::-1], width - 1 - head)[::-1]
    return f"{_take(text, head)}…{tail}"


def _character_width(character: str) -> int:
    if unicodedata.combining(character) or unicodedata.category(character) in {"Cf", "Mn", "Me"}:
        return 0
    return 2 if unicodedata.east_asian_width(character) in "WF" else 1


def _take(text: str, width: int) -> str:
    used = 0
    for position, character in enumerate(text):
        used += _character_width(character)
        if used > width:
            return text[:position]
    return text


def _plain_width() -> int:
    columns = os.environ.get("COLUMNS", "")
    return int(columns) if columns.isdigit() and int(columns) >= 40 else PLAIN_WIDTH


def _print_plain(table: Sequence[Sequence[str]], numbers: Sequence[int]) -> None:
    widths = [max(cell_width(row[i]) for row in table) for i in range(len(table[0]))]
    for row in table:
        cells = []
        for i, cell in enumerate(row):
            padding = " " * (widths[i] - cell_width(cell))
            cells.append(padding + cell if i in numbers else cell + padding)
        print((" " * GAP).join(cells).rstrip())


def _print_rich(table: Sequence[Sequence[str]], width: int, numbers: Sequence[int]) -> None:
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    drawn = Table(box=None, padding=(0, GAP, 0, 0), header_style="bold", pad_edge=False)
    for i, heading in enumerate(table[0]):
        drawn.add_column(
            heading,
            justify="right" if i in numbers else "left",
            style="cyan" if i in numbers else None,
            no_wrap=True,
        )
    for row in table[1:]:
        drawn.add_row(*(Text(cell) for cell in row))
    Console(width=width, highlight=False).print(drawn)
