"""`select` and `validate`: what is asked for in words, answered with numbers."""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from polymodal.catalog.choices import Choice, check_task, choice_of, choices_for
from polymodal.choosing.selecting import Needs, Selection, rank
from polymodal.errors import PolymodalError, UsageError
from polymodal.runtime.measurements import keep, kept, today
from polymodal.runtime.memory import free_bytes, parse_bytes

if TYPE_CHECKING:
    from polymodal.choosing.data import Data

__all__ = ["select"]

SHARE_OF_FREE = 0.8
Say = Callable[[str], None]


def select(
    task: str,
    *,
    memory: str | int | None = None,
    permissive: bool = False,
    latency_ms: float | None = None,
    offline: bool = False,
    measure: str | os.PathLike[str] | None = None,
    models: Sequence[str] = (),
    device: str = "auto",
    home: str | os.PathLike[str] | None = None,
    say: Say = lambda text: None,
) -> Selection:
    """Models for a task, smallest capable first, with reasons for and against.

    Ranked by what was measured on this machine where there is such a thing, else by published
    scores, each with its source.

    Args:
        task: one of `polymodal.catalog.choices.TASKS`: "search", "caption", "vqa", ...
        memory: the most that the model may take: bytes or "8GB"; 80 % of what is free by default.
        permissive: only MIT, Apache-2.0 and BSD-3-Clause.
        latency_ms: the most that an item may take, of models that were measured here.
        offline: only models whose weights are on this machine.
        measure: labelled data, a folder with a subfolder a class or a table, that every candidate
            on this machine is run on; the measurements are kept.
        models: more candidates, by any name that a `Suite` takes.
        device: where it will run: "cpu", "cuda", or "auto".
        home: where measurements are kept.
        say: told of each model that is measured, and of each that cannot be.

    Raises:
        UsageError: there is no such task, or the data cannot be used.
        ModelUnavailable: one of `models` does not exist.
    """
    check_task(task)
    on_gpu = _on_gpu(device)
    folder = None if home is None else Path(home)
    budget = memory if isinstance(memory, int) else parse_bytes(memory) if memory else 0
    needs = Needs(
        task,
        budget or int(SHARE_OF_FREE * free_bytes("cuda" if on_gpu else "cpu")),
        permissive,
        latency_ms,
        offline,
        on_gpu,
    )
    choices = {each.name: each for each in choices_for(task)}
    for name in models:
        choices.setdefault(name, _also(name, task))
    date = today()
    if measure is not None:
        from polymodal.choosing.data import read_data

        data = read_data(measure, task)
        _measure_all(rank(list(choices.values()), needs, (), date), data, device, folder, say)
    return rank(list(choices.values()), needs, kept(task, folder), date)


def _also(name: str, task: str) -> Choice:
    choice = choice_of(name)
    if task not in choice.tasks:
        raise UsageError(f"{name} is not for {task}: it does {', '.join(choice.tasks)}.")
    return choice


def _measure_all(
    selection: Selection, data: Data, device: str, home: Path | None, say: Say
) -> None:
    """Run what fits and is here; one that fails is told and leaves the others be."""
    from polymodal.choosing.measuring import Setting, measure

    here = [each for each in selection.ranked if each.choice.folder is not None]
    if not here:
        raise UsageError(
            "no candidate that fits is on this machine, so none can be measured. Get one:"
            " polymodal models pull NAME"
        )
    measured = 0
    for candidate in here:
        name = candidate.choice.name
        dtype, _, quantize = candidate.precision.partition(" ")
        asked = dtype if dtype in {"bfloat16", "float16"} and candidate.choice.writes else "auto"
        say(f"measuring {name} on {len(data.items)} items")
        try:
            run = measure(
                Setting(name, device, asked, quantize or None), selection.needs.task, data
            )
        except PolymodalError as error:
            say(f"not measured: {name}: {error}")
            continue
        keep(run.measurement, home)
        measured += 1
    if not measured:
        raise UsageError("none of the candidates could be measured; the reasons are above.")


def _on_gpu(device: str) -> bool:
    from importlib.util import find_spec

    from polymodal.models.precision import check_device, torch_device

    check_device(device)
    if device == "cpu" or find_spec("torch") is None:
        return False
    return torch_device(device) != "cpu"
