"""Where the time of a run went: spans by stage, counted while a profile is on.

Notable: off, a span is one look at a variable. Spans of one thread nest, and a stage is charged
only what no span inside it took, so that loading a model while encoding is loading. Threads work at
once: stages together can take more than the clock says.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from functools import wraps
from typing import TYPE_CHECKING, ParamSpec, TypeVar

if TYPE_CHECKING:
    from polymodal.profiles import Profile, Stage

__all__ = ["profiled", "profiled_items", "profiling", "span"]

P = ParamSpec("P")
R = TypeVar("R")
Item = TypeVar("Item")


class _Current:
    profile: Profile | None = None


def span(stage: Stage) -> AbstractContextManager[None]:
    """Charge a `with` block to a stage, where a profile is on."""
    profile = _Current.profile
    return nullcontext() if profile is None else profile.span(stage)


def profiled(stage: Stage) -> Callable[[Callable[P, R]], Callable[P, R]]:
    """Charge every call of a function to a stage, where a profile is on."""

    def decorate(function: Callable[P, R]) -> Callable[P, R]:
        @wraps(function)
        def charged(*args: P.args, **kwargs: P.kwargs) -> R:
            if _Current.profile is None:
                return function(*args, **kwargs)
            with span(stage):
                return function(*args, **kwargs)

        return charged

    return decorate


def profiled_items(stage: Stage, items: Iterable[Item]) -> Iterator[Item]:
    """The items; getting each is charged to a stage, and not what is done with it."""
    iterator = iter(items)
    while True:
        with span(stage):
            try:
                item = next(iterator)
            except StopIteration:
                return
        yield item


@contextmanager
def profiling() -> Iterator[Profile]:
    """A profile of everything this process does inside; one at a time, the inner one counts."""
    from polymodal.profiles import Profile

    before, profile = _Current.profile, Profile()
    _Current.profile = profile
    started = time.perf_counter()
    try:
        yield profile
    finally:
        profile.wall_s = time.perf_counter() - started
        _Current.profile = before
