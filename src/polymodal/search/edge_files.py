"""Copies of an Edge shard that cost next to nothing.

Notable: Edge lets one process open a shard, and opening writes to it. Readers therefore open a
*view*, a clone of the shard of their own, and the graph is built in a clone as well. Large files
of sealed segments never change once written (Edge moves a changed item to the open segment), so a
clone shares them by hard links; everything else is copied, holes left out. At 100,000 vectors a
clone takes about 10 ms and no space to speak of.
"""

from __future__ import annotations

import json
import os
import shutil
from pathlib import Path

__all__ = ["clone_shard", "folder_bytes"]

LINK_FROM_BYTES = 256 * 1024
"""Smaller files are copied: linking them would save nothing."""

CHANGING = ("deleted", "flags", "tracker", "versions", "status", "bitmask", "gaps")
"""Parts of names of files that Edge changes in place, in sealed segments as well (deletions)."""


def clone_shard(source: Path, target: Path) -> None:
    """Clone a shard that nobody is writing to at this moment.

    Raises:
        OSError: the target cannot be written.
    """
    target.mkdir(parents=True)
    for folder, _, names in os.walk(source):
        here = Path(folder)
        relative = here.relative_to(source)
        if relative.parts[:1] == ("temp_segments",):
            continue
        (target / relative).mkdir(exist_ok=True)
        is_sealed = len(relative.parts) > 1 and _sealed(source / Path(*relative.parts[:2]))
        for name in names:
            if here == source and name == "commit.lock":
                continue
            if is_sealed and _never_changes(here / name):
                _link(here / name, target / relative / name)
            else:
                _copy(here / name, target / relative / name)


def _sealed(segment: Path) -> bool:
    """Whether Edge appends to a segment no more: its vectors are in one fixed file."""
    try:
        config = json.loads((segment / "segment.json").read_text())["config"]
        kinds = [vector["storage_type"] for vector in config["vector_data"].values()]
    except (OSError, ValueError, KeyError, TypeError, AttributeError):
        return False
    return bool(kinds) and all(kind in ("Mmap", "InRamMmap") for kind in kinds)


def _never_changes(file: Path) -> bool:
    if any(part in file.name for part in CHANGING):
        return False
    return file.stat().st_size >= LINK_FROM_BYTES


def _link(source: Path, target: Path) -> None:
    try:
        os.link(source, target)
    except OSError:  # another file system, or one without hard links
        _copy(source, target)


def _copy(source: Path, target: Path) -> None:
    """Copy the data and leave the holes: Edge's files are 32 MB with a few KB in them."""
    with source.open("rb") as old, target.open("wb") as new:
        size = os.fstat(old.fileno()).st_size
        new.truncate(size)
        start = 0
        while start < size:
            try:
                start = os.lseek(old.fileno(), start, os.SEEK_DATA)
                end = os.lseek(old.fileno(), start, os.SEEK_HOLE)
            except OSError as error:
                if error.errno == 6:  # ENXIO: only a hole is left
                    return
                shutil.copyfile(source, target)  # a file system that does not know holes
                return
            _copy_range(old.fileno(), new.fileno(), start, end)
            start = end


def _copy_range(old: int, new: int, start: int, end: int) -> None:
    while start < end:
        chunk = os.pread(old, min(end - start, 1 << 20), start)
        if not chunk:
            return
        written = os.pwrite(new, chunk, start)
        start += written


def folder_bytes(folder: Path) -> int:
    """Space a folder takes on disk, holes not counted."""
    total = 0
    for parent, _, names in os.walk(folder):
        for name in names:
            try:
                total += (Path(parent) / name).stat(follow_symlinks=False).st_blocks * 512
            except OSError:
                continue  # removed meanwhile
    return total
