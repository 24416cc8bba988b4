"""Where the time of a run went: spans by stage, counted while a profile is on.

Notable: off, a span is one look at a variable. Spans of one thread nest, and a stage is charged
only what no span inside it took, so that loading a model while encoding is loading. Threads work at
once: stages together can take more than the clock says.
"""

from __future__ import annotations

import math
import threading
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import dataclass, field
from functools import wraps
from typing import Literal, ParamSpec, TypeVar

__all__ = ["STAGES", "Profile", "StageTimes", "profiled", "profiled_items", "profiling", "span"]

Stage = Literal["open", "decode", "load", "preprocess", "encode", "generate", "store"]
STAGES: tuple[Stage, ...] = (
    *("open", "decode", "load", "preprocess", "encode", "generate", "store"),
)
P = ParamSpec("P")
R = TypeVar("R")
Item = TypeVar("Item")


@dataclass(frozen=True)
class StageTimes:
    """What one stage took.

    Attributes:
        count: spans; `seconds`: all of them together.
        median_s, p95_s, longest_s: of one span.
    """

    stage: str
    count: int
    seconds: float
    median_s: float
    p95_s: float
    longest_s: float


@dataclass
class Profile:
    """Spans so far. Safe between threads.

    Attributes:
        wall_s: what the clock says, from start to end; 0 until the end.
    """

    wall_s: float = 0.0
    _spans: dict[str, list[float]] = field(default_factory=dict)
    _lock: threading.Lock = field(default_factory=threading.Lock)
    _open: threading.local = field(default_factory=threading.local)

    @contextmanager
    def span(self, stage: Stage) -> Iterator[None]:
        """Charge what happens inside to a stage."""
        inside: list[float] = getattr(self._open, "inside", [])
        self._open.inside = inside
        inside.append(0.0)
        started = time.perf_counter()
        try:
            yield
        finally:
            whole = time.perf_counter() - started
            own = whole - inside.pop()
            if inside:
                inside[-1] += whole
            with self._lock:
                self._spans.setdefault(stage, []).append(own)

    @property
    def stages(self) -> list[StageTimes]:
        """Every stage that took part, in the order in which a picture passes them."""
        with self._lock:
            spans = {stage: sorted(each) for stage, each in self._spans.items()}
        return [
            StageTimes(
                stage,
                len(spans[stage]),
                sum(spans[stage]),
                _at(spans[stage], 0.5),
                _at(spans[stage], 0.95),
                spans[stage][-1],
            )
            for stage in STAGES
            if stage in spans
        ]


def _at(ordered: list[float], share: float) -> float:
    """The nearest-rank percentile."""
    return ordered[max(0, math.ceil(share * len(ordered)) - 1)]


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
    before, profile = _Current.profile, Profile()
    _Current.profile = profile
    started = time.perf_counter()
    try:
        yield profile
    finally:
        profile.wall_s = time.perf_counter() - started
        _Current.profile = before
