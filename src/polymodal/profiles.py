"""What a profile holds: the times of the spans of each stage. Who counts them: `profiling.py`."""

from __future__ import annotations

import math
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Literal

__all__ = ["STAGES", "Profile", "Stage", "StageTimes"]

Stage = Literal["open", "decode", "load", "preprocess", "encode", "generate", "store"]
STAGES: tuple[Stage, ...] = (
    *("open", "decode", "load", "preprocess", "encode", "generate", "store"),
)


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
