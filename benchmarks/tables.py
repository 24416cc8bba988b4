"""What every benchmark prints: a Markdown table and the conditions it was measured under."""

from __future__ import annotations

import os
import platform
import statistics
from collections.abc import Sequence
from importlib import metadata

__all__ = ["conditions", "markdown", "median"]


def median(values: Sequence[float]) -> float:
    """The median; benchmarks never report a best-of."""
    return statistics.median(values)


def markdown(header: Sequence[str], rows: Sequence[Sequence[object]]) -> str:
    """A Markdown table; numbers are expected to be formatted by the caller."""
    lines = ["| " + " | ".join(header) + " |", "|" + " --- |" * len(header)]
    lines += ["| " + " | ".join(str(cell) for cell in row) + " |" for row in rows]
    return "\n".join(lines)


def conditions(*packages: str) -> str:
    """Cores, Python and the versions of `packages`, in one line."""
    versions = []
    for name in packages:
        try:
            versions.append(f"{name} {metadata.version(name)}")
        except metadata.PackageNotFoundError:
            versions.append(f"{name} absent")
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    machine = f"{cores} cores ({platform.machine()}), Python {platform.python_version()}"
    return ", ".join([machine, *versions])
