"""OCR: pages a second of `read` beside plain calls of RapidOCR, and whether the text is the same.

    python -m benchmarks.reading --data ../shared/data [--count 8]

Pages are receipts of sroie/, opened beforehand. The second row calls RapidOCR with the settings
that `read` uses, a page after the other with all cores on each, as its manual shows: the direction
of a page is decided once, not line by line. The third row decides it line by line, which is
RapidOCR's default, and the lines that only one of the two ways gives are printed; the last row is
RapidOCR with all the settings it comes with, which looks for lines at another size. All use the
weights that RapidOCR ships. "Same lines" is the share of lines of either side that the other has
too, with the same characters. Rounds take turns; the figures are medians.
"""

from __future__ import annotations

import argparse
import time
from collections import Counter
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from benchmarks.tables import conditions, markdown, median
from polymodal.models.rapidocr import DETECTION_SIDE_PX, LONGEST_SIDE_PX, RapidOcrReader

Engine = Callable[[Sequence[Image.Image]], list[list[str]]]
ROUNDS = 3
A_LINE = "RapidOCR, the same but a direction a line"


def ours() -> Engine:
    """`RapidOcrReader`, which `read` hands its batches to."""
    reader = RapidOcrReader()

    def run(pages: Sequence[Image.Image]) -> list[list[str]]:
        texts: list[list[str]] = []
        for start in range(0, len(pages), reader.batch_size):
            found = reader.read(pages[start : start + reader.batch_size])
            texts += [[line.text for line in page.lines] for page in found]
        return texts

    return run


def plain(**settings: object) -> Engine:
    """One call a page."""
    from rapidocr import RapidOCR

    engine: Any = RapidOCR(params={"Global.log_level": "critical", **settings})

    def run(pages: Sequence[Image.Image]) -> list[list[str]]:
        texts = []
        for page in pages:
            bgr = np.ascontiguousarray(np.asarray(page)[:, :, ::-1])
            texts.append([text.strip() for text in engine(bgr).txts or ()])
        return texts

    return run


def same_lines(ours: Sequence[Sequence[str]], theirs: Sequence[Sequence[str]]) -> float:
    """Lines that both have, twice, over all lines of both."""
    common = total = 0
    for one, other in zip(ours, theirs, strict=True):
        common += 2 * (Counter(one) & Counter(other)).total()
        total += len(one) + len(other)
    return common / max(total, 1)


def apart(ours: Sequence[Sequence[str]], theirs: Sequence[Sequence[str]]) -> str:
    """Lines that one side alone has, ours first."""
    pairs = list(zip(ours, theirs, strict=True))
    here = [line for one, other in pairs for line in (Counter(one) - Counter(other)).elements()]
    there = [line for one, other in pairs for line in (Counter(other) - Counter(one)).elements()]
    return f"{', '.join(here) or 'none'} / {', '.join(there) or 'none'}"


def main() -> None:
    """Measure and print the table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--data", type=Path, default=Path("../shared/data"))
    parser.add_argument("--count", type=int, default=8)
    arguments = parser.parse_args()
    files = sorted((arguments.data / "sroie" / "img").glob("*.jpg"))[: arguments.count]
    pages = [Image.open(file).convert("RGB") for file in files]
    settings = {
        "Global.max_side_len": LONGEST_SIDE_PX,
        "Det.limit_type": "max",
        "Det.limit_side_len": DETECTION_SIDE_PX,
    }
    engines = {
        "polymodal read": ours(),
        "RapidOCR, same settings": plain(**settings, **{"Global.use_cls": False}),
        A_LINE: plain(**settings),
        "RapidOCR, its own settings": plain(),
    }
    seconds: dict[str, list[float]] = {name: [] for name in engines}
    texts: dict[str, list[list[str]]] = {}
    for run in engines.values():
        run(pages[:2])
    for _ in range(ROUNDS):
        for name, run in engines.items():
            start = time.perf_counter()
            texts[name] = run(pages)
            seconds[name].append(time.perf_counter() - start)
    first = next(iter(engines))
    rows = [
        [
            name,
            f"{len(pages) / median(spent):.2f}",
            f"{median(spent) / len(pages):.2f}",
            f"{median(spent) / median(seconds[first]):.2f} x",
            f"{same_lines(texts[first], texts[name]):.1%}",
        ]
        for name, spent in seconds.items()
    ]
    print(markdown(["reader", "pages/s", "s a page", "time", "same lines"], rows))
    print(f"\nWith a direction a page alone / a line alone: {apart(texts[first], texts[A_LINE])}.")
    print(f"\n{len(pages)} receipts. {conditions('rapidocr', 'onnxruntime')}.")


if __name__ == "__main__":
    main()
