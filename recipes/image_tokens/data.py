"""easy-VQA's drawings, and the colour and shape that its questions say of them.

Notable: the package has no labels, but a question with its answer states some: "is there not a red
shape?", "no". A drawing about which no question says both is one to rebuild, not one to ask for.

Legend of shapes: n drawings, 3 channels, 64 x 64 pixels.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from polymodal.errors import MissingDependency
from polymodal.training.loading import Sample

__all__ = [
    "COLOURS",
    "SHAPES",
    "WORDS",
    "Drawings",
    "Rows",
    "drawings",
    "fingerprint",
    "stacked",
    "stated",
]

COLOURS = ("black", "blue", "brown", "gray", "green", "red", "teal", "yellow")
SHAPES = ("circle", "rectangle", "triangle")
WORDS = COLOURS + SHAPES
DEV = 400
"""Of the package's training drawings, the last: the settings were chosen on them."""
UNSAID = -1


@dataclass(frozen=True)
class Drawings:
    """Pixels (n, 3, 64, 64) as bytes; colour (n) and shape (n) as places in the lists, or -1."""

    pixels: Tensor
    colour: Tensor
    shape: Tensor

    def __len__(self) -> int:
        return len(self.pixels)

    def __getitem__(self, rows: slice | Tensor) -> Drawings:
        return Drawings(self.pixels[rows], self.colour[rows], self.shape[rows])

    def named(self) -> Drawings:
        """Those of which colour and shape are known."""
        return self[(self.colour != UNSAID) & (self.shape != UNSAID)]


def drawings() -> dict[str, Drawings]:
    """The parts train, dev and test; test is the package's own.

    Raises:
        MissingDependency: the package is not installed.
    """
    try:
        import easy_vqa as source
    except ModuleNotFoundError as error:
        raise MissingDependency(
            "the drawings are those of the package easy-vqa: pip install 'polymodal[train]'"
        ) from error
    whole = _read(source.get_train_questions(), source.get_train_image_paths())
    return {
        "train": whole[:-DEV],
        "dev": whole[-DEV:],
        "test": _read(source.get_test_questions(), source.get_test_image_paths()),
    }


def stated(question: str, answer: str) -> set[str]:
    """The words of `WORDS` that are true of the drawing, by what is asked and answered."""
    words = question.lower().replace("?", " ").split()
    asked = {word for word in words if word in WORDS}
    if answer not in {"yes", "no"}:
        return {answer} | asked  # "what color is the circle?"
    denied = "not" in words or "no" in words
    return asked if (answer == "yes") != denied else set()


def _read(questions: Iterable[Sequence[Any]], paths: dict[int, str]) -> Drawings:
    said: dict[int, set[str]] = {number: set() for number in paths}
    for question, answer, number in zip(*questions, strict=True):
        said[number] |= stated(question, answer)
    pixels = []
    for number in sorted(paths):
        with Image.open(paths[number]) as file:
            pixels.append(np.asarray(file.convert("RGB")).transpose(2, 0, 1))
    colour, shape = (
        torch.tensor([_place(said[number], names) for number in sorted(paths)])
        for names in (COLOURS, SHAPES)
    )
    return Drawings(torch.from_numpy(np.stack(pixels)), colour, shape)


def _place(said: set[str], names: tuple[str, ...]) -> int:
    found = [place for place, name in enumerate(names) if name in said]
    return found[0] if len(found) == 1 else UNSAID


@dataclass(frozen=True)
class Rows:
    """Rows of tensors of one length, as the samples of a loader."""

    columns: tuple[Tensor, ...]

    def __len__(self) -> int:
        return len(self.columns[0])

    def sample(self, epoch: int, index: int) -> Sample:
        """Row `index`, the same in every pass."""
        return Sample(f"drawing {index}", tuple(column[index] for column in self.columns))


def fingerprint(*columns: Tensor) -> str:
    """Of all their numbers."""
    digest = hashlib.sha256()
    for column in columns:
        digest.update(column.numpy().tobytes())
    return digest.hexdigest()[:16]


def stacked(rows: Sequence[tuple[Tensor, ...]]) -> tuple[Tensor, ...]:
    """Rows as the inputs of a step."""
    return tuple(torch.stack(column) for column in zip(*rows, strict=True))
