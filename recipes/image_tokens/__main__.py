"""Train a picture tokenizer, and a small model that draws by its codes.

    python -m recipes.image_tokens --output DIR [--resume]   # some ten minutes on two cores
    python -m recipes.image_tokens --report DIR --out docs   # writes docs/image-tokens.md

Needs `polymodal[train]`. DIR gets a run folder a stage, results.json and samples.png.
"""

from __future__ import annotations

import argparse
import json
import sys
from pathlib import Path

from polymodal.errors import PolymodalError


def say(text: str) -> None:
    print(text, file=sys.stderr, flush=True)


def train(options: argparse.Namespace) -> None:
    """All stages; prints the tables."""
    from recipes.image_tokens.data import drawings
    from recipes.image_tokens.report import tables, write_image
    from recipes.image_tokens.settings import planned, shortened
    from recipes.image_tokens.study import study

    shown = study(
        drawings(),
        shortened(planned(), options.fraction),
        options.output,
        say,
        resume=options.resume,
        accept_changes=options.accept_changes,
    )
    write_image(shown, options.output / "samples.png")
    print(tables(shown.results))


def report(options: argparse.Namespace) -> None:
    """The page, from what a run left."""
    file = options.report / "results.json"
    if not file.is_file():
        raise SystemExit(
            f"{options.report} holds no results.json: finish a run with --output first"
        )
    from recipes.image_tokens.report import write_page

    results = json.loads(file.read_text(encoding="utf-8"))
    write_page(results, options.report / "samples.png", options.out)


def main() -> None:
    """Train or report."""
    parser = argparse.ArgumentParser(description="Train a picture tokenizer and draw by its codes.")
    step = parser.add_mutually_exclusive_group(required=True)
    step.add_argument(
        "--output", type=Path, metavar="DIR", help="train, and measure, in this folder"
    )
    step.add_argument("--report", type=Path, metavar="DIR", help="write the page of what it holds")
    parser.add_argument("--resume", action="store_true", help="go on with what the folder holds")
    parser.add_argument(
        "--accept-changes", action="store_true", help="resume even with other values"
    )
    parser.add_argument("--fraction", type=float, default=1.0, help="of the passes, to try it")
    parser.add_argument("--out", type=Path, default=Path("docs"), help="where the page goes")
    options = parser.parse_args()
    try:
        if options.output:
            train(options)
        else:
            report(options)
    except PolymodalError as error:
        say(str(error))
        raise SystemExit(error.exit_code) from error


if __name__ == "__main__":
    main()
