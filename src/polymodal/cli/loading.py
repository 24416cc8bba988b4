"""How models are loaded: the options that every command has that runs one, declared once.

Notable: a command does not repeat them. They are added to its signature where it is registered, and
`open_suite` reads what was asked for.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator, Sequence
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass
from typing import Any

from polymodal.cli.extending import extended
from polymodal.cli.options import AllowPickle, AllowRemoteCode, Dtype, Memory, Quantize
from polymodal.cli.output import Output

__all__ = ["Loading", "asked_for", "loads_models", "noticed"]


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


def loads_models(
    function: Callable[..., None], *, checkpoints: bool = True, without: Collection[str] = ()
) -> Callable[..., None]:
    """The command with these options after its `--device`.

    Args:
        checkpoints: whether it can run some, which can be held in other numbers, and bring code.
        without: options that mean something else to it, or nothing.
    """
    options = CHECKPOINTS if checkpoints else ALWAYS
    added = {name: option for name, option in options.items() if name not in without}
    return extended(function, added, "device", _said)


@contextmanager
def _said(chosen: dict[str, Any]) -> Iterator[None]:
    code = tuple(chosen.pop("allow_remote_code", None) or ())
    token = _asked.set(Loading(**chosen, allow_remote_code=code))
    try:
        with noticed(code):
            yield
    finally:
        _asked.reset(token)


@contextmanager
def noticed(code: Sequence[str]) -> Iterator[None]:
    """Say at the end, on stderr, which names of `--allow-remote-code` no checkpoint had."""
    if not code:
        yield
        return
    from polymodal.catalog.names import full_name
    from polymodal.models.trust import watched

    with watched() as opened:
        yield
    for name in code:
        if full_name(name) not in opened:
            those = ", ".join(dict.fromkeys(opened)) or "none"
            Output(as_json=False).note(
                f"warning: --allow-remote-code {name} changed nothing: no checkpoint of this"
                f" command has that name. Opened: {those}. Name it exactly as -m does."
            )
