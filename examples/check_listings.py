"""Does every picture of a shop's table fit its title, and is it good enough to show?

python examples/check_listings.py products.csv      # columns: image, title
"""

from __future__ import annotations

import csv
import sys
from pathlib import Path

import polymodal as pm


def main(table: str) -> None:
    """Print the listings that a person should look at, worst first."""
    suite, folder = pm.Suite(), Path(table).parent
    with Path(table).open(newline="", encoding="utf-8") as stream:
        rows = list(csv.DictReader(stream))
    pictures: list[str | Path] = [folder / row["image"] for row in rows]
    titles = [row["title"] for row in rows]
    fits = suite.match_pairs(list(zip(pictures, titles, strict=True)))
    verdicts = suite.moderate(pictures, policy="photo-quality")
    doubts = []
    for title, fit, verdict in zip(titles, fits, verdicts, strict=True):
        if isinstance(fit, pm.ItemError):
            doubts.append((0.0, title, fit.reason))
        elif fit.probability < 0.5:
            doubts.append((fit.probability, title, "the title does not fit the picture"))
        elif isinstance(verdict, pm.Verdict) and not verdict.approved:
            doubts.append((fit.probability, title, verdict.criterion))
    for probability, title, why in sorted(doubts):
        print(f"{probability:.2f}  {title}: {why}")
    print(f"{len(rows) - len(doubts)} of {len(rows)} listings are fine")


if __name__ == "__main__":
    main(sys.argv[1])
