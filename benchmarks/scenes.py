"""Where scenes are cut: cuts missed and invented, by the threshold, on films made of photographs.

    python -m benchmarks.scenes --data ../shared/data [--films 20]

A film is six photographs of Flickr8k dev, three seconds each, two frames a second, while a window
of four fifths of the picture moves across and closes in by a third: a hard pan. Counted are the
cuts between photographs that were not found, and cuts within one that are none.
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path

import numpy as np
from PIL import Image

import polymodal as pm
from benchmarks.tables import markdown
from polymodal.results import Vector
from polymodal.tasks import scenes
from polymodal.tasks.scenes import Sampled, cut_scenes

PHOTOGRAPHS = 6
FRAMES = 6
THRESHOLDS = (0.40, 0.50, 0.55, 0.60, 0.65, 0.70, 0.75, 0.80, 0.85, 0.90)


def pan(picture: Image.Image) -> list[Image.Image]:
    """The frames of one scene."""
    width, height = picture.size
    frames = []
    for step in range(FRAMES):
        share = step / (FRAMES - 1)
        size = 0.8 * (1 - share / 3)
        left, top = share * (1 - size) * width, 0.5 * (1 - size) * height
        frames.append(
            picture.crop((int(left), int(top), int(left + size * width), int(top + size * height)))
        )
    return frames


def films(data: Path, count: int) -> list[list[Image.Image]]:
    """Frames of every film."""
    folder = data / "flickr8k"
    rows = [json.loads(line) for line in (folder / "captions.jsonl").read_text().splitlines()]
    names = [row["image"] for row in rows if row["split"] == "dev"]
    chosen = np.random.default_rng(0).permutation(len(names))[: count * PHOTOGRAPHS]
    pictures = [Image.open(folder / names[index]).convert("RGB") for index in chosen]
    frames = [frame for picture in pictures for frame in pan(picture)]
    length = PHOTOGRAPHS * FRAMES
    return [frames[start : start + length] for start in range(0, len(frames), length)]


def count(vectors: Vector) -> tuple[int, int]:
    """Cuts missed and cuts invented in one film."""
    sampled = (Sampled(number / 2, vector, b"") for number, vector in enumerate(vectors))
    found = {round(cut.start_s * 2) for cut, _ in cut_scenes(sampled)} - {0}
    true = set(range(FRAMES, PHOTOGRAPHS * FRAMES, FRAMES))
    return len(true - found), len(found - true)


def main() -> None:
    """Measure and print the table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--data", type=Path, default=Path("../shared/data"))
    parser.add_argument("--films", type=int, default=20)
    arguments = parser.parse_args()
    suite = pm.Suite()
    vectors = [suite.embed(images=film).vectors for film in films(arguments.data, arguments.films)]
    cuts = len(vectors) * (PHOTOGRAPHS - 1)
    rows = []
    for threshold in THRESHOLDS:
        scenes.SAME_SCENE = threshold
        missed, invented = np.sum([count(film) for film in vectors], axis=0)
        rows.append([f"{threshold:.2f}", f"{missed} of {cuts}", f"{invented}"])
    print(markdown(["threshold", "cuts missed", "cuts invented"], rows))


if __name__ == "__main__":
    main()
