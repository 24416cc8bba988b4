"""Somebody's own labelled data: a folder with a subfolder a class, or a table (JSONL, CSV, JSON).

Notable: columns are found by name, as everywhere; a table's relative paths count from its folder.
"""

from __future__ import annotations

import hashlib
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from polymodal.errors import UsageError
from polymodal.media.files import PICTURE_EXTENSIONS
from polymodal.media.tables import path_column, read_rows

__all__ = ["Data", "Labelled", "read_data", "task_of"]

SOUND_COLUMNS = ("audio", "sound", "path", "file", "filename")
TRUTHS: Mapping[str, tuple[str, ...]] = {
    "classify": ("label", "class", "category"),
    "few-shot": ("label", "class", "category"),
    "moderate": ("label", "approved"),
    "search": ("caption", "captions", "text", "description", "query"),
    "caption": ("caption", "captions", "text", "description"),
    "transcribe": ("text", "transcript", "transcription", "sentence"),
    "vqa": ("answer", "answers"),
    "complex-vqa": ("answer", "answers"),
    "document": ("answer", "answers"),
}
"""Columns that hold what is right, by task."""
QUESTIONS = ("question", "query")
ASKED = ("vqa", "complex-vqa", "document")
FOLDERS = ("classify", "few-shot", "moderate")


@dataclass(frozen=True)
class Labelled:
    """An input and what is right of it; `truths` are all answers that count as right."""

    path: Path
    truths: tuple[str, ...]
    question: str = ""


@dataclass(frozen=True)
class Data:
    """Labelled items; `fingerprint` changes when one of them does."""

    name: str
    items: tuple[Labelled, ...]
    fingerprint: str

    @property
    def labels(self) -> list[str]:
        """Every truth there is, sorted."""
        return sorted({truth for item in self.items for truth in item.truths})


def read_data(source: str | os.PathLike[str], task: str) -> Data:
    """The labelled items for a task.

    Raises:
        UsageError: nothing is there, a column is missing, or videos are to be measured.
    """
    path = Path(source).expanduser()
    if task not in TRUTHS:
        raise UsageError(
            f"{task} cannot be measured on files; measure complex-vqa on frames of the videos."
        )
    if path.is_dir():
        if task not in FOLDERS:
            wanted = " and ".join(_wanted(task))
            raise UsageError(
                f"{path} is a folder, which says only of what class a picture is. For {task} give"
                f" a JSONL or CSV file with columns {wanted}."
            )
        items = _of_folder(path)
    else:
        items = _of_table(path, task)
    if len(items) < 2:
        raise UsageError(f"{path} has {len(items)} labelled items for {task}; give at least two.")
    return Data(path.name, tuple(items), _fingerprint(items))


def task_of(source: str | os.PathLike[str], does_vectors: bool) -> str:
    """The task that data is for, by its columns and by what the model does.

    Raises:
        UsageError: the data is of none that such a model does.
    """
    path = Path(source).expanduser()
    if does_vectors:
        return "classify" if path.is_dir() or _has(path, TRUTHS["classify"]) else "search"
    if not path.is_dir() and _has(path, QUESTIONS) and _has(path, TRUTHS["vqa"]):
        return "vqa"
    if not path.is_dir() and _has(path, TRUTHS["caption"]):
        return "caption"
    raise UsageError(
        f"{path} has neither questions with answers nor captions, which a model that writes is"
        " measured on: a JSONL or CSV file with columns image, question and answer."
    )


def _has(path: Path, names: Sequence[str]) -> bool:
    present = {key.lower() for row in read_rows(path)[:20] for key in row}
    return any(name in present for name in names)


def _wanted(task: str) -> list[str]:
    picture = "audio" if task == "transcribe" else "image"
    asked = ["question"] if task in ASKED else []
    return [picture, *asked, TRUTHS[task][0]]


def _of_folder(folder: Path) -> list[Labelled]:
    found = []
    for part in sorted(each for each in folder.iterdir() if each.is_dir()):
        files = sorted(each for each in part.iterdir() if each.suffix.lower() in PICTURE_EXTENSIONS)
        found += [Labelled(each, (part.name,)) for each in files]
    if not found:
        raise UsageError(f"{folder} has no pictures in subfolders; a subfolder is a class.")
    return found


def _of_table(path: Path, task: str) -> list[Labelled]:
    rows = read_rows(path)
    if task == "transcribe":
        file = _column(rows, SOUND_COLUMNS, path, task)
    else:
        file = path_column(rows, os.fspath(path))
    truth = _column(rows, TRUTHS[task], path, task)
    question = _column(rows, QUESTIONS, path, task) if task in ASKED else ""
    found = []
    for number, row in enumerate(rows, 1):
        truths = _texts(row.get(truth))
        name = str(row.get(file, "")).strip()
        if not name or not truths or (question and not str(row.get(question, "")).strip()):
            raise UsageError(f"{path}, row {number}: {file}, {truth} or the question is empty.")
        found.append(Labelled(path.parent / name, truths, str(row.get(question, "")).strip()))
    return found


def _column(rows: Sequence[Mapping[str, Any]], names: Sequence[str], path: Path, task: str) -> str:
    present = {key.lower(): key for row in rows for key in row}
    for name in names:
        if name in present:
            return present[name]
    raise UsageError(
        f"{path} has no column for {task} that is called {' or '.join(names)}"
        f" (found: {', '.join(present.values()) or 'no columns'})."
    )


def _texts(value: Any) -> tuple[str, ...]:
    values = value if isinstance(value, list) else [value]
    return tuple(text for each in values if each is not None and (text := str(each).strip()))


def _fingerprint(items: Sequence[Labelled]) -> str:
    digest = hashlib.sha256()
    for item in items:
        size = item.path.stat().st_size if item.path.is_file() else -1
        digest.update(f"{item.path.name}\0{size}\0{item.question}\0{item.truths}\n".encode())
    return digest.hexdigest()[:16]
