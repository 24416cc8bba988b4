"""Classify: zero-shot labels for pictures, by prompt ensembles or by a trained probe.

Notable: every description of a label goes through every template; the mean of those text vectors,
normalised again, stands for the label (Radford et al., 2021, section 3.1.4). Probabilities use the
temperature that was fitted on development data and is kept in the model's card.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass

import numpy as np

from polymodal.errors import MediaError, UsageError
from polymodal.media.pictures import ImageInput, Limits, picture_name
from polymodal.results import Classification, Provenance, Vector
from polymodal.runtime.pictures import embed_pictures
from polymodal.runtime.texts import TextVectors
from polymodal.tasks.calibration import Doubles, calibration_of, fits, provenance_of, softmax
from polymodal.tasks.labels import LabelInput, fill, noun_phrase, to_labels

__all__ = ["Decision", "ZeroShot", "classify", "decide", "zero_shot"]


@dataclass(frozen=True)
class ZeroShot:
    """Labels as vectors of the model's space, float32, shape (labels, dimension)."""

    labels: tuple[str, ...]
    vectors: Vector
    provenance: Provenance


@dataclass(frozen=True)
class Decision:
    """How scores become a label.

    Attributes:
        multi_label: each label on its own, instead of one out of all.
        unknown: score in 0..1 that the best label needs; below it the answer is None. With it,
            the scores add up to the probability that any of the labels fits.
    """

    multi_label: bool = False
    unknown: float | None = None

    def __post_init__(self) -> None:
        if self.unknown is not None and not 0.0 <= self.unknown <= 1.0:
            raise UsageError(f"unknown is a probability from 0 to 1, not {self.unknown}.")


def zero_shot(
    texts: TextVectors, labels: LabelInput, templates: Sequence[str] | None = None
) -> ZeroShot:
    """Embed the labels.

    Args:
        templates: texts with one `{}` each; the model's own by default.

    Raises:
        UsageError: for labels or templates that cannot be used.
    """
    descriptions = to_labels(labels)
    chosen = tuple(calibration_of(texts.embedder).templates if templates is None else templates)
    if not chosen or isinstance(templates, str):
        raise UsageError("templates must be a list with at least one text.")
    for template in chosen:
        if template.count("{}") != 1:
            raise UsageError(f"the template {template!r} needs one {{}} for the label.")
    prompts = {
        label: [fill(template, noun_phrase(text)) for text in each for template in chosen]
        for label, each in descriptions.items()
    }
    flat = [prompt for each in prompts.values() for prompt in each]
    vectors = texts.embed(flat)
    rows, start = [], 0
    for each in prompts.values():
        mean = vectors[start : start + len(each)].mean(0)
        rows.append(mean / np.linalg.norm(mean))
        start += len(each)
    provenance = provenance_of(texts.embedder, chosen)
    return ZeroShot(tuple(descriptions), np.stack(rows).astype(np.float32), provenance)


def classify(
    texts: TextVectors,
    images: Iterable[ImageInput],
    head: ZeroShot,
    decision: Decision,
    *,
    limits: Limits,
) -> Iterator[tuple[ImageInput, Classification | MediaError]]:
    """Yield `(picture, classification)` for each picture, in order, lazily."""
    calibration = calibration_of(texts.embedder)
    for source, outcome in embed_pictures(texts.embedder, images, limits):
        if isinstance(outcome, MediaError):
            yield source, outcome
            continue
        assert not isinstance(outcome, Exception)
        cosines = (head.vectors @ outcome).astype(np.float64)
        if decision.multi_label:
            scores = fits(calibration, cosines, "multi_label")
        else:
            scores = softmax(cosines / calibration.classify_temperature)
            if decision.unknown is not None:
                # What is left of 1 belongs to "none of these".
                scores *= fits(calibration, cosines.max(keepdims=True), "unknown")
        yield source, decide(source, head.labels, scores, decision, head.provenance)


def decide(
    source: ImageInput,
    labels: Sequence[str],
    scores: Doubles,
    decision: Decision,
    provenance: Provenance,
) -> Classification:
    """The classification that `scores` (one a label, 0..1) give."""
    order = np.argsort(-scores, kind="stable")
    best = int(order[0])
    bar = decision.unknown
    known = bar is None or scores[best] >= bar
    several: tuple[str, ...] = ()
    if decision.multi_label:
        several = tuple(labels[i] for i in order if scores[i] >= (0.5 if bar is None else bar))
        known = bar is None or bool(several)
    return Classification(
        input=picture_name(source),
        label=labels[best] if known else None,
        score=float(scores[best]),
        scores={labels[i]: float(scores[i]) for i in order},
        provenance=provenance,
        labels=several,
    )
