"""Put the tables that the benchmarks printed into README.md, between its markers.

    python tools/readme_numbers.py [--run]

The tables are kept in benchmarks/results/NAME.md, exactly as `python -m benchmarks.NAME` printed
them; with `--run` they are measured anew first. Numbers never enter the README by hand.
"""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

REPOSITORY = Path(__file__).resolve().parent.parent
RESULTS = REPOSITORY / "benchmarks" / "results"
BEGIN, END = "<!-- numbers:begin -->", "<!-- numbers:end -->"
HEADINGS = {
    "indexing": "Indexing photographs, end to end",
    "search_speed": "Search at 100,000 vectors",
    "search_million": "Search at 1,000,000 vectors",
    "cold_start": "A new process",
    "second_run": "`polymodal caption FOLDER`, and the same again",
    "install_size": "On disk",
}
"""Benchmark to the heading of its table; the order of the README."""


def render(tables: dict[str, str]) -> str:
    """What stands between the markers."""
    names = [*(n for n in HEADINGS if n in tables), *sorted(tables.keys() - HEADINGS.keys())]
    parts = [
        f"**{HEADINGS.get(name, name.replace('_', ' ').capitalize())}**"
        f" (`python -m benchmarks.{name}`)\n\n{tables[name].strip()}\n"
        for name in names
    ]
    return "\n".join([BEGIN, *parts, END])


def insert(readme: str, block: str) -> str:
    """The README with `block` in the place of what stood between the markers."""
    head, begin, rest = readme.partition(BEGIN)
    _, end, tail = rest.partition(END)
    if not begin or not end:
        raise SystemExit(f"README.md has no {BEGIN} ... {END}.")
    return head + block + tail


def measure() -> None:
    """Run every benchmark whose table is kept, and those of `HEADINGS`."""
    RESULTS.mkdir(exist_ok=True)
    kept = {file.stem for file in RESULTS.glob("*.md")}
    for name in sorted((kept | HEADINGS.keys()) - {"search_million"}):  # takes an hour
        if (REPOSITORY / "benchmarks" / f"{name}.py").exists():
            command = [sys.executable, "-m", f"benchmarks.{name}"]
            printed = subprocess.run(
                command, check=True, cwd=REPOSITORY, stdout=subprocess.PIPE, text=True
            ).stdout
            (RESULTS / f"{name}.md").write_text(printed)


def main() -> None:
    """Update the README."""
    if "--run" in sys.argv[1:]:
        measure()
    tables = {file.stem: file.read_text() for file in sorted(RESULTS.glob("*.md"))}
    readme = REPOSITORY / "README.md"
    readme.write_text(insert(readme.read_text(), render(tables)))


if __name__ == "__main__":
    main()
