"""What a precision costs on somebody's own data, before anybody relies on it.

Notable: both runs see the same items, so the drop is the mean of paired differences, and its
interval is that of the pairs; two intervals side by side would be far too wide. What failed agrees
with nothing: an item that neither run answered is compared with nothing, and where many were not
answered there is no verdict.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from polymodal.catalog.choices import WRITING, choice_of
from polymodal.choosing.data import read_data, task_of
from polymodal.choosing.measuring import Outcome, Run, Setting, Tell, measure
from polymodal.choosing.reasons import shortfall
from polymodal.choosing.scoring import bootstrap, normal
from polymodal.errors import UsageError
from polymodal.models.precision import Precision
from polymodal.models.trust import Trust
from polymodal.runtime.intervals import wilson
from polymodal.runtime.measurements import Measurement, keep

__all__ = ["Validation", "validate"]

TOLERATED = 0.02
"""Of the score, in 0..1: a drop that is surely below this is none that matters."""
UNANSWERED = 0.1
"""Of the items: where more failed, what the others say is not what all would."""


@dataclass(frozen=True)
class Validation:
    """The model as it is, against the same one in another precision.

    Attributes:
        compared: items that at least one of the runs answered; the others say nothing of either.
        agreement, agreement_low, agreement_high: share of these with the same answer, and its 95 %
            interval.
        drop, drop_low, drop_high: of the score, 0..1; positive where the precision is worse.
        verdict: "keeps", "costs" or "undecided"; `reason` says it in a sentence.
    """

    base: Measurement
    changed: Measurement
    compared: int
    agreement: float
    agreement_low: float
    agreement_high: float
    drop: float
    drop_low: float
    drop_high: float
    verdict: str
    reason: str

    def to_dict(self) -> dict[str, Any]:
        """For JSON."""
        return {**vars(self), "base": dict(vars(self.base)), "changed": dict(vars(self.changed))}


def validate(
    name: str,
    data: str | os.PathLike[str],
    *,
    dtype: str = "auto",
    quantize: str | None = None,
    task: str | None = None,
    device: str = "auto",
    max_tokens: int | None = None,
    memory: int | str | None = None,
    allow_pickle: bool = False,
    allow_remote_code: Sequence[str] = (),
    home: str | os.PathLike[str] | None = None,
    tell: Tell = lambda done, total: None,
) -> Validation:
    """Compare a model in another precision with the model as it is, on the same items.

    Args:
        data: labelled: a folder with a subfolder a class, or a table.
        dtype, quantize: the precision, as `Suite` takes them; one of them has to be given.
        task: what the data is for; told from its columns by default.
        max_tokens: of an answer, of a model that writes; one that needs more has failed.
        memory, allow_pickle, allow_remote_code: as `Suite` takes them.

    Raises:
        UsageError: no precision is asked for, the model has none to choose, or the data does not
            fit.
        ModelUnavailable: no model is called that; with the nearest names.
    """
    if dtype == "auto" and quantize is None:
        raise UsageError("which precision? Give --quantize 4bit or 8bit, or --dtype bfloat16.")
    Precision(dtype, quantize)  # a misspelt one is found before anything is run
    choice = choice_of(name)
    if not choice.config:
        raise UsageError(f"{name} is no checkpoint, so it has no precision to choose.")
    chosen = task or task_of(data, does_vectors=not choice.writes)
    if chosen not in choice.tasks:
        does = ", ".join(choice.tasks) or "nothing with pictures"
        raise UsageError(f"{name} is not for {chosen}: it does {does}.")
    if chosen == "few-shot":
        raise UsageError("a precision is compared item by item: take --task classify.")
    if max_tokens is not None and chosen not in WRITING:
        raise UsageError(f"--max-tokens bounds written answers; {chosen} has none.")
    items = read_data(data, chosen)
    trust = Trust(allow_pickle, tuple(allow_remote_code))
    setting = Setting(name, device, max_tokens=max_tokens, memory=memory, trust=trust)
    base = measure(setting, chosen, items, tell)
    changed = measure(replace(setting, dtype=dtype, quantize=quantize), chosen, items, tell)
    folder = None if home is None else Path(home)
    for run in (base, changed):
        keep(run.measurement, folder)
    return compared(base, changed)


def compared(base: Run, changed: Run) -> Validation:
    """The comparison of two runs over the same items."""
    pairs = [each for each in _pairs(base, changed) if not all(one.error for one in each)]
    if not pairs:
        raise UsageError("neither run answered any item, so there is nothing to compare.")
    same = sum(_alike(one, other) for one, other in pairs)
    down = base.measurement.metric.startswith("word error rate")
    sign = -1.0 if down else 1.0
    differences = [sign * (one.score - other.score) for one, other in pairs]
    drop, low, high = _paired(differences, [one.weight for one, _ in pairs])
    verdict, reason = _verdict(base.measurement, changed.measurement, drop, low, high)
    agreed = wilson(same, len(pairs))
    return Validation(
        base.measurement,
        changed.measurement,
        len(pairs),
        same / len(pairs),
        *agreed,
        drop,
        low,
        high,
        verdict,
        reason,
    )


def _pairs(base: Run, changed: Run) -> list[tuple[Outcome, Outcome]]:
    return list(zip(base.outcomes, changed.outcomes, strict=True))


def _alike(one: Outcome, other: Outcome) -> bool:
    return not (one.error or other.error) and normal(one.answer) == normal(other.answer)


def _paired(differences: Sequence[float], weights: Sequence[float]) -> tuple[float, float, float]:
    """Mean difference and interval.

    A bootstrap has never seen what did not happen: so the interval is at least that of the rule of
    three (Hanley and Lippman-Hand 1983), which bounds the share of items that would differ.
    """
    total = sum(weights)
    mean = sum(d * w for d, w in zip(differences, weights, strict=True)) / total
    low, high = bootstrap(differences, weights)
    unseen = 3.0 / len(differences)
    most = max(1.0, *map(abs, differences))  # a word error rate can pass 1
    return mean, max(-most, min(low, mean - unseen)), min(most, max(high, mean + unseen))


def _verdict(
    base: Measurement, changed: Measurement, drop: float, low: float, high: float
) -> tuple[str, str]:
    points = f"{100 * low:+.1f} to {100 * high:+.1f} points lost, with 95 % confidence"
    won = base.memory_bytes - changed.memory_bytes
    smaller = "" if won > 0 else " It takes no less memory, so there is nothing to win."
    if low > 0 and not _too_many(base):
        return "costs", f"It costs quality: {100 * drop:.1f} points lost ({points}).{smaller}"
    for run, called in ((base, "as it is"), (changed, f"in {changed.precision}")):
        if _too_many(run):
            return "undecided", f"It cannot be told. {called.capitalize()}, {shortfall(run)}."
    if high <= TOLERATED:
        return "keeps", f"It keeps its quality: {points}.{smaller}"
    return (
        "undecided",
        f"{base.count} items are too few to tell: {points}. Give more data before relying on it."
        f"{smaller}",
    )


def _too_many(run: Measurement) -> bool:
    return run.failed > UNANSWERED * run.count
