"""The development data, read from a folder laid out like `shared/data`.

Train and dev stay apart here: nothing that trains ever asks for `dev` or for a clothing image.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image

Pixels = NDArray[np.uint8]

# The ten clothing classes, three ways of saying them: other people will choose the words, so a
# number for one wording alone would say little.
DESCRIPTIVE = {
    "dress": "a dress",
    "hat": "a hat or cap",
    "longsleeve": "a long sleeved top",
    "outwear": "a jacket",
    "pants": "trousers",
    "shirt": "a button-up shirt",
    "shoes": "a pair of shoes",
    "shorts": "a pair of shorts",
    "skirt": "a skirt",
    "t-shirt": "a short sleeved tee shirt",
}
FOLDER = {name: name for name in DESCRIPTIVE}
NATURAL = {"longsleeve": "long-sleeve shirt", "outwear": "outerwear jacket or coat"}
CLOTHING_WORDINGS = {"folder": FOLDER, "natural": FOLDER | NATURAL, "descriptive": DESCRIPTIVE}


@dataclass(frozen=True)
class Captioned:
    """Photographs of one split with five captions each."""

    paths: list[Path]
    captions: list[list[str]]

    @property
    def flat(self) -> list[str]:
        """All captions, image after image."""
        return [caption for row in self.captions for caption in row]


@dataclass(frozen=True)
class Labelled:
    """Photographs with a class index each; `classes` are folder names, sorted."""

    paths: list[Path]
    labels: NDArray[np.int64]
    classes: list[str]


def flickr(data: Path, split: str) -> Captioned:
    """Read the Flickr8k photographs and captions of `split` ("train" or "dev")."""
    root = data / "flickr8k"
    paths, captions = [], []
    with (root / "captions.jsonl").open(encoding="utf-8") as lines:
        for line in lines:
            row = json.loads(line)
            if row["split"] == split:
                paths.append(root / row["image"])
                captions.append([str(caption).strip() for caption in row["captions"]])
    return Captioned(paths, captions)


def clothing(data: Path, split: str) -> Labelled:
    """Read the clothing photographs of `split` ("train" or "validation"), for evaluation only."""
    root = data / "clothing" / split
    classes = sorted(folder.name for folder in root.iterdir() if folder.is_dir())
    paths = [
        (path, i) for i, name in enumerate(classes) for path in sorted((root / name).iterdir())
    ]
    return Labelled([p for p, _ in paths], np.array([i for _, i in paths]), classes)


def load_square(path: Path, size: int, mirrored: bool = False) -> Pixels:
    """Read one photograph as RGB: the largest square in its middle, at `size` pixels (bicubic)."""
    with Image.open(path) as file:
        image = file.convert("RGB")
    side = min(image.size)
    left, top = (image.width - side) / 2, (image.height - side) / 2
    box = (left, top, left + side, top + side)
    pixels: Pixels = np.asarray(image.resize((size, size), Image.Resampling.BICUBIC, box))
    return pixels[:, ::-1] if mirrored else pixels


def load_crop(path: Path, size: int, mirrored: bool, random: np.random.Generator) -> Pixels:
    """Read a random part of a photograph: 55 to 100 % of its square, a little stretched."""
    with Image.open(path) as file:
        image = file.convert("RGB")
    side = min(image.size)
    share, stretch = random.uniform(0.55, 1.0), float(np.exp(random.uniform(-0.12, 0.12)))
    width = min(side, side * (share * stretch) ** 0.5)
    height = min(side, side * (share / stretch) ** 0.5)
    left, top = random.uniform(0, image.width - width), random.uniform(0, image.height - height)
    box = (left, top, left + width, top + height)
    pixels: Pixels = np.asarray(image.resize((size, size), Image.Resampling.BICUBIC, box))
    return pixels[:, ::-1] if mirrored else pixels


def batches(count: int, size: int) -> Iterator[slice]:
    """Slices of at most `size` that cover `range(count)`."""
    for start in range(0, count, size):
        yield slice(start, min(start + size, count))
