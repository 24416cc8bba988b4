"""The folder of a run: what exactly was run, on what, and what came of it.

`run.json` holds the recipe with its sources, the data's fingerprint, versions and the state of the
working copy; `log.jsonl` a line each time something is reported; `events` what TensorBoard reads;
`checkpoints` see `Checkpoints`. The finished model lies in the folder itself.
"""

from __future__ import annotations

import dataclasses
import json
import platform
import subprocess
import sys
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

from polymodal.errors import TrainingError, UsageError
from polymodal.training.ranks import ranks, wait_for_all
from polymodal.training.settings import Recipe, differences

__all__ = ["RunFolder", "begun", "recorded", "saving", "write_card"]

PACKAGES = ("polymodal", "torch", "transformers", "peft", "numpy", "pillow")
FREE = {"workers", "log_every", "validate_every", "save_every", "keep_last"}
"""Values that change nothing of what is computed."""


def recorded(recipe: Recipe, about: Mapping[str, Any]) -> dict[str, Any]:
    """What `run.json` says.

    Args:
        about: what the run is on: model, data, fingerprints.
    """
    return {
        "recipe": _plain(dataclasses.asdict(recipe)),
        "on": _plain(dict(about)),
        "versions": {"python": platform.python_version(), **_versions()},
        "git": _git_state(),
        "command": sys.argv,
    }


@contextmanager
def saving(folder: Path) -> Iterator[None]:
    """Say what a disk that refuses means for the run.

    Raises:
        TrainingError: the disk refused (full, read-only); the checkpoints are intact.
    """
    from safetensors import SafetensorError

    try:
        yield
    except (OSError, SafetensorError) as error:
        raise TrainingError(
            f"{folder} cannot be written to ({getattr(error, 'strerror', None) or error}); its"
            " checkpoints are intact. Free some space, then start again; --resume goes on with what"
            " was begun."
        ) from error


def write_card(folder: Path, record: Mapping[str, Any], scores: Mapping[str, float]) -> None:
    """README.md of a finished model: from what, on what, how and how good."""
    recipe, on = record["recipe"], record["on"]
    lines = [
        f"# {folder.resolve().name}",
        "",
        f"Trained by polymodal's recipe `{recipe['name']}` from {on['model']}.",
        "",
        *(f"- {name.replace('_', ' ')}: {_said(value)}" for name, value in on.items() if value),
        *(f"- {name.replace('_', ' ')}: {value}" for name, value in scores.items()),
        "",
        "The exact values are in `run.json`, with their sources. The licence and the limits of",
        "what it started from and of the data apply.",
        "",
    ]
    (folder / "README.md").write_text("\n".join(lines), encoding="utf-8")


def _said(value: Any) -> str:
    if isinstance(value, Mapping):
        return "; ".join(f"{name}: {each}" for name, each in value.items())
    return str(value)


def _plain(values: Any) -> Any:
    """As JSON gives it back: tuples are lists."""
    return json.loads(json.dumps(values))


def _versions() -> dict[str, str]:
    found = {}
    for name in PACKAGES:
        try:
            found[name] = version(name)
        except PackageNotFoundError:
            continue
    return found


def _git_state() -> dict[str, Any] | None:
    """Commit of the working copy that the run was started in, and whether it had changes."""

    def ask(*arguments: str) -> str:
        ran = subprocess.run(["git", *arguments], capture_output=True, text=True, check=True)
        return ran.stdout.strip()

    try:
        return {"commit": ask("rev-parse", "HEAD"), "changed": bool(ask("status", "--porcelain"))}
    except (OSError, subprocess.CalledProcessError):
        return None


class RunFolder:
    """Writes what a run reports; ranks but the first write nothing."""

    def __init__(self, path: Path, say: Callable[[str], None], *, writes: bool = True) -> None:
        self.path = path
        self._say = say
        self._writes = writes
        self._events: Any = None
        self.record: Mapping[str, Any] = {}

    @property
    def checkpoints(self) -> Path:
        """Where the checkpoints lie."""
        return self.path / "checkpoints"

    def begin(self, record: Mapping[str, Any], *, resume: bool, accept_changes: bool) -> None:
        """Write `run.json`, or compare with the one that is there.

        Raises:
            UsageError: a run is there and is not to be resumed, or the other way round; it was run
                with other values, which are listed.
        """
        self.record = record
        file = self.path / "run.json"
        if file.is_file() != resume:
            raise UsageError(
                f"{self.path} holds no run to resume: start it without --resume."
                if resume
                else f"{self.path} already holds a run: go on with --resume, or name another folder"
                " with -o."
            )
        if resume and not accept_changes:
            before = json.loads(file.read_text(encoding="utf-8"))
            changed = differences(_compared(before), _compared(record))
            if changed:
                raise UsageError(
                    f"{self.path} was run with other values:\n  "
                    + "\n  ".join(changed)
                    + "\nTo go on with the new ones, add --accept-changes."
                )
        wait_for_all()  # the first writes what the others have looked at
        if self._writes:
            with saving(self.path):
                self.path.mkdir(parents=True, exist_ok=True)
                beside = file.with_suffix(".part")
                beside.write_text(json.dumps(record, indent=1) + "\n", encoding="utf-8")
                beside.replace(file)

    def report(self, step: int, values: Mapping[str, Any]) -> None:
        """A line in the log, on the screen and, of numbers, in TensorBoard."""
        if not self._writes:
            return
        with saving(self.path), (self.path / "log.jsonl").open("a", encoding="utf-8") as file:
            file.write(json.dumps({"step": step, **values}) + "\n")
        shown = [f"{name} {_shown(value)}" for name, value in values.items()]
        self._say(f"step {step}: " + ", ".join(shown))
        writer = self._writer()
        if writer is not None:
            with saving(self.path):
                for name, value in values.items():
                    if isinstance(value, int | float):
                        writer.add_scalar(name, value, step)
                writer.flush()

    def _writer(self) -> Any:
        if self._events is None:
            try:
                from torch.utils.tensorboard import SummaryWriter
            except ImportError:
                self._events = False
                self._say("note: for TensorBoard's view of the run: pip install tensorboard")
            else:
                with saving(self.path):
                    self._events = SummaryWriter(str(self.path / "events"))
        return self._events or None


def begun(
    folder: Path,
    say: Callable[[str], None],
    recipe: Recipe,
    about: Mapping[str, Any],
    *,
    resume: bool,
    accept_changes: bool,
) -> RunFolder:
    """The folder of a run that begins, or goes on, with its record written.

    Raises:
        UsageError: see `RunFolder.begin`.
    """
    run = RunFolder(folder, say, writes=ranks().first)
    run.begin(recorded(recipe, about), resume=resume, accept_changes=accept_changes)
    return run


def _compared(record: Mapping[str, Any]) -> dict[str, Any]:
    recipe = {k: v for k, v in record["recipe"].items() if k not in FREE and k != "sources"}
    return recipe | {f"on {name}": value for name, value in record["on"].items()}


def _shown(value: Any) -> str:
    return f"{value:.4g}" if isinstance(value, float) else str(value)
