"""What was asked and answered: an append-only record of every generative call.

Notable: inputs are named by their SHA-256, never stored, and text that was read from media is left
out of prompts; answers are kept, since reviewing them is what the journal is for. Values of
variables that hold keys are struck out. The file refuses changes: a label is a record of its own.
A journal that cannot be written warns once and stops no run. What is done with it: `review.py`.
"""

from __future__ import annotations

import json
import os
import sqlite3
import time
import warnings
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from polymodal.errors import UsageError
from polymodal.runtime.database import Database
from polymodal.runtime.home import default_home, switched_off
from polymodal.runtime.redaction import secrets_now, struck_out

__all__ = ["Call", "Journal", "Label", "open_journal"]

FILE = "journal-v1.sqlite3"
SCHEMA = """
CREATE TABLE calls (
    id INTEGER PRIMARY KEY, time_s REAL NOT NULL, verb TEXT NOT NULL, model TEXT NOT NULL,
    revision TEXT NOT NULL, prompt TEXT NOT NULL, parameters TEXT NOT NULL, inputs TEXT NOT NULL,
    output TEXT NOT NULL, finish TEXT NOT NULL, confidence REAL, latency_s REAL, batch INTEGER,
    prompt_tokens INTEGER, tokens INTEGER, cost_usd REAL
);
CREATE TABLE labels (
    id INTEGER PRIMARY KEY, call INTEGER NOT NULL REFERENCES calls (id), time_s REAL NOT NULL,
    correct INTEGER NOT NULL, note TEXT NOT NULL
);
CREATE INDEX label_of ON labels (call);
CREATE TABLE draws (
    id INTEGER PRIMARY KEY, call INTEGER NOT NULL REFERENCES calls (id), time_s REAL NOT NULL,
    how TEXT NOT NULL
);
CREATE INDEX draw_of ON draws (call);
""" + "".join(
    f"CREATE TRIGGER {table}_{act} BEFORE {act} ON {table}"
    " BEGIN SELECT RAISE(ABORT, 'the journal is append-only'); END;\n"
    for table in ("calls", "labels", "draws")
    for act in ("UPDATE", "DELETE")
)
COLUMNS = [
    "id",
    "time_s",
    "verb",
    "model",
    "revision",
    "prompt",
    "parameters",
    "inputs",
    "output",
    "finish",
    "confidence",
    "latency_s",
    "batch",
    "prompt_tokens",
    "tokens",
    "cost_usd",
]

JSON_COLUMNS = ("parameters", "inputs")


@dataclass(frozen=True)
class Call:
    """One question to a model and its answer.

    Attributes:
        id: its number in the journal; 0 until it is recorded.
        time_s: when the answer came, seconds since 1970.
        prompt: what was asked, a line a message; text read from media stands as its hash.
        parameters: options that differ from the defaults.
        inputs: {"kind", "name", "sha256"} of each picture, sound or document.
        output: the answer; for a failed call the reason.
        finish: "stop", "length", "refused", or "error".
        confidence: 0..1, where the model tells.
        latency_s: from question to answer; of the whole batch where it was asked as one.
        batch: how many were asked together.
    """

    verb: str
    model: str
    revision: str
    output: str
    prompt: str = ""
    parameters: Mapping[str, Any] = field(default_factory=dict)
    inputs: Sequence[Mapping[str, str]] = ()
    finish: str = "stop"
    confidence: float | None = None
    latency_s: float | None = None
    batch: int = 1
    prompt_tokens: int | None = None
    tokens: int | None = None
    cost_usd: float | None = None
    id: int = 0
    time_s: float = field(default_factory=time.time)

    def to_dict(self) -> dict[str, Any]:
        """JSON values, the time in ISO 8601 (UTC); what is not known is null."""
        when = datetime.fromtimestamp(self.time_s, UTC).isoformat("T", "milliseconds")
        return {"id": self.id, "time": when} | {name: getattr(self, name) for name in COLUMNS[2:]}


@dataclass(frozen=True)
class Label:
    """What a person said of an answer; the last one counts."""

    call: int
    correct: bool
    time_s: float
    note: str = ""


class Journal:
    """The record in one file. Safe to use from several threads and processes."""

    def __init__(self, path: str | os.PathLike[str] | None = None) -> None:
        """Nothing is opened yet; by default the file lies in polymodal's home folder."""
        where = default_home() / FILE if path is None else path
        self._data = Database(where, SCHEMA, version=1, what="journal")
        self._complained = False

    @property
    def path(self) -> Path:
        """The file; it may not exist yet."""
        return self._data.path

    def record(self, calls: Sequence[Call]) -> None:
        """Append calls, all or none; their `id` is given here."""
        names = ", ".join(COLUMNS[1:])
        marks = ", ".join("?" * (len(COLUMNS) - 1))
        secrets = secrets_now()
        rows = [_row(call, secrets) for call in calls]
        statement = f"INSERT INTO calls ({names}) VALUES ({marks})"
        try:
            self._data.write(lambda c: c.executemany(statement, rows))
        except (sqlite3.Error, OSError, UsageError) as error:
            self._complain(error)

    def calls(
        self,
        *,
        verb: str | None = None,
        model: str | None = None,
        ids: Sequence[int] | None = None,
        last: int | None = None,
    ) -> list[Call]:
        """Calls in the order in which they were made.

        Args:
            verb, model: only of these.
            ids: only these, as far as they exist.
            last: only so many, the newest.

        Raises:
            StorageError: the file cannot be read.
        """
        where, values = _where(verb, model, ids)
        query = f"SELECT {', '.join(COLUMNS)} FROM calls{where} ORDER BY id DESC LIMIT ?"
        rows = self._rows(query, [*values, -1 if last is None else last])
        return [_call(row) for row in reversed(rows)]

    def answered(self, *, verb: str | None = None, model: str | None = None) -> dict[int, Any]:
        """The confidence (or None) of every call that got an answer, by number."""
        where, values = _where(verb, model, None)
        joined = f"{where} AND" if where else " WHERE"
        query = f"SELECT id, confidence FROM calls{joined} finish != 'error' ORDER BY id"
        return dict(self._rows(query, values))

    def __len__(self) -> int:
        return int((self._rows("SELECT count(*) FROM calls", []) or [(0,)])[0][0])

    def label(self, call: int, correct: bool, note: str = "") -> Call:
        """Append what a person says of an answer; earlier labels of it stay, and count no more.

        Raises:
            UsageError: there is no such call.
            StorageError: the file cannot be written.
        """
        if not (found := self.calls(ids=[call])):
            raise UsageError(f"the journal has no call {call}: see `polymodal journal list`.")
        row = (call, time.time(), int(correct), struck_out(note))
        insert = "INSERT INTO labels (call, time_s, correct, note) VALUES (?, ?, ?, ?)"
        with self._data.named_errors():
            self._data.write(lambda c: c.execute(insert, row))
        return found[0]

    def labels(self) -> dict[int, Label]:
        """The label that counts, by call."""
        rows = self._rows("SELECT call, correct, time_s, note FROM labels ORDER BY id", [])
        return {call: Label(call, bool(correct), at, note) for call, correct, at, note in rows}

    def draw(self, calls: Sequence[int], how: str) -> None:
        """Append that calls were drawn for review, and how ("random", "uncertain").

        Raises:
            StorageError: the file cannot be written.
        """
        known = self.drawn(how)
        rows = [(call, time.time(), how) for call in calls if call not in known]
        insert = "INSERT INTO draws (call, time_s, how) VALUES (?, ?, ?)"
        if rows:
            with self._data.named_errors():
                self._data.write(lambda c: c.executemany(insert, rows))

    def drawn(self, how: str) -> set[int]:
        """Calls that were drawn that way."""
        return {call for (call,) in self._rows("SELECT call FROM draws WHERE how = ?", [how])}

    def close(self) -> None:
        """Let go of the file; the next use opens it again."""
        self._data.close()

    def _rows(self, query: str, values: Sequence[Any]) -> list[Any]:
        if not self.path.exists():
            return []
        with self._data.named_errors():
            return self._data.read(lambda c: c.execute(query, values).fetchall())

    def _complain(self, error: Exception) -> None:
        if not self._complained:
            self._complained = True
            warnings.warn(
                f"the journal {self.path} cannot be written ({error}): answers are not recorded.",
                UserWarning,
                stacklevel=3,
            )


def _where(verb: str | None, model: str | None, ids: Sequence[int] | None) -> tuple[str, list[Any]]:
    """A WHERE clause and its values; empty where everything is wanted."""
    clauses = []
    values: list[Any] = []
    for column, wanted in (("verb", verb), ("model", model)):
        if wanted is not None:
            clauses.append(f"{column} = ?")
            values.append(wanted)
    if ids is not None:
        clauses.append("id IN (SELECT value FROM json_each(?))")
        values.append(json.dumps(list(ids)))
    return (f" WHERE {' AND '.join(clauses)}" if clauses else ""), values


def _row(call: Call, secrets: Sequence[str]) -> tuple[Any, ...]:
    values = []
    for name in COLUMNS[1:]:
        value = getattr(call, name)
        if name in JSON_COLUMNS:
            value = json.dumps(value, default=str)
        # Lone surrogates (file names that are not UTF-8) cannot be stored as text.
        values.append(struck_out(value, secrets) if isinstance(value, str) else value)
    return tuple(values)


def _call(row: Sequence[Any]) -> Call:
    values = dict(zip(COLUMNS, row, strict=True))
    for name in JSON_COLUMNS:
        values[name] = json.loads(values[name])
    return Call(**values)


def open_journal(
    setting: bool | str | os.PathLike[str] | Journal = True, home: Path | None = None
) -> Journal | None:
    """The journal of a setting: on (in the home folder), off, a file's path, or a `Journal`.

    `POLYMODAL_JOURNAL=off` turns every journal off.
    """
    if setting is False or switched_off("POLYMODAL_JOURNAL"):
        return None
    if isinstance(setting, Journal):
        return setting
    return Journal((home or default_home()) / FILE if setting is True else setting)
