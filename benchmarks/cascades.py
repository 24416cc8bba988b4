"""What the cascades that ship keep of their top tier's quality, and at what share of its cost.

    python -m benchmarks.cascades --data ../shared/data [--write]

Two halves that share no photograph: thresholds are chosen on one, everything printed is counted on
the other. `listing`: captions of Flickr8k dev with their own photograph, and with another's.
`moderation`: clothes, and photographs spoilt on purpose as `benchmarks.moderation` spoils them.

The top tiers are small: of `listing` the starter's embedder on twelve views of a picture, of
`moderation` the starter's embedder under a tier that measures only. `--write` puts the thresholds
into the files that ship, and what is printed into docs/cascades.md.
"""

from __future__ import annotations

import argparse
import json
import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

import polymodal as pm
from benchmarks import moderation as spoiling
from benchmarks.tables import conditions, markdown
from polymodal.results_cascades import Decision
from polymodal.runtime.intervals import wilson
from polymodal.tasks import cascade_file
from polymodal.tasks.cascade_file import save_cascade

Case = tuple[Any, str, bool]
CAPTIONS = 1
"""Of a photograph, that are held against it and against another."""
PER_SET = 240
"""Photographs of each kind in a half, where there are so many."""
TARGETS = {"listing": 0.98, "moderation": 0.95}
PAGE = Path(__file__).resolve().parent.parent / "docs" / "cascades.md"
"""Holds what is printed of each cascade between `<!-- NAME:begin -->` and `<!-- NAME:end -->`."""


def listing(data: Path) -> tuple[list[Case], list[Case]]:
    """True and shuffled pairs of two halves of the dev photographs."""
    folder = data / "flickr8k"
    rows = [json.loads(line) for line in (folder / "captions.jsonl").read_text().splitlines()]
    dev = [row for row in rows if row["split"] == "dev"]
    rng = np.random.default_rng(0)
    order = rng.permutation(len(dev))
    first, second = (
        _pairs(folder, [dev[i] for i in half], rng) for half in (order[::2], order[1::2])
    )
    return first, second


def _pairs(folder: Path, rows: Sequence[Any], rng: np.random.Generator) -> list[Case]:
    cases: list[Case] = []
    for number, row in enumerate(rows):
        for caption in row["captions"][:CAPTIONS]:
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


def moderation(data: Path) -> tuple[list[Case], list[Case]]:
    """Clothes, which are to pass, and what is not to: scenes, spoilt photographs, heaps."""
    return _photographs(data, "tune"), _photographs(data, "report")


def _photographs(data: Path, half: str) -> list[Case]:
    spoiling.PER_SET = PER_SET
    sets = spoiling.pictures(spoiling.load(data, half))
    good = {"clothes"}
    bad = {"people", "no people", "blurred", "darkened", "stamped", "heaps"}
    return [(image, "", name in good) for name in sorted(good | bad) for image in sets[name]]


def measured(name: str, halves: tuple[list[Case], list[Case]], *, write: bool) -> str:
    """Fit on one half; what the cascade and each tier alone do on the other, in Markdown."""
    suite = pm.Suite(cache=False, journal=False)
    opened, target = suite.cascade(name), TARGETS[name]
    fitted = opened.fit(halves[0], target_precision=target)
    cascade = fitted.cascade
    tiers = cascade.tiers
    found, report = decided(halves[1], suite.cascade(cascade))
    ways: list[tuple[str, list[Decision], float]] = []
    for tier in tiers:
        # One tier alone, with the threshold that has most right on the first half: the top tier
        # has that one already.
        alone = cascade.model_copy(update={"tiers": (tier.model_copy(update={"reject": None}),)})
        if tier != tiers[-1]:
            alone = suite.cascade(alone).fit(halves[0], target_precision=target).cascade
        decisions, each = decided(halves[1], suite.cascade(alone))
        ways.append((f"{tier.name} alone", decisions, each.seconds))
    # What each tier takes alone, times the share of the cases that reach it: runs side by side with
    # other work would compare the machine's load.
    shares = [tier.asked / report.cases for tier in report.tiers]
    seconds = sum(share * way[2] for share, way in zip(shares, ways, strict=True))
    ways.insert(0, (f"cascade, target {target:g}", found, seconds))
    rows = [row(*way, ways[-1][2]) for way in ways]
    header = ["way", "right", "95 % interval", "of yes, right", "of no, right", "of the top's time"]
    stopped = ", ".join(f"{tier.name} {tier.decided / report.cases:.0%}" for tier in report.tiers)
    if write:
        words = (
            f"by benchmarks/cascades.py on {len(halves[0]):,} cases, target precision {target:g}"
        )
        folder = Path(cascade_file.__file__).parent / "cascades"
        save_cascade(cascade.model_copy(update={"fitted": words}), folder / f"{name}.toml")
    return "\n\n".join(
        [
            f"Fitted on {len(halves[0]):,} cases, counted on {len(halves[1]):,}:",
            markdown(header, rows),
            f"Cases stop at: {stopped}. Measured on {conditions('onnxruntime')}.",
        ]
    )


def written(page: str, name: str, told: str) -> str:
    """The page with `told` in the place of what stood between the cascade's marks."""
    begin, end = f"<!-- {name}:begin -->", f"<!-- {name}:end -->"
    place = re.compile(f"(?<={re.escape(begin)}).*?(?={re.escape(end)})", re.DOTALL)
    found, count = place.subn(lambda _: f"\n\n{told}\n\n", page)
    if count != 1:
        raise SystemExit(f"{PAGE} has no {begin} ... {end}.")
    return found


def row(name: str, found: Sequence[Decision], seconds: float, top_s: float) -> list[str]:
    """One way in the table."""
    right = np.array([each.yes == each.label for each in found])
    yes = np.array([each.yes for each in found])
    low, high = wilson(int(right.sum()), len(right))
    return [
        name,
        f"{right.mean():.1%}",
        f"{low:.1%} to {high:.1%}",
        _share(right[yes]),
        _share(right[~yes]),
        f"{seconds / top_s:.0%}",
    ]


def _share(right: np.ndarray) -> str:
    return f"{right.mean():.1%}" if len(right) else "-"


def main() -> None:
    """Measure both."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--data", type=Path, default=Path("../shared/data"))
    parser.add_argument("--only", choices=sorted(TARGETS))
    parser.add_argument("--write", action="store_true")
    arguments = parser.parse_args()
    for name, cases in (("listing", listing), ("moderation", moderation)):
        if arguments.only in (None, name):
            told = measured(name, cases(arguments.data), write=arguments.write)
            print(f"\n## {name}\n\n{told}")
            if arguments.write:
                PAGE.write_text(written(PAGE.read_text("utf-8"), name, told), "utf-8")


if __name__ == "__main__":
    main()
