"""Copy pictures into a folder a class; what fits no class goes to `unsorted`.

python examples/sort_uploads.py uploads/ sorted/ shoe shirt dress bag
"""

from __future__ import annotations

import shutil
import sys
from pathlib import Path

import polymodal as pm


def main(uploads: str, target: str, *labels: str) -> None:
    """Sort, and say how many went where."""
    pictures = sorted(path for path in Path(uploads).iterdir() if path.is_file())
    counts: dict[str, int] = {}
    for path, item in zip(
        pictures, pm.Suite().classify(pictures, list(labels), unknown=0.5), strict=True
    ):
        if isinstance(item, pm.ItemError):
            print(f"{path}: {item.reason}", file=sys.stderr)
            continue
        name = item.label or "unsorted"
        counts[name] = counts.get(name, 0) + 1
        (Path(target) / name).mkdir(parents=True, exist_ok=True)
        shutil.copy2(path, Path(target) / name)
    print(", ".join(f"{count} {name}" for name, count in sorted(counts.items())))


if __name__ == "__main__":
    main(*sys.argv[1:])
