"""Results to docs/fusion.md and its plot: what was measured, and what it says of common advice."""

from __future__ import annotations

import json
import math
import statistics
from collections import defaultdict
from pathlib import Path
from typing import Any, NamedTuple

from recipes.fusion_study.strategies import STRATEGIES

# Student's t for 95 % in both tails, by degrees of freedom (Fisher and Yates).
T95 = {1: 12.706, 2: 4.303, 3: 3.182, 4: 2.776}
NAMES = {"easy-vqa": "easy-VQA", "flickr8k": "Flickr8k questions"}
Rows = list[dict[str, Any]]

HEAD = """\
# Ways to join pictures and words, measured

Written by `python -m recipes.fusion_study --report`; the numbers are from one
{device} (torch {torch}), the models and their training are in
`recipes/fusion_study/` (results as they came: `results/`), the blocks in
[`polymodal.nn`](training.md#building-blocks).

Each strategy is a whole model of {low:.2f} to {high:.2f} million parameters, trained from nothing
on the same questions, for the same steps, at the same rate (AdamW, 1e-3, batch {batch}); none was
tuned on its own. **Accuracy** is the mean of {seeds} seeds on held-out questions, with a 95 %
interval over seeds (Student's t); **tokens** are what the picture becomes where it meets the words;
**MFLOPs** are of one answer; **training** is the step times the steps and **latency** one answer
alone, both with nothing else running.
"""

SETS = {
    "easy-vqa": """\
Synthetic shapes with eight colours (package `easy-vqa`): 4,000 pictures and 38,575 questions to
learn from, 1,000 and 9,673 to answer. The tower is learned too; its grid is 7 x 7.
""",
    "flickr8k": """\
Photographs, and questions derived from their captions as in COCO-QA (`recipes.starter.questions`):
objects, counts, colours, places, yes or no. The tower is the starter's, frozen: an 8 x 8 grid.
""",
}

ELSEWHERE = """\
(CPU): trained on a processor in float32 and not bfloat16; the FLOPs are the same.
"""


def read(path: Path) -> Rows:
    """The rows that `--data` wrote."""
    return [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]


def interval(values: list[float]) -> float:
    """Half the width of the 95 % interval of a mean; nothing for a single value."""
    if len(values) < 2:
        return math.nan
    return T95[len(values) - 1] * statistics.stdev(values) / math.sqrt(len(values))


def table(data: str, rows: Rows) -> str:
    """The strategies of one data set, the most accurate first."""
    clocks = {row["strategy"]: row for row in rows if row["kind"] == "clock" and at_main(row, data)}
    runs: dict[str, Rows] = defaultdict(list)
    for row in rows:
        if row["kind"] == "run" and at_main(row, data) and row["passes"] == most_passes(rows, data):
            runs[row["strategy"]].append(row)
    lines = [
        "| strategy | accuracy | parameters | tokens | MFLOPs | training | latency | answers/s |",
        "|---|---|---|---|---|---|---|---|",
    ]
    for strategy in sorted(runs, key=lambda name: -mean(runs[name])):
        each, clock = runs[strategy], clocks[strategy]
        spread = interval([row["accuracy"] for row in each])
        around = "" if math.isnan(spread) else f" ± {100 * spread:.1f}"
        lines.append(
            f"| {strategy} | {100 * mean(each):.1f}{around} % | {clock['parameters'] / 1e6:.2f} M "
            f"| {clock['visual_tokens']} | {clock['flops'] / 1e6:.0f} "
            f"| {clock['step_ms'] * each[0]['steps'] / 1e3:.0f} s | {clock['latency_ms']:.1f} ms "
            f"| {clock['questions_per_s']:,.0f} |"
        )
    return "\n".join(lines)


def mean(rows: Rows) -> float:
    return statistics.mean(row["accuracy"] for row in rows)


def most_passes(rows: Rows, data: str) -> int:
    return max(row["passes"] for row in rows if row["kind"] == "run" and row["data"] == data)


def at_main(row: dict[str, Any], data: str) -> bool:
    return row["data"] == data and row["side"] == {"easy-vqa": 7, "flickr8k": 8}[data]


class Point(NamedTuple):
    """A grid of the sweep: its tokens, what a strategy made of them and what that cost."""

    tokens: int
    accuracy: float
    mflops: float
    step_ms: float
    elsewhere: bool  # trained on a CPU: the accuracy is of that run, the cost of the machine above


def sweep(rows: Rows) -> dict[str, list[Point]]:
    """The points of each strategy on easy-VQA."""
    clocks = {
        (row["strategy"], row["side"]): row
        for row in rows
        if row["kind"] == "clock" and row["data"] == "easy-vqa"
    }
    least = min(r["passes"] for r in rows if r["kind"] == "run" and r["data"] == "easy-vqa")
    found = defaultdict(list)
    for row in rows:
        if row["kind"] == "run" and row["data"] == "easy-vqa" and row["passes"] == least:
            clock = clocks[row["strategy"], row["side"]]
            elsewhere = row.get("device") == "cpu"
            cost = (clock["flops"] / 1e6, clock["step_ms"])
            found[row["strategy"]].append(
                Point(row["side"] ** 2, row["accuracy"], *cost, elsewhere)
            )
    return {
        name: sorted(found[name])
        for name in STRATEGIES
        if len({point.tokens for point in found[name]}) > 1
    }


def sweep_table(swept: dict[str, list[Point]]) -> str:
    """Accuracy and MFLOPs by the size of the grid."""
    sizes = sorted({point.tokens for points in swept.values() for point in points})
    lines = [
        "| strategy | " + " | ".join(f"{size} tokens" for size in sizes) + " |",
        "|---" * (len(sizes) + 1) + "|",
    ]
    for name, points in swept.items():
        cells = {
            point.tokens: f"{100 * point.accuracy:.1f} %{' (CPU)' * point.elsewhere}, "
            f"{point.mflops:.0f}"
            for point in points
        }
        lines.append(f"| {name} | " + " | ".join(cells.get(size, "") for size in sizes) + " |")
    return "\n".join(lines)


def plot(swept: dict[str, list[Point]], out: Path) -> None:
    """Cost and accuracy against the number of visual tokens."""
    import matplotlib as mpl

    mpl.use("svg")
    from matplotlib import pyplot as plt

    # Readable with colour blindness (Okabe and Ito), and by marker without colour.
    colours = ["#0072B2", "#E69F00", "#009E73", "#D55E00", "#CC79A7", "#56B4E9", "#000000"]
    with mpl.rc_context({"svg.hashsalt": "fusion", "font.size": 9}):
        figure, axes = plt.subplots(1, 3, figsize=(10, 3.6), layout="constrained")
        for (name, points), colour, marker in zip(swept.items(), colours, "osD^vPX", strict=False):
            tokens = [point.tokens for point in points]
            for axis, values in zip(
                axes,
                (
                    [point.mflops for point in points],
                    [point.step_ms for point in points],
                    [100 * point.accuracy for point in points],
                ),
                strict=True,
            ):
                axis.plot(tokens, values, color=colour, marker=marker, markersize=4, label=name)
        for axis, title in zip(
            axes, ("MFLOPs an answer", "training step, ms", "accuracy, %"), strict=True
        ):
            axis.set_title(title, fontsize=10)
            axis.set_xlabel("visual tokens of the tower")
            axis.spines[["top", "right"]].set_visible(False)
            axis.set_xticks([9, 25, 49, 81])
        for axis in axes[:2]:
            axis.set_ylim(bottom=0)
        handles, labels = axes[0].get_legend_handles_labels()
        figure.legend(handles, labels, loc="outside lower center", ncols=4, frameon=False)
        figure.savefig(out, metadata={"Date": None})
        plt.close(figure)


def write(results: Path, out: Path) -> None:
    """Write `fusion.md` and `images/fusion.svg` into the folder `out`."""
    rows = read(results)
    machine = next(row for row in rows if row["kind"] == "machine")
    runs = [row for row in rows if row["kind"] == "run"]
    if not runs:
        raise SystemExit(f"{results} holds no finished run: give --data more --minutes")
    sizes = [row["parameters"] / 1e6 for row in rows if row["kind"] == "clock"]
    parts = [
        HEAD.format(
            device=machine["device"],
            torch=machine["torch"],
            low=min(sizes),
            high=max(sizes),
            batch=max(row["batch"] for row in runs),
            seeds=len({row["seed"] for row in runs}),
        )
    ]
    for data, about in SETS.items():
        if any(row["data"] == data for row in runs):
            parts += [f"## {NAMES[data]}\n", about, table(data, rows) + "\n"]
    swept = sweep(rows)
    if swept:
        (out / "images").mkdir(parents=True, exist_ok=True)
        plot(swept, out / "images" / "fusion.svg")
        parts += [
            "## The number of visual tokens\n",
            "easy-VQA, one seed, a third of the passes: accuracy and MFLOPs of an answer by the "
            "tower's grid.\nEvery model has the same size, so where positions cost parameters its "
            "width shrinks a step: the Q-Former's MFLOPs fall once for that.\n",
            sweep_table(swept) + "\n",
            *([ELSEWHERE] if any(p.elsewhere for points in swept.values() for p in points) else []),
            "![Cost and accuracy by the number of visual tokens](images/fusion.svg)\n",
        ]
    said = Path(__file__).with_name("findings.md")
    if said.exists():
        parts.append(said.read_text(encoding="utf-8"))
    (out / "fusion.md").write_text("\n".join(parts).rstrip() + "\n", encoding="utf-8")
