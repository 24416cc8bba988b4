"""Building the search graph: in a process of its own, on a clone, swapped in when it is done.

Notable: Edge holds Python's global lock for as long as it builds (a minute for 100,000 vectors on
two cores), so a thread could neither show progress nor be interrupted. A process can be killed at
any moment, its memory goes back to the system, and the data it works on are a clone: searches go
on, and nothing is lost whatever happens to it.
"""

from __future__ import annotations

import ctypes
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

from polymodal.search.edge import EdgeStore
from polymodal.search.store import OnProgress, Progress

__all__ = ["build_graph"]

REPORT_EVERY_S = 0.25
CODE = "from polymodal.search.graph import main; main()"


def build_graph(folder: Path, items: int, progress: OnProgress | None) -> str:
    """Optimise the shard in `folder`, which nobody else has open.

    Returns:
        Why it could not be built; empty when all went well.
    """
    started = time.monotonic()
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(each for each in sys.path if each)}
    command = [sys.executable, "-c", CODE, str(folder), str(os.getpid())]
    with subprocess.Popen(
        command, env=environment, stdin=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True
    ) as child:
        try:
            while True:
                try:
                    _, said = child.communicate(timeout=REPORT_EVERY_S)
                    break
                except subprocess.TimeoutExpired:
                    if progress:
                        progress(Progress("graph", 0, items, time.monotonic() - started))
        except BaseException:
            child.kill()
            raise
    if child.returncode == 0:
        return ""
    lines = said.strip().splitlines()
    return lines[-1] if lines else f"the process ended with {child.returncode}"


def main() -> None:
    """What the process does: `python -c CODE FOLDER PARENT`."""
    folder, parent = Path(sys.argv[1]), int(sys.argv[2])
    _die_with(parent)
    store = EdgeStore.open(folder)
    store.optimize()
    store.close()


def _die_with(parent: int) -> None:
    """Have the kernel end this process with its parent: nobody would want the result."""
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(1, signal.SIGKILL)  # PR_SET_PDEATHSIG
        if os.getppid() != parent:
            sys.exit(1)
