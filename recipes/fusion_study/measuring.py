"""All runs of the study on one machine: first the clock, alone; then the training, side by side.

Notable: the models are small, so a GPU waits for Python; several processes keep it busy. Times are
therefore taken before the workers start.
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

import torch

from recipes.fusion_study.strategies import STRATEGIES
from recipes.fusion_study.training import PASSES, SIDE, Job, clock, load, train

SEEDS = (0, 1, 2)
SWEEP_SIDES = (3, 4, 5, 6, 7, 8, 9)
REPEATS = 15  # of every timing; the median counts
SWEPT_PASSES = 8  # of easy-VQA: a sweep compares grids, not the last point


def jobs(names: list[str], fraction: float) -> tuple[list[Job], list[Job]]:
    """What to clock and what to train, the most valuable first."""

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


def work(file: Path, device: str, todo: Any, done: Any, ends: float) -> None:
    """A worker: takes runs until there are none or time is over."""
    torch.set_num_threads(1)
    loaded: dict[str, Any] = {}
    while time.time() < ends:
        try:
            job = todo.get(timeout=1)
        except Empty:
            break
        if job.data not in loaded:
            loaded[job.data] = load(file, job.data, device)
        done.put(train(job, loaded[job.data], device))


def measure(options: argparse.Namespace) -> None:
    """Clock everything alone, then train in several processes; results as they come."""
    began = time.time()
    ends = began + 60 * options.minutes
    clocked, runs = jobs(options.sets, options.fraction)
    cuda = options.device.startswith("cuda")
    machine = torch.cuda.get_device_name() if cuda else platform.processor() or platform.machine()
    with options.results.open("w", encoding="utf-8") as out:

        def write(row: dict[str, Any]) -> None:
            out.write(json.dumps(row) + "\n")
            out.flush()

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


def say(text: str) -> None:
    print(text, file=sys.stderr, flush=True)
