"""The starter weights of polymodal: data files and nothing else."""

from __future__ import annotations

import pathlib

__all__ = ["__version__", "root"]

__version__ = "0.1.0"


def root() -> pathlib.Path:
    """The folder that holds `manifest.json` and, beside it, a folder for each starter model."""
    return pathlib.Path(__file__).parent / "weights"
