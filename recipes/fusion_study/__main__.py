"""Measure the fusion strategies against each other.

    python -m recipes.fusion_study --prepare DATA.npz [--shared DIR]  # needs the package's extras
    python -m recipes.fusion_study --data DATA.npz --results RUNS.jsonl --device cuda --workers 8
    python -m recipes.fusion_study --report RUNS.jsonl --out docs

The middle step needs torch and numpy alone, so it can run on a machine without a network. Runs are
taken in order of their worth until `--minutes` are over; what was not run is named.
"""

from __future__ import annotations

import argparse
import json
import multiprocessing
import platform
import sys
import time
from pathlib import Path
from queue import Empty
from typing import Any

SEEDS = (0, 1, 2)
SWEEP_SIDES = (3, 4, 5, 6, 7, 8, 9)
REPEATS = 15  # of every timing; the median counts
SWEPT_PASSES = 8  # of easy-VQA: a sweep compares grids, not the last point


def jobs(names: list[str], fraction: float) -> tuple[list[Any], list[Any]]:
    """What to clock and what to train, the most valuable first."""
    from recipes.fusion_study.strategies import STRATEGIES
    from recipes.fusion_study.training import PASSES, SIDE, Job

    def passes(count: int) -> int:
        return max(1, round(count * fraction))

    runs = [
        Job(name, strategy, SIDE[name], seed, passes(PASSES[name]))
        for seed in SEEDS
        for name in names
        for strategy in STRATEGIES
    ]
    clocked = [job for job in runs if job.seed == SEEDS[0]]
    if "easy-vqa" in names:
        sweep = [
            Job("easy-vqa", strategy, side, 0, passes(SWEPT_PASSES))
            for side in SWEEP_SIDES
            for strategy in STRATEGIES
            if strategy != "question only"
        ]
        runs += sweep
        clocked += [job for job in sweep if job.side != SIDE["easy-vqa"]]
    return clocked, runs


def measure(options: argparse.Namespace) -> None:
    """Clock everything alone, then train in several processes; results as they come."""
    import torch

    from recipes.fusion_study.training import clock, load
    from recipes.fusion_study.workers import work

    began = time.time()
    ends = began + 60 * options.minutes
    clocked, runs = jobs(options.sets, options.fraction)
    cuda = options.device.startswith("cuda")
    machine = torch.cuda.get_device_name() if cuda else platform.processor() or platform.machine()
    known = finished_before(options.results)
    clocked = [job for job in clocked if ("clock", *key_of(job)) not in known]
    runs = [job for job in runs if ("run", *key_of(job), job.seed, job.passes) not in known]
    with options.results.open("a", encoding="utf-8") as out:

        def write(row: dict[str, Any]) -> None:
            out.write(json.dumps(row) + "\n")
            out.flush()

        if not known:
            write({"kind": "machine", "device": machine, "torch": torch.__version__})
        data = {name: load(options.data, name, options.device) for name in options.sets}
        repeats = max(1, round(REPEATS * options.fraction))
        for job in clocked:
            write(clock(job, data[job.data], options.device, repeats))
        del data
        say(f"clocked {len(clocked)} models in {time.time() - began:.0f} s")
        context = multiprocessing.get_context("spawn")
        todo: Any = context.Queue()
        done: Any = context.Queue()
        for job in runs:
            todo.put(job)
        given = (options.data, options.device, todo, done, ends)
        workers = [context.Process(target=work, args=given) for _ in range(options.workers)]
        for worker in workers:
            worker.start()
        finished = 0
        while True:
            try:
                row = done.get(timeout=1)
            except Empty:
                if any(worker.is_alive() for worker in workers):
                    continue
                break
            finished += 1
            write(row)
            say(
                f"{finished}/{len(runs)} after {time.time() - began:.0f} s: {row['data']}, "
                f"{row['strategy']}, {row['side']}x{row['side']}, seed {row['seed']}: "
                f"{row['accuracy']:.4f} in {row['train_s']:.0f} s"
            )
        todo.cancel_join_thread()
    if finished < len(runs):
        say(f"{len(runs) - finished} runs of {len(runs)} were not done")


def key_of(job: Any) -> tuple[str, str, int]:
    """What a job is about, beside its seed and passes."""
    return job.data, job.strategy, job.side


def finished_before(file: Path) -> set[tuple[Any, ...]]:
    """Keys of what a results file holds: it is gone on with, not begun anew."""
    if not file.exists():
        return set()
    rows = [json.loads(line) for line in file.read_text(encoding="utf-8").splitlines()]
    found: set[tuple[Any, ...]] = set()
    for row in rows:
        if row["kind"] != "machine":
            which = (row["seed"], row["passes"]) if row["kind"] == "run" else ()
            found.add((row["kind"], row["data"], row["strategy"], row["side"], *which))
    return found


def say(text: str) -> None:
    print(text, file=sys.stderr, flush=True)


def main() -> None:
    """Prepare, measure or report."""
    parser = argparse.ArgumentParser(description="Measure fusion strategies against each other.")
    step = parser.add_mutually_exclusive_group(required=True)
    step.add_argument("--prepare", type=Path, metavar="FILE", help="write both data sets")
    step.add_argument("--data", type=Path, metavar="FILE", help="train on what --prepare wrote")
    step.add_argument("--report", type=Path, metavar="FILE", help="write fusion.md from results")
    parser.add_argument("--shared", type=Path, help="with Flickr8k; without it, easy-VQA alone")
    parser.add_argument("--results", type=Path, default=Path("fusion.jsonl"))
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--workers", type=int, default=1)
    parser.add_argument("--minutes", type=float, default=8, help="start no run after these")
    parser.add_argument(
        "--fraction", type=float, default=1.0, help="of passes and repeats, to try it"
    )
    parser.add_argument("--sets", nargs="+", default=["easy-vqa", "flickr8k"])
    parser.add_argument("--out", type=Path, default=Path("docs"))
    options = parser.parse_args()
    if options.prepare:
        from recipes.fusion_study.prepare import prepare

        prepare(options.prepare, options.shared)
    elif options.data:
        measure(options)
    else:
        from recipes.fusion_study.report import write

        write(options.report, options.out)


if __name__ == "__main__":
    main()
