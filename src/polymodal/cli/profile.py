"""What `--profile` prints on stderr: the time of a run by stage."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import contextmanager

from polymodal.profiles import Profile
from polymodal.profiling import profiling

__all__ = ["printed_profile", "profile_lines"]

HEADINGS = ("stage", "count", "total", "median", "95 %", "longest")


@contextmanager
def printed_profile() -> Iterator[None]:
    """A profile of the block, printed when it ends, however it ends."""
    profile: Profile | None = None
    try:
        with profiling() as profile:
            yield
    finally:
        if profile is not None:
            print("\n".join(profile_lines(profile)), file=sys.stderr)


def profile_lines(profile: Profile) -> list[str]:
    """A row a stage, and below what the clock says."""
    rows = [
        (
            each.stage,
            str(each.count),
            _time(each.seconds),
            _time(each.median_s),
            _time(each.p95_s),
            _time(each.longest_s),
        )
        for each in profile.stages
    ]
    table = [HEADINGS, *rows]
    widths = [max(len(row[column]) for row in table) for column in range(len(HEADINGS))]
    lines = [
        "  ".join([row[0].ljust(widths[0]), *map(str.rjust, row[1:], widths[1:])]) for row in table
    ]
    counted = sum(each.seconds for each in profile.stages)
    threads = "; threads work at once" if counted > profile.wall_s else ""
    return [
        *lines,
        f"{_time(counted)} in these stages, {_time(profile.wall_s)} by the clock{threads}",
    ]


def _time(seconds: float) -> str:
    """`412 us`, `8.3 ms`, `1.24 s`."""
    if seconds >= 1.0:
        return f"{seconds:.2f} s"
    return f"{seconds * 1e3:.1f} ms" if seconds >= 1e-3 else f"{seconds * 1e6:.0f} us"
