"""How models are loaded: the options that every command with a `--model` has, declared once.

Notable: a command does not repeat them. They are added to its signature where it is registered, and
`open_suite` reads what was asked for.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass

from polymodal.cli.extending import extended
from polymodal.cli.options import AllowPickle, Dtype, Memory, Quantize

__all__ = ["Loading", "asked_for", "loads_models"]


@dataclass(frozen=True)
class Loading:
    """What `Suite` is given beside the model and the device."""

    dtype: str = "auto"
    quantize: str | None = None
    memory: str | None = None
    allow_pickle: bool = False


_asked: ContextVar[Loading | None] = ContextVar("_asked", default=None)
PRECISION = {"dtype": (Dtype, "auto"), "quantize": (Quantize, None)}
ALWAYS = {"memory": (Memory, None), "allow_pickle": (AllowPickle, False)}


def asked_for() -> Loading:
    """What the command that runs was asked for."""
    return _asked.get() or Loading()


def loads_models(function: Callable[..., None], *, precision: bool) -> Callable[..., None]:
    """The command with these options after `--device` (or `--model`).

    Args:
        precision: whether it can run checkpoints, which can be held in other numbers.
    """
    added = {**(PRECISION if precision else {}), **ALWAYS}
    after = "device" if "device" in inspect.signature(function).parameters else "model"
    return extended(function, added, after, lambda chosen: _said(Loading(**chosen)))


@contextmanager
def _said(loading: Loading) -> Iterator[None]:
    token = _asked.set(loading)
    try:
        yield
    finally:
        _asked.reset(token)
