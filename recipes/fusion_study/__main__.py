"""Measure the fusion strategies against each other.

    python -m recipes.fusion_study --prepare DATA.npz [--shared DIR]  # needs the package's extras
    python -m recipes.fusion_study --data DATA.npz --results RUNS.jsonl --device cuda --workers 8
    python -m recipes.fusion_study --report RUNS.jsonl --out docs

The middle step needs torch and numpy alone, so it can run on a machine without a network. Runs are
taken in order of their worth until `--minutes` are over; what was not run is named.
"""

from __future__ import annotations

import argparse
from pathlib import Path


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
        from recipes.fusion_study.measuring import measure

        measure(options)
    else:
        from recipes.fusion_study.report import write

        write(options.report, options.out)


if __name__ == "__main__":
    main()
