"""How much memory this process takes, how much is free, and giving it back.

Notable: Python and glibc keep what was freed for themselves; `give_back` makes them return it. What
a container may use counts, not what its machine has.
"""

from __future__ import annotations

import ctypes
import gc
import re
import sys
from contextlib import suppress
from pathlib import Path
from typing import Any

from polymodal.errors import UsageError

__all__ = ["device_used", "free_bytes", "give_back", "host_used", "in_words", "parse_bytes", "trim"]

UNITS = {"": 1, "k": 10**3, "m": 10**6, "g": 10**9, "t": 10**12}
FEWEST_BYTES = 1_000_000
"""Of a number alone: who writes 8 means no bytes."""
CONTAINER = (
    ("/sys/fs/cgroup/memory.max", "/sys/fs/cgroup/memory.current"),
    (
        "/sys/fs/cgroup/memory/memory.limit_in_bytes",
        "/sys/fs/cgroup/memory/memory.usage_in_bytes",
    ),
)


def parse_bytes(text: str) -> int:
    """`8GB`, `500 MB`, `1.5g` in bytes: powers of ten, or of two as `8GiB`.

    Raises:
        UsageError: it is no such size.
    """
    found = re.fullmatch(r"\s*(\d+(?:\.\d+)?)\s*([kmgt]?)(i?)b?\s*", text, re.IGNORECASE)
    count, least = 0, 1
    if found is not None:
        number, unit, binary = found.groups()
        power = list(UNITS).index(unit.lower())
        count = int(float(number) * (1024**power if binary else UNITS[unit.lower()]))
        least = 1 if unit else FEWEST_BYTES
    if count < least:
        raise UsageError(f"{text!r} is no size of memory; write it as 8GB or 500MB.")
    return count


def in_words(count_bytes: int) -> str:
    """`605 MB`, `14.1 GB`: powers of ten."""
    for unit, step in (("GB", 1e9), ("MB", 1e6), ("kB", 1e3)):
        if count_bytes >= step:
            return f"{count_bytes / step:.{0 if unit != 'GB' else 1}f} {unit}"
    return f"{count_bytes} B"


def host_used() -> int:
    """Bytes of this process that are in the machine's memory."""
    import psutil

    return int(psutil.Process().memory_info().rss)


def device_used(device: str) -> int:
    """Bytes that torch holds on an accelerator for this process; 0 where it holds none."""
    torch = _torch(device)
    return int(torch.cuda.memory_allocated(device)) if torch is not None else 0


def free_bytes(device: str) -> int:
    """What is free where a model of that device lives: on the accelerator, or on the host."""
    torch = _torch(device)
    if torch is not None:
        return int(torch.cuda.mem_get_info(device)[0])
    import psutil

    free = int(psutil.virtual_memory().available)
    for most, used in CONTAINER:
        with suppress(OSError, ValueError):  # no such limit ("max"), or no container at all
            limit = int(Path(most).read_text())
            free = min(free, limit - int(Path(used).read_text()))
    return max(free, 0)


def give_back() -> None:
    """Return to the system what was freed, and what only cycles still hold."""
    gc.collect()
    trim()


def trim() -> None:
    """Return to the system what was freed."""
    with suppress(AttributeError, OSError):  # only glibc keeps so much, and has it
        ctypes.CDLL(None).malloc_trim(0)
    torch = _torch("cuda")
    if torch is not None:
        torch.cuda.empty_cache()


def _torch(device: str) -> Any:
    """The library, where it is in use and the device is one of its accelerators."""
    torch = sys.modules.get("torch")
    if torch is None or not device.startswith("cuda") or not torch.cuda.is_available():
        return None
    return torch
