"""What the cascades that ship keep of their top tier's quality, and at what share of its cost.

    python -m benchmarks.cascades --data ../shared/data [--write]

Two halves that share no photograph: thresholds are chosen on one, everything printed is counted on
the other. `listing`: captions of Flickr8k dev with their own photograph, and with another's.
`moderation`: clothes, and photographs spoilt on purpose as `benchmarks.moderation` spoils them.

The top tier is the starter's embedder on twelve views of a picture: the strongest that runs here
without a network. `--write` puts the thresholds into the files that ship.
"""

from __future__ import annotations

import argparse
import json
import tempfile
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

import polymodal as pm
from benchmarks.moderation import heap, load
from benchmarks.moderation import pictures as spoilt_pictures
from benchmarks.tables import markdown
from polymodal.results_cascades import Decision
from polymodal.runtime.intervals import wilson
from polymodal.tasks import cascades as shipped
from polymodal.tasks.cascade_file import save_cascade

Case = tuple[Any, str, bool]
TARGETS = {"listing": 0.98, "moderation": 0.95}


def listing(data: Path) -> tuple[list[Case], list[Case]]:
    """True and shuffled pairs of two halves of the dev photographs."""
    folder = data / "flickr8k"
    rows = [json.loads(line) for line in (folder / "captions.jsonl").read_text().splitlines()]
    dev = [row for row in rows if row["split"] == "dev"]
    rng = np.random.default_rng(0)
    order = rng.permutation(len(dev))
    return tuple(_pairs(folder, [dev[i] for i in half], rng) for half in (order[::2], order[1::2]))


def _pairs(folder: Path, rows: Sequence[Any], rng: np.random.Generator) -> list[Case]:
    cases: list[Case] = []
    for number, row in enumerate(rows):
        for caption in row["captions"]:
            other = (number + int(rng.integers(1, len(rows)))) % len(rows)
            cases.append((str(folder / row["image"]), caption, True))
            cases.append((str(folder / rows[other]["image"]), caption, False))
    return cases


def decided(cases: Sequence[Case], opened: Any) -> tuple[list[Decision], Any]:
    """Decisions on every case, none of which may fail, and the run's report."""
    running = opened.run(cases)
    found = list(running)
    assert all(isinstance(each, Decision) for each in found)
    return found, running.report
