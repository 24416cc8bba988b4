"""Commands with options that many of them share, added where a command is registered."""

from __future__ import annotations

import functools
import inspect
import typing
from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager
from typing import Any

__all__ = ["extended"]


def extended(
    function: Callable[..., None],
    added: Mapping[str, tuple[Any, Any]],
    after: str,
    entered: Callable[[dict[str, Any]], AbstractContextManager[None]],
) -> Callable[..., None]:
    """The command with more options, in its `--help` after the one that is named.

    Args:
        added: an annotation and a default for each name.
        entered: given what was asked for; the command runs inside of it.
    """
    signature = inspect.signature(function)
    hints = typing.get_type_hints(function, include_extras=True)
    own = [
        each.replace(annotation=hints.get(name, each.annotation))
        for name, each in signature.parameters.items()
    ]
    more = [
        inspect.Parameter(name, inspect.Parameter.KEYWORD_ONLY, default=default, annotation=kind)
        for name, (kind, default) in added.items()
    ]
    place = list(signature.parameters).index(after) + 1
    keyword = [each.replace(kind=inspect.Parameter.KEYWORD_ONLY) for each in own]
    every = [*keyword[:place], *more, *keyword[place:]]

    @functools.wraps(function)
    def command(**given: Any) -> None:
        chosen = {name: given.pop(name) for name in added}
        with entered(chosen):
            function(**given)

    described: Any = command
    described.__signature__ = signature.replace(parameters=every)
    described.__annotations__ = {
        **{each.name: each.annotation for each in every},
        "return": None,
    }
    return command
