"""A process that trains. Apart, since what is in `__main__` cannot be sent to a spawned process."""

from __future__ import annotations

import time
from pathlib import Path
from queue import Empty
from typing import Any

__all__ = ["work"]


def work(file: Path, device: str, todo: Any, done: Any, ends: float) -> None:
    """A worker: takes runs until there are none or time is over."""
    import torch

    from recipes.fusion_study.training import load, train

    torch.set_num_threads(1)
    loaded: dict[str, Any] = {}
    while time.time() < ends:
        try:
            job = todo.get(timeout=1)
        except Empty:
            break
        if job.data not in loaded:
            loaded[job.data] = load(file, job.data, device)
        done.put(train(job, loaded[job.data], device))
