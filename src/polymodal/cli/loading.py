"""How models are loaded: the options that every command with a `--model` has, declared once.

Notable: a command does not repeat them. They are added to its signature where it is registered, and
`open_suite` reads what was asked for.
"""

from __future__ import annotations

import functools
import inspect
import typing
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass
from typing import Any

from polymodal.cli.options import Dtype, Memory, Quantize

__all__ = ["Loading", "asked_for", "loads_models"]


@dataclass(frozen=True)
class Loading:
    """What `Suite` is given beside the model and the device."""

    dtype: str = "auto"
    quantize: str | None = None
    memory: str | None = None


_asked: ContextVar[Loading | None] = ContextVar("_asked", default=None)
PRECISION = {"dtype": (Dtype, "auto"), "quantize": (Quantize, None)}
ROOM = {"memory": (Memory, None)}


def asked_for() -> Loading:
    """What the command that runs was asked for."""
    return _asked.get() or Loading()


def loads_models(function: Callable[..., None], *, precision: bool) -> Callable[..., None]:
    """The command with these options after `--device` (or `--model`).

    Args:
        precision: whether it can run checkpoints, which can be held in other numbers.
    """
    signature = inspect.signature(function)
    hints = typing.get_type_hints(function, include_extras=True)
    own = [
        each.replace(annotation=hints.get(name, each.annotation))
        for name, each in signature.parameters.items()
    ]
    added = {**(PRECISION if precision else {}), **ROOM}
    more = [
        inspect.Parameter(name, inspect.Parameter.KEYWORD_ONLY, default=default, annotation=kind)
        for name, (kind, default) in added.items()
    ]
    after = "device" if "device" in signature.parameters else "model"
    place = list(signature.parameters).index(after) + 1
    keyword = [each.replace(kind=inspect.Parameter.KEYWORD_ONLY) for each in own]
    every = [*keyword[:place], *more, *keyword[place:]]

    @functools.wraps(function)
    def command(**given: Any) -> None:
        chosen = {name: given.pop(name) for name in added}
        with _said(Loading(**chosen)):
            function(**given)

    described: Any = command
    described.__signature__ = signature.replace(parameters=every)
    described.__annotations__ = {
        **{each.name: each.annotation for each in every},
        "return": None,
    }
    return command


@contextmanager
def _said(loading: Loading) -> Iterator[None]:
    token = _asked.set(loading)
    try:
        yield
    finally:
        _asked.reset(token)
