"""How models are loaded: the options that every command has that runs one, declared once.

Notable: a command does not repeat them. They are added to its signature where it is registered, and
`open_suite` reads what was asked for.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass
from typing import Any

from polymodal.cli.extending import extended
from polymodal.cli.options import AllowPickle, AllowRemoteCode, Dtype, Memory, Quantize

__all__ = ["Loading", "asked_for", "loads_models"]


@dataclass(frozen=True)
class Loading:
    """What `Suite` is given beside the model and the device."""

    dtype: str = "auto"
    quantize: str | None = None
    memory: str | None = None
    allow_pickle: bool = False
    allow_remote_code: tuple[str, ...] = ()


_asked: ContextVar[Loading | None] = ContextVar("_asked", default=None)
ALWAYS = {"memory": (Memory, None)}
CHECKPOINTS = {
    "dtype": (Dtype, "auto"),
    "quantize": (Quantize, None),
    **ALWAYS,
    "allow_pickle": (AllowPickle, False),
    "allow_remote_code": (AllowRemoteCode, None),
}


def asked_for() -> Loading:
    """What the command that runs was asked for."""
    return _asked.get() or Loading()


def loads_models(function: Callable[..., None], *, checkpoints: bool = True) -> Callable[..., None]:
    """The command with these options after its `--device`.

    Args:
        checkpoints: whether it can run some, which can be held in other numbers, and bring code.
    """
    return extended(function, CHECKPOINTS if checkpoints else ALWAYS, "device", _said)


@contextmanager
def _said(chosen: dict[str, Any]) -> Iterator[None]:
    code = tuple(chosen.pop("allow_remote_code", None) or ())
    token = _asked.set(Loading(**chosen, allow_remote_code=code))
    try:
        yield
    finally:
        _asked.reset(token)
