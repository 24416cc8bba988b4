"""Where polymodal keeps what it remembers: collections, the cache, the journal."""

from __future__ import annotations

import os
from pathlib import Path

__all__ = ["default_home", "switched_off"]


def default_home() -> Path:
    """`$POLYMODAL_HOME`, or polymodal's folder under `$XDG_DATA_HOME` (`~/.local/share`)."""
    if home := os.environ.get("POLYMODAL_HOME"):
        return Path(home).expanduser()
    data = os.environ.get("XDG_DATA_HOME") or "~/.local/share"
    return Path(data).expanduser() / "polymodal"


def switched_off(variable: str) -> bool:
    """Whether an environment variable says "off" (or "0", "no", "false")."""
    return os.environ.get(variable, "").strip().lower() in {"off", "0", "no", "false"}
