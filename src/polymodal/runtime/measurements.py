"""Scores that were measured on this machine, kept in the home folder with their date.

Notable: one line of JSON a measurement, only ever appended, so two processes do not lose each
other's; the latest of a model, task, precision and data counts.
"""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from pathlib import Path

from polymodal.errors import StorageError
from polymodal.runtime.home import default_home

__all__ = ["Measurement", "keep", "kept", "today"]

FILE = "measurements.jsonl"


@dataclass(frozen=True)
class Measurement:
    """A model's score on somebody's own data.

    Attributes:
        precision: as `--dtype` and `--quantize` said: "bfloat16 4bit"; "" for the model's own.
        value, low, high: the score in 0..1 and its 95 % interval.
        count: items that it was measured on; `failed` are those that could not be, and count as
            wrong; `truncated` of these were cut off at `max_tokens`, 0 of what does not write.
        latency_ms: of one item, half of them are faster; `latency_p95_ms`: of the slow ones.
        memory_bytes: what loading took.
        data: the name of the data; `fingerprint` is of its content.
        date: ISO, of the day.
    """

    model: str
    task: str
    metric: str
    value: float
    low: float
    high: float
    count: int
    failed: int
    latency_ms: float
    latency_p95_ms: float
    memory_bytes: int
    data: str
    fingerprint: str
    date: str
    precision: str = ""
    truncated: int = 0
    max_tokens: int = 0


def today() -> str:
    """The date, in UTC."""
    return datetime.now(UTC).date().isoformat()


def keep(measurement: Measurement, home: Path | None = None) -> Path:
    """Append a measurement; returns the file.

    Raises:
        StorageError: the home folder cannot be written.
    """
    file = (home or default_home()) / FILE
    try:
        file.parent.mkdir(parents=True, exist_ok=True)
        with file.open("a", encoding="utf-8") as opened:
            opened.write(json.dumps(asdict(measurement)) + "\n")
    except OSError as error:
        raise StorageError(f"{file} cannot be written: {error.strerror}.") from error
    return file


def kept(task: str, home: Path | None = None) -> list[Measurement]:
    """The measurements of a task, latest of each model, precision and data; oldest first.

    A line that cannot be read (cut off, or of a later version) is passed over.
    """
    file = (home or default_home()) / FILE
    latest: dict[tuple[str, str, str], Measurement] = {}
    try:
        lines = file.read_text(encoding="utf-8").splitlines()
    except OSError:
        return []
    for line in lines:
        try:
            found = Measurement(**json.loads(line))
        except (ValueError, TypeError):
            continue
        if found.task == task:
            key = (found.model, found.precision, found.fingerprint)
            latest.pop(key, None)
            latest[key] = found
    return list(latest.values())
