"""Thousands of mutated files: each is a picture or a `MediaError`, soon, in a process that lives.

The mutations run in a process of their own, so that a crash of a decoder is seen, named by the
number of the mutation (`tests.media.fuzz.mutation(number)`), and its file kept.
"""

from __future__ import annotations

import collections
import json
import os
import queue
import subprocess
import sys
import threading
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import pytest

from tests.media.fuzz import mutation

FIRST = int(os.environ.get("POLYMODAL_FUZZ_FIRST", "0"))
COUNT = int(os.environ.get("POLYMODAL_FUZZ_COUNT", "6000"))
TIMEOUT_S = 5.0
START_TIMEOUT_S = 60.0


def _forward(stream: Iterable[str], lines: queue.Queue[str]) -> None:
    for line in stream:
        lines.put(line)


def watched(tmp_path: Path, first: int, count: int) -> list[dict[str, Any]]:
    """Run the mutations under a watchdog; the reports, one a mutation."""
    environment = os.environ | {"PYTHONPATH": os.pathsep.join(filter(None, sys.path))}
    command = [sys.executable, "-m", "tests.media.fuzz", str(first), str(count)]
    with (
        (tmp_path / "stderr.txt").open("w") as errors,
        subprocess.Popen(
            command,
            stdout=subprocess.PIPE,
            stderr=errors,
            text=True,
            env=environment,
            cwd=Path(__file__).parents[2],
        ) as process,
    ):
        lines: queue.Queue[str] = queue.Queue()
        reader = threading.Thread(target=_forward, args=(process.stdout, lines))
        reader.start()
        reports: list[dict[str, Any]] = []
        current, patience_s = first, START_TIMEOUT_S
        while len(reports) < count:
            try:
                report = json.loads(lines.get(timeout=patience_s))
            except queue.Empty:
                died = process.poll()
                process.kill()
                kept = tmp_path / f"mutation-{current}.bin"
                kept.write_bytes(mutation(current))
                what = f"hung for {patience_s:.0f} s" if died is None else f"died ({died})"
                pytest.fail(f"mutation {current} {what}; its file is {kept}")
            current, patience_s = report["number"], TIMEOUT_S
            if "outcome" in report:
                reports.append(report)
        reader.join()
    return reports


def test_mutated_files_never_crash_hang_or_warn(tmp_path: Path) -> None:
    reports = watched(tmp_path, FIRST, COUNT)
    assert [report["number"] for report in reports] == list(range(FIRST, FIRST + COUNT))
    assert not [report for report in reports if report["outcome"].startswith("escaped")]
    assert not [report for report in reports if report["warnings"]]
    assert max(report["seconds"] for report in reports) < TIMEOUT_S
    assert reports[-1]["peak_mb"] < 2_000
    outcomes = collections.Counter(report["outcome"] for report in reports)
    assert outcomes["Picture"] > COUNT // 20, "mutations too harsh to reach the decoders"
    assert outcomes["DamagedMedia"] > COUNT // 4


def test_mutations_can_be_had_again() -> None:
    assert mutation(123) == mutation(123)
    assert len({mutation(number) for number in range(500)}) > 450
