"""`select` and `validate`: what is asked for in words, answered with numbers."""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from polymodal.catalog.choices import WRITING, Choice, check_task, choice_of, choices_for
from polymodal.choosing.reasons import shortfall
from polymodal.choosing.selecting import Needs, Selection, rank
from polymodal.errors import PolymodalError, UsageError
from polymodal.models.trust import Trust
from polymodal.runtime.measurements import keep, kept, today
from polymodal.runtime.memory import free_bytes, parse_bytes

if TYPE_CHECKING:
    from polymodal.choosing.data import Data
    from polymodal.choosing.measuring import Setting

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
    max_tokens: int | None = None,
    allow_pickle: bool = False,
    allow_remote_code: Sequence[str] = (),
    device: str = "auto",
    home: str | os.PathLike[str] | None = None,
    say: Say = lambda text: None,
) -> Selection:
    """Models for a task, smallest capable first, with reasons for and against.

    Ranked by what was measured on this machine where there is such a thing, else by published
    scores, each with its source.

    Args:
        task: one of `polymodal.catalog.choices.TASKS`.
        memory: the most that the model may take: bytes or "8GB"; 80 % of what is free by default.
        permissive: only MIT, Apache-2.0 and BSD-3-Clause.
        latency_ms: the most that an item may take, of models that were measured here.
        offline: only models whose weights are on this machine.
        measure: labelled data, a folder with a subfolder a class or a table, that every candidate
            on this machine is run on; the measurements are kept.
        models: more candidates, by any name that a `Suite` takes.
        max_tokens: of an answer of a candidate that writes, while it is measured; an answer that
            needs more counts as wrong.
        allow_pickle, allow_remote_code: of candidates that are measured, as `Suite` takes them.
        device: where it will run: "cpu", "cuda", or "auto".
        home: where measurements are kept.
        say: told of each model that is measured, and of each that cannot be.

    Raises:
        UsageError: there is no such task, the data cannot be used, or `max_tokens` has nothing to
            bound.
        ModelUnavailable: one of `models` does not exist.
    """
    check_task(task)
    on_gpu = _on_gpu(device)
    folder = None if home is None else Path(home)
    budget = _budget(memory, on_gpu=on_gpu)
    needs = Needs(task, budget, permissive, latency_ms, offline, on_gpu)
    choices = _candidates(task, models)
    if max_tokens is not None and (measure is None or task not in WRITING):
        raise _nothing_to_bound()
    date = today()
    if measure is not None:
        from polymodal.choosing.data import read_data
        from polymodal.choosing.measuring import Setting

        trust = Trust(allow_pickle, tuple(allow_remote_code))
        asked = Setting("", device, max_tokens=max_tokens, trust=trust)
        _measure_all(rank(choices, needs, (), date), read_data(measure, task), asked, folder, say)
    return rank(choices, needs, kept(task, folder), date)


def _budget(memory: str | int | None, *, on_gpu: bool) -> int:
    """Bytes that a model may take."""
    asked = memory if isinstance(memory, int) else parse_bytes(memory) if memory else 0
    return asked or int(SHARE_OF_FREE * free_bytes("cuda" if on_gpu else "cpu"))


def _nothing_to_bound() -> UsageError:
    return UsageError(
        f"--max-tokens bounds answers that are measured (--measure), for {', '.join(WRITING)}."
    )


def _candidates(task: str, models: Sequence[str]) -> list[Choice]:
    """Those with a card, and those that were named."""
    choices = {each.name: each for each in choices_for(task)}
    for name in models:
        choices.setdefault(name, _also(name, task))
    return list(choices.values())


def _also(name: str, task: str) -> Choice:
    choice = choice_of(name)
    if task not in choice.tasks:
        does = ", ".join(choice.tasks) or "nothing with pictures"
        raise UsageError(f"{name} is not for {task}: it does {does}.")
    return choice


def _measure_all(
    selection: Selection, data: Data, asked: Setting, home: Path | None, say: Say
) -> None:
    """Run what fits and is here; one that fails is told and leaves the others be.

    Args:
        asked: what holds for every candidate: all but its name and its precision.
    """
    from polymodal.choosing.measuring import measure

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
        half = dtype in {"bfloat16", "float16"} and candidate.choice.writes
        setting = replace(
            asked, model=name, dtype=dtype if half else "auto", quantize=quantize or None
        )
        say(f"measuring {name} on {len(data.items)} items")
        try:
            run = measure(setting, selection.needs.task, data)
        except PolymodalError as error:
            say(f"not measured: {name}: {error}")
            continue
        keep(run.measurement, home)
        if lacking := shortfall(run.measurement):
            say(f"{name}: {lacking}")
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
