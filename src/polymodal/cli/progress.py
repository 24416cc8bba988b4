"""Progress on stderr: a bar with rate and time left on a terminal, else a line now and then."""

from __future__ import annotations

import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from rich.progress import Progress as Bar
    from rich.progress import TaskID

    from polymodal.cli.output import Output
    from polymodal.search.store import Progress

__all__ = ["Meter", "progress"]

LOG_EVERY_S = 10.0
"""Between two lines when stderr is a file or a pipe."""
STAGES = {
    "add": "adding",
    "watch": "watching videos",
    "reembed": "embedding anew",
    "graph": "building the search graph",
}


class Meter:
    """Told how far the work is; the base of both displays shows nothing."""

    def __call__(self, done: int, total: int | None = None) -> None:
        """`done` of `total` items are finished; `total` may be unknown or grow."""

    def label(self, text: str) -> None:
        """Name what is going on now."""

    def stage(self, state: Progress) -> None:
        """What a collection reports of a long operation."""
        self.label(STAGES.get(state.stage, state.stage))
        self(state.done, state.total or None)


class _Lines(Meter):
    def __init__(self, label: str) -> None:
        self._label = label
        self._start = self._last = time.monotonic()

    def __call__(self, done: int, total: int | None = None) -> None:
        now = time.monotonic()
        if now - self._last < LOG_EVERY_S:
            return
        self._last = now
        of_total = f" of {total}" if total else ""
        rate = done / (now - self._start)
        speed = f"{rate:.1f} a second" if rate >= 1 or not done else f"{1 / rate:.1f} s each"
        print(f"{self._label}: {done}{of_total}, {speed}", file=sys.stderr)

    def label(self, text: str) -> None:
        self._label = text


class _Bar(Meter):
    def __init__(self, bar: Bar, task: TaskID) -> None:
        self._bar = bar
        self._task = task

    def __call__(self, done: int, total: int | None = None) -> None:
        self._bar.update(self._task, completed=done, total=total)

    def label(self, text: str) -> None:
        self._bar.update(self._task, description=text)


@contextmanager
def progress(out: Output, label: str) -> Iterator[Meter]:
    """A meter for the length of a `with` block; the bar is gone when the block ends."""
    if out.quiet:
        yield Meter()
    elif not sys.stderr.isatty():
        yield _Lines(label)
    else:
        with _terminal_bar() as bar:
            yield _Bar(bar, bar.add_task(label, total=None))


def _terminal_bar() -> Bar:
    from rich.console import Console
    from rich.progress import (
        BarColumn,
        MofNCompleteColumn,
        Progress,
        ProgressColumn,
        TextColumn,
        TimeRemainingColumn,
    )
    from rich.text import Text

    class Rate(ProgressColumn):
        """Items a second."""

        def render(self, task: object) -> Text:
            speed = getattr(task, "speed", None)
            return Text(f"{speed:.0f}/s" if speed else "")

    return Progress(
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        Rate(),
        TimeRemainingColumn(),
        console=Console(stderr=True),
        transient=True,
        # On one terminal, results appear above the bar; a file or a pipe must get its own.
        redirect_stdout=sys.stdout.isatty(),
    )
