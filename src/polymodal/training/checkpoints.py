"""Checkpoints of a run: written whole or not at all, the last few and the best kept.

Notable: one file holds weights, optimiser, random state and position. It is written beside its
name, flushed to the disk and renamed, so a process that is killed leaves the earlier ones as they
were; the loader takes only what has its final name. Loaded with `weights_only`: no code runs.
"""

from __future__ import annotations

import os
import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from polymodal.errors import TrainingError

__all__ = ["Checkpoints"]

_NAME = re.compile(r"step-(\d{8})\.pt")
BEST = "best.pt"


@dataclass(frozen=True)
class Checkpoints:
    """The checkpoints in a folder.

    Attributes:
        keep_last: how many, beside the best.
    """

    folder: Path
    keep_last: int

    def steps(self) -> list[int]:
        """Of the checkpoints that are whole, oldest first."""
        found = self.folder.iterdir() if self.folder.is_dir() else ()
        return sorted(int(m[1]) for each in found if (m := _NAME.fullmatch(each.name)))

    def path(self, step: int) -> Path:
        """Where the checkpoint after `step` steps lies."""
        return self.folder / f"step-{step:08d}.pt"

    def save(self, step: int, state: Mapping[str, Any], *, best: bool) -> Path:
        """Write a checkpoint and drop those that are too many.

        Raises:
            TrainingError: the disk refused (full, read-only); earlier checkpoints are intact.
        """
        path = self.path(step)
        beside = path.with_suffix(".part")
        try:
            self.folder.mkdir(parents=True, exist_ok=True)
            with beside.open("wb") as file:
                torch.save(dict(state), file)
                file.flush()
                os.fsync(file.fileno())
            beside.replace(path)
            if best:
                self._link_best(path)
        except (OSError, RuntimeError) as error:  # torch reports a failed write as RuntimeError
            beside.unlink(missing_ok=True)
            steps = self.steps()
            kept = f"{self.path(steps[-1])} is intact" if steps else "there was none before it"
            raise TrainingError(
                f"the checkpoint of step {step} cannot be written to {path}"
                f" ({getattr(error, 'strerror', None) or error}); {kept}. Free some space, then"
                " start again with --resume."
            ) from error
        for old in self.steps()[: -self.keep_last or None]:
            self.path(old).unlink(missing_ok=True)
        return path

    def load(self, step: int) -> dict[str, Any]:
        """The state after `step` steps.

        Raises:
            TrainingError: the file cannot be read.
        """
        path = self.path(step)
        try:
            state: dict[str, Any] = torch.load(path, map_location="cpu", weights_only=True)
        except Exception as error:
            raise TrainingError(
                f"the checkpoint {path} cannot be read ({error}). Remove it to resume from the one"
                " before it."
            ) from error
        return state

    def best(self) -> dict[str, Any] | None:
        """The state that validated best; None where nothing was validated."""
        path = self.folder / BEST
        return torch.load(path, map_location="cpu", weights_only=True) if path.is_file() else None

    def _link_best(self, path: Path) -> None:
        """A second name of the same file costs no space and outlives the first."""
        beside = self.folder / f"{BEST}.part"
        beside.unlink(missing_ok=True)
        os.link(path, beside)
        beside.replace(self.folder / BEST)
