"""The fusion study's report: a point that was trained elsewhere says so."""

from __future__ import annotations

import json

import pytest

from recipes.fusion_study import report
from recipes.fusion_study.__main__ import finished_before, jobs, key_of

RESULTS = report.Path(report.__file__).parent / "results" / "h100.jsonl"


@pytest.fixture
def files(tmp_path):
    """Results whose sweep lacks the 7 x 7 grid; and with one run of it as a processor gives it."""
    rows = [row for row in report.read(RESULTS) if (row.get("passes"), row.get("side")) != (8, 7)]
    run = next(row for row in rows if row.get("passes") == 8)
    run = run | {"strategy": "late", "side": 7, "accuracy": 0.9876, "device": "cpu"}
    found = []
    for name, these in (("gap", rows), ("filled", [*rows, run])):
        found.append(tmp_path / f"{name}.jsonl")
        found[-1].write_text("\n".join(map(json.dumps, these)) + "\n", encoding="utf-8")
    return found


def test_a_point_of_a_cpu_is_marked_and_costs_what_the_clock_said(files, tmp_path):
    before, after = (
        {point.tokens: point for point in report.sweep(report.read(file))["late"]} for file in files
    )
    assert after.keys() - before.keys() == {49}
    assert before[36].mflops < after[49].mflops < before[64].mflops
    report.write(files[1], tmp_path)
    page = (tmp_path / "fusion.md").read_text(encoding="utf-8")
    assert "| 98.8 % (CPU), 72 |" in page
    assert "(CPU): trained on a processor" in page
    report.write(files[0], tmp_path)
    assert "(CPU)" not in (tmp_path / "fusion.md").read_text(encoding="utf-8")


def test_a_results_file_is_gone_on_with_where_the_sweep_has_gaps(files):
    def left(file):
        known = finished_before(file)
        _, runs = jobs(["easy-vqa"], 1.0)
        return [
            (job.strategy, job.side, job.seed)
            for job in runs
            if ("run", *key_of(job), job.seed, job.passes) not in known
        ]

    missing, fewer = map(left, files)
    assert {side for _, side, _ in missing} == {7}
    assert set(missing) - set(fewer) == {("late", 7, 0)}
