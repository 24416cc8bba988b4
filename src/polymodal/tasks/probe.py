"""Probe: a few pictures a class in, a small linear classifier out.

Notable: training is closed-form (`tasks/linear.py`), so it takes seconds, needs no further package
and gives the same probe every time; by a recipe it is logistic regression (`tasks/logistic.py`),
to compare features by the protocol of a paper. A few pictures are looked at more closely where the
model can (`CloseUp`). A probe is one safetensors file: the weights, and in its header the labels,
the model's space, how close a look it needs and the report. No pickle.
"""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, TypeAlias

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageOps

from polymodal.errors import MediaError, UsageError
from polymodal.media.files import find_files
from polymodal.media.pictures import ImageInput, Limits, open_picture, picture_name
from polymodal.models.protocols import (
    CloseLook,
    CloseLooker,
    CloseUp,
    Embedder,
    Eye,
    FeatureExtractor,
    Pixels,
)
from polymodal.results import (
    Classification,
    ItemError,
    ProbeReport,
    Provenance,
    Space,
    Vector,
)
from polymodal.runtime.batches import pipelined
from polymodal.runtime.intervals import wilson
from polymodal.runtime.pictures import load_pixels
from polymodal.tasks.calibration import Doubles, provenance_of
from polymodal.tasks.classify import Decision, decide
from polymodal.tasks.linear import fit_linear, predict
from polymodal.tasks.logistic import fit_logistic
from polymodal.training.probe_recipe import LinearProbeRecipe

__all__ = ["Probe", "classify_with_probe", "close_up_of", "train_probe"]

FORMAT = "polymodal probe 1"
MINIMUM = 2
"""Pictures a class must have: one to hold out and one to learn from."""
MOST_CLOSE = 1000
"""Pictures that are looked at closely; of more, the features would take too much memory."""

_Sight: TypeAlias = tuple[Eye, Callable[[Sequence[Pixels]], Vector]]


@dataclass(frozen=True)
class Probe:
    """A trained linear classifier on one model's features.

    Attributes:
        weights: float32, shape (features, labels).
        bias: float32, shape (labels,).
        report: cross-validated accuracy, pictures a label, failed inputs.
        look: how close a look at a picture it needs; None: the one that an embedding takes.
    """

    labels: tuple[str, ...]
    space: Space
    weights: Vector
    bias: Vector
    temperature: float
    report: ProbeReport
    look: CloseLook | None = None

    def check(self, embedder: Embedder) -> None:
        """Refuse a model on which the probe was not trained.

        Raises:
            SpaceMismatch: it is another model, or another revision of it.
            UsageError: it does not look as closely as the probe was trained to.
        """
        self.space.require_same(
            embedder.space,
            f"use a probe with {embedder.space.model}",
            "Train it again on this model"
            + (
                f", or classify with -m {self.space.model}."
                if self.space.model != embedder.space.model
                else f": {self.space.model} has changed since (another revision)."
            ),
        )
        close_up = close_up_of(embedder)
        if self.look is not None and (close_up is None or close_up.look != self.look):
            can = f"looks at {close_up.look}" if close_up else "has no closer look"
            raise UsageError(
                f"the probe ({', '.join(self.labels)}) looks at {self.look}, and"
                f" {embedder.space.model} {can}. Train it again on this model."
            )

    def probabilities(self, features: Vector) -> Doubles:
        """Calibrated probabilities, shape (n, labels)."""
        return predict(features, self.weights, self.bias, self.temperature)

    def save(self, path: str | os.PathLike[str]) -> Path:
        """Write one safetensors file, whole or not at all; returns its path.

        Raises:
            UsageError: when it cannot be written.
        """
        from safetensors.numpy import save

        report = {**asdict(self.report), "provenance": asdict(self.report.provenance)}
        metadata = {
            "format": FORMAT,
            "labels": json.dumps(self.labels),
            "space": json.dumps(self.space.to_dict()),
            "temperature": repr(self.temperature),
            "report": json.dumps(report),
            **({"look": json.dumps(asdict(self.look))} if self.look else {}),
        }
        file = Path(path)
        part = file.with_name(f".{file.name}.{os.getpid()}.part")
        try:
            part.write_bytes(save({"weights": self.weights, "bias": self.bias}, metadata))
            part.replace(file)
        except OSError as error:
            part.unlink(missing_ok=True)
            raise UsageError(f"the probe cannot be written to {file}: {error.strerror}.") from error
        return file

    @classmethod
    def load(cls, path: str | os.PathLike[str]) -> Probe:
        """Read what `save` wrote.

        Raises:
            UsageError: when the file is missing or is not a probe.
        """
        from safetensors import SafetensorError, safe_open

        file = Path(path)
        if not file.is_file():
            raise UsageError(f"no probe file at {file}. Make one: polymodal probe DIR -o {file}")
        try:
            with safe_open(str(file), framework="numpy") as opened:
                metadata = opened.metadata() or {}
                if metadata.get("format") != FORMAT:
                    raise UsageError(f"{file} is a safetensors file, but not a probe.")
                weights, bias = opened.get_tensor("weights"), opened.get_tensor("bias")
                return cls(
                    labels=tuple(json.loads(metadata["labels"])),
                    space=Space.from_dict(json.loads(metadata["space"])),
                    weights=weights,
                    bias=bias,
                    temperature=float(metadata["temperature"]),
                    report=_report(json.loads(metadata["report"])),
                    # Files from before there was a closer look have no such key.
                    look=CloseLook(**json.loads(metadata["look"])) if "look" in metadata else None,
                )
        except (SafetensorError, OSError, KeyError, ValueError, TypeError) as error:
            if isinstance(error, UsageError):
                raise
            raise UsageError(f"{file} is not a readable probe: {error}") from error


def train_probe(
    embedder: Embedder,
    source: str | os.PathLike[str] | Mapping[str, Sequence[ImageInput]],
    *,
    limits: Limits,
    recipe: LinearProbeRecipe | None = None,
) -> Probe:
    """Train on a folder with a subfolder a class, or on label -> pictures.

    Every picture counts with its mirror image. Up to `MOST_CLOSE` are looked at closely where the
    model can. Pictures that cannot be opened are left out and listed in the report.

    Args:
        recipe: logistic regression on the pictures as they are, by these values.

    Raises:
        UsageError: fewer than two classes, or a class with fewer than two good pictures.
        MissingDependency: a recipe needs a package that is not installed.
    """
    classes, missing = _classes(source)
    pictures = [(number, item) for number, items in enumerate(classes.values()) for item in items]
    few = recipe is None and len(pictures) <= MOST_CLOSE
    close_up = close_up_of(embedder) if few else None
    look = close_up.look if close_up else None
    sight = _sight(embedder, look)
    features, owners, errors = _features(
        sight, pictures, limits, mirrored=recipe is None, averaged=look is not None
    )
    labels = tuple(classes)
    counts = np.bincount(owners, minlength=len(labels)) if owners else np.zeros(len(labels), int)
    errors = (*missing, *errors)
    _require_enough(labels, counts, errors)
    class_index = np.array(owners, np.int64)
    weights, bias, temperature, correct, asked = _head(features, class_index, len(labels), recipe)
    report = ProbeReport(
        labels=labels,
        images={label: int(count) for label, count in zip(labels, counts, strict=True)},
        accuracy=correct / asked,
        interval=wilson(correct, asked),
        errors=errors,
        provenance=provenance_of(embedder),
    )
    return Probe(labels, embedder.space, weights, bias, temperature, report, look)


def _head(
    features: Vector, class_index: NDArray[np.int64], classes: int, recipe: LinearProbeRecipe | None
) -> tuple[Vector, Vector, float, int, int]:
    """Weights, bias and temperature; how many held-out pictures were right, and of how many."""
    if recipe is not None:
        fitted = fit_logistic(features[:, 0], class_index, classes, recipe)
        return fitted.weights_FC, fitted.bias_C, 1.0, fitted.right, fitted.held_out
    head = fit_linear(features, class_index, classes)
    correct = int((head.held_out_GC.argmax(1) == class_index[head.asked_G]).sum())
    return head.weights_FC, head.bias_C, head.temperature, correct, len(head.asked_G)


def classify_with_probe(
    embedder: Embedder,
    images: Iterable[ImageInput],
    probe: Probe,
    decision: Decision,
    *,
    limits: Limits,
) -> Iterator[tuple[ImageInput, Classification | MediaError]]:
    """Yield `(picture, classification)` for each picture, in order, lazily."""
    provenance = provenance_of(embedder)
    eye, extract = _sight(embedder, probe.look)
    for source, outcome in pipelined(
        images, lambda source: load_pixels(eye, source, limits), lambda batch: list(extract(batch))
    ):
        if isinstance(outcome, MediaError):
            yield source, outcome
            continue
        assert not isinstance(outcome, Exception)
        scores = probe.probabilities(outcome[None])[0]
        yield source, decide(source, probe.labels, scores, decision, provenance)


def close_up_of(embedder: Embedder) -> CloseUp | None:
    """The model's closer look, where it has one."""
    return embedder.close_up if isinstance(embedder, CloseLooker) else None


def _sight(embedder: Embedder, look: CloseLook | None) -> _Sight:
    """What a probe sees pictures by: how they get to the model, and what it gives of them."""
    close_up = close_up_of(embedder)
    if look is not None and close_up is not None:
        return close_up, close_up.extract_features
    if isinstance(embedder, FeatureExtractor):
        return embedder, embedder.extract_features
    return embedder, embedder.embed_images


def _classes(
    source: str | os.PathLike[str] | Mapping[str, Sequence[ImageInput]],
) -> tuple[dict[str, list[ImageInput]], tuple[ItemError, ...]]:
    """Label -> pictures, labels sorted; and what could not be listed."""
    if isinstance(source, Mapping):
        return {label: list(source[label]) for label in sorted(source)}, ()
    folder = Path(source)
    if not folder.is_dir():
        raise UsageError(f"{folder} is not a folder. A probe learns from a folder a class in it.")
    names = sorted(
        entry.name for entry in folder.iterdir() if entry.is_dir() and entry.name[0] != "."
    )
    classes: dict[str, list[ImageInput]] = {}
    errors: list[ItemError] = []
    for name in names:
        found = list(find_files([folder / name]))
        errors += [item for item in found if isinstance(item, ItemError)]
        classes[name] = [item for item in found if not isinstance(item, ItemError)]
    if len(classes) < 2:
        here = f"it has {len(classes)}" + (f" ({names[0]})" if names else "")
        raise UsageError(
            f"{folder} needs a subfolder of pictures for each of two or more classes; {here}."
        )
    return classes, tuple(errors)


def _features(
    sight: _Sight,
    pictures: Sequence[tuple[int, ImageInput]],
    limits: Limits,
    *,
    mirrored: bool,
    averaged: bool,
) -> tuple[Vector, list[int], tuple[ItemError, ...]]:
    """Features of each picture, and its mirror image, shape (pictures, 1 or 2, features).

    Args:
        averaged: over the two: half the memory, and a probe as good.
    """

    eye, extract = sight

    def prepare(item: tuple[int, ImageInput]) -> tuple[Pixels, ...]:
        picture = open_picture(item[1], target_px=eye.image_size_px, limits=limits)
        image: Image.Image = picture.image
        views = (image, ImageOps.mirror(image)) if mirrored else (image,)
        return tuple(eye.preprocess(view) for view in views)

    def infer(batch: Sequence[tuple[Pixels, ...]]) -> list[Vector]:
        rows = extract([pixels for views in batch for pixels in views])
        views = rows.reshape(len(batch), 1 + mirrored, -1)
        return list(views.mean(1, keepdims=True) if averaged else views)

    rows: list[Vector] = []
    owners: list[int] = []
    errors: list[ItemError] = []
    for (number, source), outcome in pipelined(pictures, prepare, infer, batch_size=16):
        if isinstance(outcome, Exception):
            errors.append(ItemError.of(picture_name(source), outcome))
        else:
            rows.append(outcome)
            owners.append(number)
    return np.stack(rows) if rows else np.zeros((0, 2, 1), np.float32), owners, tuple(errors)


def _require_enough(
    labels: Sequence[str], counts: Iterable[int], errors: Sequence[ItemError]
) -> None:
    if len(labels) < 2:
        raise UsageError(f"a probe needs two or more classes, not {len(labels)}.")
    few = [f"{label} ({n})" for label, n in zip(labels, counts, strict=True) if n < MINIMUM]
    if few:
        failed = f"; {len(errors)} could not be opened, first: {errors[0].reason}" if errors else ""
        raise UsageError(
            f"every class needs {MINIMUM} or more pictures that can be opened; too few in"
            f" {', '.join(few)}{failed}"
        )


def _report(data: Mapping[str, Any]) -> ProbeReport:
    return ProbeReport(
        labels=tuple(data["labels"]),
        images=data["images"],
        accuracy=data["accuracy"],
        interval=(data["interval"][0], data["interval"][1]),
        errors=tuple(ItemError(**error) for error in data["errors"]),
        provenance=Provenance(
            data["provenance"]["model"],
            data["provenance"]["revision"],
            tuple(data["provenance"]["prompts"]),
        ),
    )
