"""Classify: zero-shot labels for pictures, by prompt ensembles or by a trained probe.

Notable: every description of a label goes through every template; the mean of those text vectors,
normalised again, stands for the label (Radford et al., 2021, section 3.1.4). A name that the model
knows by its kinds alone is as close to a picture as the closest of them: the starter's captions
say man, woman and child, and hardly ever person. Probabilities use the temperature that was fitted
on development data and is kept in the model's card.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from polymodal.errors import MediaError, UsageError
from polymodal.media.pictures import ImageInput, Limits, picture_name
from polymodal.results import Classification, Provenance, Vector
from polymodal.runtime.pictures import embed_pictures
from polymodal.runtime.texts import TextVectors
from polymodal.tasks.calibration import (
    Doubles,
    calibration_of,
    elsewhere,
    fits,
    provenance_of,
    softmax,
)
from polymodal.tasks.labels import LabelInput, fill, noun_phrase, to_labels

__all__ = ["Decision", "ZeroShot", "classify", "decide", "zero_shot"]


@dataclass(frozen=True)
class ZeroShot:
    """Labels as vectors of the model's space.

    Attributes:
        vectors: float32, shape (rows, dimension); a row a label, or a row a kind of it.
        firsts: the first row of each label.
    """

    labels: tuple[str, ...]
    vectors: Vector
    firsts: tuple[int, ...]
    provenance: Provenance

    def cosines(self, vector: Vector) -> Doubles:
        """Of each label with a picture, shape (labels,): the closest of its rows."""
        cosines: Doubles = np.maximum.reduceat(self.vectors @ vector, self.firsts)
        return cosines.astype(np.float64)


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
    calibration = calibration_of(texts.embedder)
    chosen = tuple(calibration.templates if templates is None else templates)
    if not chosen or isinstance(templates, str):
        raise UsageError("templates must be a list with at least one text.")
    for template in chosen:
        if template.count("{}") != 1:
            raise UsageError(f"the template {template!r} needs one {{}} for the label.")
    kinds: Mapping[str, Sequence[str]] = getattr(calibration, "kinds", {})
    phrases = [[noun_phrase(text) for text in each] for each in descriptions.values()]
    groups: list[list[str]] = []
    firsts: list[int] = []
    for each in phrases:
        firsts.append(len(groups))
        groups += _rows(each, kinds)
    prompts = [[fill(template, phrase) for phrase in row for template in chosen] for row in groups]
    vectors = texts.embed([prompt for row in prompts for prompt in row])
    rows, start = [], 0
    for row in prompts:
        mean = vectors[start : start + len(row)].mean(0)
        rows.append(mean / np.linalg.norm(mean))
        start += len(row)
    named = dict.fromkeys(phrase.lower() for each in phrases for phrase in each)
    told = [f"{name}: {', '.join(kinds[name])}" for name in named if name in kinds]
    provenance = provenance_of(texts.embedder, (*chosen, *told))
    joined = np.stack(rows).astype(np.float32)
    return ZeroShot(tuple(descriptions), joined, tuple(firsts), provenance)


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
        cosines = head.cosines(outcome)
        if decision.multi_label:
            scores = fits(calibration, cosines, "multi_label")
        else:
            scores = softmax(cosines / calibration.classify_temperature)
            if decision.unknown is not None:
                # What is left of 1 belongs to "none of these".
                ahead = cosines.max(keepdims=True) - elsewhere(calibration, outcome)
                scores *= fits(calibration, ahead, "unknown")
        yield source, decide(source, head.labels, scores, decision, head.provenance)


def _rows(phrases: Sequence[str], kinds: Mapping[str, Sequence[str]]) -> list[list[str]]:
    """The phrases of each row of a label: of its descriptions together, and of each kind alone."""
    known = [phrase for phrase in phrases if phrase.lower() not in kinds]
    alone = [[kind] for phrase in phrases for kind in kinds.get(phrase.lower(), ())]
    return ([known] if known else []) + alone


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
