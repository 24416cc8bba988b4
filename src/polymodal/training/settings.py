"""What a run can be told: a dataclass, overridden by name; unknown names are refused."""

from __future__ import annotations

import dataclasses
import difflib
import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal, TypeVar, get_args, get_type_hints

from polymodal.errors import UsageError, did_you_mean

__all__ = ["Recipe", "Values", "differences", "overridden", "recipe_of"]

Kind = TypeVar("Kind", bound="Values")


@dataclass(frozen=True, kw_only=True)
class Values:
    """What every recipe has.

    Attributes:
        name: what it reproduces.
        sources: value to where it is from, in words.
    """

    name: str
    sources: dict[str, str]


@dataclass(frozen=True, kw_only=True)
class Recipe(Values):
    """What every kind of training in steps has in common.

    Attributes:
        rates: see `polymodal.training.rates`.
        batch: items a step, over all ranks.
        epochs: passes over the data.
        steps: ends a run sooner than `epochs`; 0 does not.
        warmup: of the run's steps, a share below 1, or a number of steps; the rate rises linearly,
            then falls as a cosine to zero.
        clip_norm: the largest norm of the whole gradient; 0 clips nothing.
        precision: of the towers' arithmetic; weights stay float32.
        ema: the rate of a moving average of the weights, which is then what is validated and kept;
            0 for none.
        recompute: activations in the backward pass (gradient checkpointing).
        sharding: of several ranks: copies (DDP) or shards (FSDP2).
        validate_every, save_every, log_every: in steps; 0 only at the end.
        keep_last: checkpoints, beside the best.
    """

    rates: tuple[tuple[str, float | None], ...]
    batch: int
    epochs: float = 1
    steps: int = 0
    warmup: float = 0.0
    decay: float = 0.0
    betas: tuple[float, float] = (0.9, 0.999)
    eps: float = 1e-8
    clip_norm: float = 1.0
    precision: Literal["float32", "bfloat16", "float16"] = "float32"
    ema: float = 0.0
    recompute: bool = False
    compile: bool = False
    sharding: Literal["copies", "shards"] = "copies"
    seed: int = 0
    workers: int = 0
    validate_every: int = 0
    save_every: int = 0
    keep_last: int = 2
    log_every: int = 10


def recipe_of(known: Mapping[str, Callable[[], Kind]], name: str) -> Kind:
    """The recipe of that name.

    Raises:
        UsageError: there is none; names the nearest.
    """
    if name not in known:
        near = difflib.get_close_matches(name, known, n=2)
        hint = did_you_mean(near) or f" Known: {', '.join(known)}."
        raise UsageError(f"no recipe is called {name!r}.{hint}")
    return known[name]()


def overridden(recipe: Kind, assignments: Sequence[str]) -> Kind:
    """The recipe with values replaced: `key=value`, where a value is JSON or a bare word.

    Raises:
        UsageError: an unknown key, with the nearest names; a value that does not fit.
    """
    hints = get_type_hints(type(recipe))
    fixed = {"name", "sources"}
    known = [each.name for each in dataclasses.fields(recipe) if each.name not in fixed]
    values: dict[str, Any] = {}
    for assignment in assignments:
        key, equals, text = assignment.partition("=")
        if not equals:
            raise UsageError(f"--set {assignment}: write it as key=value.")
        if key not in known:
            near = difflib.get_close_matches(key, known, n=3, cutoff=0.5)
            hint = did_you_mean(near) or f" Known: {', '.join(known)}."
            raise UsageError(f"the recipe {recipe.name} has no value {key!r}.{hint}")
        try:
            value = json.loads(text)
        except ValueError:
            value = text
        values[key] = _fitting(key, value, hints[key], getattr(recipe, key))
    return dataclasses.replace(recipe, **values)


def _fitting(key: str, value: Any, hint: Any, now: Any) -> Any:
    choices = get_args(hint)
    if choices and all(isinstance(each, str) for each in choices):
        if value not in choices:
            raise UsageError(f"{key} is one of {', '.join(choices)}, not {value!r}.")
        return value
    if isinstance(now, bool):
        fits = isinstance(value, bool)
    elif isinstance(now, int) and hint is not float:
        fits = isinstance(value, int) and not isinstance(value, bool) and value >= 0
    elif hint is float:
        fits = isinstance(value, int | float) and not isinstance(value, bool) and value >= 0
    elif isinstance(now, tuple):
        fits = isinstance(value, list)
        if fits:
            value = tuple(tuple(each) if isinstance(each, list) else each for each in value)
        fits = fits and _row_fits(value, get_args(hint))
    else:
        fits = isinstance(value, str)
    if not fits:
        told = (
            f"{json.dumps(now)} in the recipe" if now != () else "a list such as [[1, 2], [2, 1]]"
        )
        raise UsageError(f"{key}={value!r} does not fit: it is {told}.")
    return value


def _row_fits(row: Any, kinds: tuple[Any, ...]) -> bool:
    """Whether it is a row of values of these kinds; a whole number is a float too."""
    if kinds[-1] is Ellipsis:
        return all(_row_fits(each, get_args(kinds[0])) for each in row)
    if not isinstance(row, tuple) or len(row) != len(kinds):
        return False
    return all(
        isinstance(float(each) if type(each) is int and kind is not int else each, kind)
        and not isinstance(each, bool)
        for each, kind in zip(row, kinds, strict=True)
    )


def differences(before: dict[str, Any], now: dict[str, Any]) -> list[str]:
    """A line for each value that two recorded configurations do not share."""
    names = [*before, *(name for name in now if name not in before)]
    return [
        f"{name}: {json.dumps(before.get(name))} -> {json.dumps(now.get(name))}"
        for name in names
        if before.get(name) != now.get(name)
    ]
