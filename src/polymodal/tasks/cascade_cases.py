"""What a cascade is given: tables of pictures with texts and labels, files, or pairs in memory."""

from __future__ import annotations

import os
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeAlias

from polymodal.errors import UsageError
from polymodal.media.pictures import ImageInput
from polymodal.media.tables import path_column, read_rows
from polymodal.runtime.judging import Case
from polymodal.tasks.match import TEXT_COLUMNS, text_column

__all__ = ["CaseInput", "Labelled", "as_cases", "read_cases"]

LABEL_COLUMNS = ("label", "match", "matches", "approved", "yes", "correct", "truth")
YES = {"1", "true", "yes", "y", "match", "matches", "approve", "approved", "ok", "good"}
NO = {
    *("0", "false", "no", "n", "mismatch", "no match", "reject", "rejected"),
    *("bad", "wrong"),
}


@dataclass(frozen=True, eq=False)
class Labelled(Case):
    """A case, and what is true of it where that is known."""

    label: bool | None = None


CaseInput: TypeAlias = "ImageInput | tuple[ImageInput, str] | tuple[ImageInput, str, bool]"
"""A picture; with a text; with a text and what is true. A `Labelled` is one too."""


def as_cases(inputs: Iterable[Any] | str | os.PathLike[str]) -> Iterable[Labelled]:
    """Cases of a table's path, or of pictures, pairs and triples in memory; lazily for the latter.

    Raises:
        UsageError: the table cannot be read.
    """
    if isinstance(inputs, str | os.PathLike):
        return read_cases(inputs)
    return (_case(each) for each in inputs)


def _case(given: Any) -> Labelled:
    if isinstance(given, Labelled):
        return given
    if isinstance(given, tuple):
        image, text, *label = given
        return Labelled(image, text, bool(label[0]) if label else None)
    return Labelled(given)


def read_cases(path: str | os.PathLike[str], *, labelled: bool = False) -> list[Labelled]:
    """The cases of a CSV, JSON or JSONL table; a relative path counts from the table's folder.

    The columns are found by name: of the picture as `add` finds them, one of `TEXT_COLUMNS` where
    there is one, and one of `LABEL_COLUMNS` (yes or no, 1 or 0, true or false).

    Args:
        labelled: a label is needed in every row.

    Raises:
        UsageError: there are no rows or no such column, or a label is neither yes nor no.
    """
    rows, name = read_rows(path), os.fspath(path)
    if not rows:
        raise UsageError(f"{name} has no rows below a header such as: image,text,label")
    picture = path_column(rows, name)
    label = _column(rows, LABEL_COLUMNS)
    if labelled and label is None:
        raise UsageError(
            f"{name} has no column that says what is true: name one {LABEL_COLUMNS[0]!r}"
            f" (or {', '.join(LABEL_COLUMNS[1:])}), with yes or no in every row."
        )
    text = _column(rows, TEXT_COLUMNS) and text_column(name, rows, TEXT_COLUMNS)
    folder = Path(path).parent
    cases = []
    for number, row in enumerate(rows, 1):
        file = str(row.get(picture, "")).strip()
        words = "" if text is None else str(row.get(text, "")).strip()
        truth = None if label is None else _truth(row.get(label), name, number)
        if labelled and truth is None:
            raise UsageError(f"{name}, row {number}: {label} is empty; every row needs a label.")
        cases.append(Labelled(str(folder / file) if file else "", words, truth))
    return cases


def _column(rows: Sequence[dict[str, Any]], names: Sequence[str]) -> str | None:
    present = {key.lower(): key for row in rows for key in row}
    return next((present[name] for name in names if name in present), None)


def _truth(value: Any, name: str, row: int) -> bool | None:
    if value is None or value == "":
        return None
    word = str(value).strip().lower()
    if word in YES:
        return True
    if word in NO:
        return False
    raise UsageError(f"{name}, row {row}: the label {str(value)[:40]!r} is neither yes nor no.")
