"""What may run code on this machine: nothing, unless the user says so.

Notable: a checkpoint's own code is allowed by the checkpoint's name, one by one, never for all. It
has to lie beside the weights: transformers would also fetch it from a repository that nobody named.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from polymodal.errors import ModelUnavailable

__all__ = ["NOTHING", "Trust", "code_files", "needs_code", "watched"]

NAMED = "auto_map"
"""Where a checkpoint's JSON files name the classes that come with it."""
FILES = (
    "config.json",
    "processor_config.json",
    "preprocessor_config.json",
    "video_preprocessor_config.json",
    "tokenizer_config.json",
)


@dataclass(frozen=True)
class Trust:
    """What the user allowed of checkpoints.

    Attributes:
        pickles: pickled weights, where there are no others.
        code: names of checkpoints, exactly as they are asked for, whose own code may run.
    """

    pickles: bool = False
    code: tuple[str, ...] = ()

    def runs_code_of(self, name: str) -> bool:
        """Whether the checkpoint was named."""
        for opened in _WATCHING:
            opened.append(name)
        return name in self.code


NOTHING = Trust()
_WATCHING: list[list[str]] = []


@contextmanager
def watched() -> Iterator[list[str]]:
    """Names of the checkpoints that are opened meanwhile, by any thread; some more than once."""
    opened: list[str] = []
    _WATCHING.append(opened)
    try:
        yield opened
    finally:
        # Two that have seen the same are equal, so not by `remove`.
        _WATCHING[:] = [each for each in _WATCHING if each is not opened]


def code_files(folder: Path) -> tuple[str, ...]:
    """Names of the Python files that a checkpoint's JSON files name; sorted.

    Raises:
        ModelUnavailable: its code lies in another repository.
        DamagedWeights: a JSON file cannot be read.
    """
    from polymodal.models.tensorfiles import read_json

    present = [folder / name for name in FILES if (folder / name).is_file()]
    classes = {each for path in present for each in _classes(read_json(path).get(NAMED))}
    for each in sorted(classes):
        repository, elsewhere, _ = each.partition("--")
        if elsewhere:
            raise ModelUnavailable(
                f"{folder} names code of another repository, {repository} ({NAMED}: {each}); only"
                " code that lies beside the weights is run. Copy its files here and name them"
                " without the repository."
            )
    return tuple(sorted({f"{each.partition('.')[0]}.py" for each in classes}))


def needs_code(name: str) -> ModelUnavailable:
    """The error for a checkpoint whose code may not run."""
    return ModelUnavailable(
        f"{name} needs code that comes with it ({NAMED} in its files), which is run only where the"
        f" checkpoint is named. Read that code, then say --allow-remote-code {name} (in Python"
        f" allow_remote_code=[{name!r}]); or use a checkpoint of a family that transformers itself"
        " has."
    )


def _classes(named: Any) -> Iterator[str]:
    values = named.values() if isinstance(named, dict) else ()
    for value in values:
        for each in value if isinstance(value, list) else [value]:
            if isinstance(each, str):
                yield each
