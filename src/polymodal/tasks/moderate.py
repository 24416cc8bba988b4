"""Moderate: a policy's criteria against a picture, and the criterion that decided.

Notable: where something can be measured, it is measured, and the model is asked only for what it
can see. A picture is approved when every criterion is on its right side; the one that decided is
the one furthest on the wrong side, or, of an approved picture, the one nearest to it.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass

import numpy as np

from polymodal.errors import MediaError, PolicyError, SpaceMismatch, UsageError
from polymodal.media.pictures import ImageInput, Limits, open_picture, picture_name
from polymodal.models.protocols import CloseUp, Embedder, FeatureExtractor, Pixels
from polymodal.results import Finding, Provenance, Vector, Verdict
from polymodal.runtime.batches import pipelined
from polymodal.runtime.texts import TextVectors
from polymodal.tasks.calibration import calibration_of, provenance_of
from polymodal.tasks.measure import SIDE_PX, measurable, measure
from polymodal.tasks.policy import Criterion, Examples, Policy, open_policy
from polymodal.tasks.probe import Probe, close_up_of

__all__ = ["Policy", "measured_margins", "moderate", "open_policy"]

_Look = Callable[[Sequence["_Seen"]], "list[_Known]"]


@dataclass(frozen=True)
class _Question:
    """A criterion with its probe, or its texts as vectors; neither when it is only measured."""

    criterion: Criterion
    texts: Vector | None = None
    contrast: Vector | None = None
    probe: Probe | None = None
    note: str = ""

    def asked(self, known: _Known, temperature: float) -> float | None:
        """The model's word, 0 to 1; None where it is not asked."""
        if self.probe is not None and self.criterion.probe is not None:
            features = known.features if self.probe.look is None else known.close
            assert features is not None
            column = self.probe.labels.index(self.criterion.probe.label)
            return float(self.probe.probabilities(features[None])[0, column])
        if self.texts is None or self.contrast is None:
            return None
        return _words(self.texts @ known.vector, self.contrast @ known.vector, temperature)


@dataclass(frozen=True)
class _Seen:
    """What is kept of a picture: the model's input, and the measured numbers by name.

    Attributes:
        close: input of the model's closer look, where a probe asks for it.
    """

    pixels: Pixels
    measured: dict[str, float]
    close: Pixels | None = None


@dataclass(frozen=True)
class _Known:
    """What the model gives of a picture; features where probes ask for them, close or not."""

    vector: Vector
    features: Vector | None
    close: Vector | None


def moderate(
    texts: TextVectors, images: Iterable[ImageInput], policy: Policy, *, limits: Limits
) -> Iterator[tuple[ImageInput, Verdict | MediaError]]:
    """Yield `(picture, verdict)` for each picture, in order, lazily."""
    embedder = texts.embedder
    questions = [_question(texts, policy, criterion) for criterion in policy.criteria]
    asked = [criterion.measure.name for criterion in policy.criteria if criterion.measure]
    temperature = calibration_of(embedder).classify_temperature
    provenance = provenance_of(embedder, (policy.name,))
    probes = [each.probe for each in questions if each.probe]
    close_up = close_up_of(embedder) if any(probe.look for probe in probes) else None
    target_px = max(
        embedder.image_size_px,
        SIDE_PX if asked else 0,
        close_up.image_size_px if close_up else 0,
    )

    def prepare(source: ImageInput) -> _Seen:
        picture = open_picture(source, target_px=target_px, limits=limits)
        ready = measurable(picture)
        numbers = {name: measure(name, ready) for name in asked}
        close = close_up.preprocess(picture.image) if close_up else None
        return _Seen(embedder.preprocess(picture.image), numbers, close)

    look = _look(embedder, close_up, features=any(probe.look is None for probe in probes))

    def infer(batch: Sequence[_Seen]) -> list[tuple[_Seen, _Known]]:
        return list(zip(batch, look(batch), strict=True))

    for source, outcome in pipelined(images, prepare, infer):
        if isinstance(outcome, MediaError):
            yield source, outcome
            continue
        assert not isinstance(outcome, Exception)
        seen, known = outcome
        findings = tuple(
            _find(each, each.asked(known, temperature), seen.measured) for each in questions
        )
        yield source, _verdict(picture_name(source), policy, findings, provenance)


def measured_margins(
    images: Iterable[ImageInput], policy: Policy, *, limits: Limits
) -> Iterator[tuple[ImageInput, float | MediaError]]:
    """Yield `(picture, margin)` by the criteria that are measured alone; no model is asked.

    The margin is the smallest: as `Verdict.margin`, but what only a model sees is left out.

    Raises:
        UsageError: the policy has no such criterion.
    """
    alone = [each for each in policy.criteria if each.measure and each.measure.weight == 1.0]
    if not alone:
        raise UsageError(f"the policy {policy.name} measures nothing by itself; ask a model.")
    questions = [_Question(criterion) for criterion in alone]

    def prepare(source: ImageInput) -> float:
        ready = measurable(open_picture(source, target_px=SIDE_PX, limits=limits))
        names = [each.measure.name for each in alone if each.measure]
        numbers = {name: measure(name, ready) for name in names}
        findings = [_find(each, None, numbers) for each in questions]
        return min(_margin(*pair) for pair in zip(findings, alone, strict=True))

    for source, outcome in pipelined(images, prepare, lambda batch: batch):
        assert isinstance(outcome, float | MediaError), outcome
        yield source, outcome


def _question(texts: TextVectors, policy: Policy, criterion: Criterion) -> _Question:
    if criterion.measure is not None and criterion.measure.weight == 1.0:
        return _Question(criterion)
    note = ""
    if criterion.probe is not None:
        probe = _probe(policy, criterion.name, criterion.probe)
        try:
            probe.check(texts.embedder)
            return _Question(criterion, probe=probe)
        except SpaceMismatch:
            if not criterion.texts:
                raise
            note = f"its probe is of {probe.space.model}, so its texts were asked"
    return _Question(
        criterion,
        texts.embed(policy.texts_of(criterion)),
        texts.embed(policy.contrast_of(criterion)),
        note=note,
    )


def _probe(policy: Policy, criterion: str, examples: Examples) -> Probe:
    probe = Probe.load(examples.file)
    if examples.label not in probe.labels:
        raise PolicyError(
            f"the policy {policy.name}, criterion {criterion!r}: {examples.file} has no label"
            f" {examples.label!r} (labels: {', '.join(probe.labels)})."
        )
    return probe


def _look(embedder: Embedder, close_up: CloseUp | None, *, features: bool) -> _Look:
    """What gives vectors of pictures, and what probes see of them where they are asked."""

    def look(batch: Sequence[_Seen]) -> list[_Known]:
        none: list[Vector | None] = [None] * len(batch)
        pixels = [seen.pixels for seen in batch]
        if features and isinstance(embedder, FeatureExtractor):
            vectors, found = embedder.embed_and_extract(pixels)
            extracted = list(found)
        else:
            vectors = embedder.embed_images(pixels)
            extracted = list(vectors) if features else none
        near = [seen.close for seen in batch if seen.close is not None]
        close = list(close_up.extract_features(near)) if close_up else none
        return [_Known(*each) for each in zip(vectors, extracted, close, strict=True)]

    return look


def _find(question: _Question, words: float | None, measured: dict[str, float]) -> Finding:
    criterion, notes = question.criterion, [question.note] if question.note else []
    score = words or 0.0
    if words is not None:
        who = "the probe" if question.probe is not None else "the model"
        notes.append(f"{who} says {words:.2f}")
    if criterion.measure is not None:
        rule, value = criterion.measure, measured[criterion.measure.name]
        share = min(max((value - rule.none) / (rule.full - rule.none), 0.0), 1.0)
        notes.append(f"{rule.name.replace('_', ' ')} is {value:.3g}, which scores {share:.2f}")
        if words is None:
            score = share
        elif rule.combine == "mean":
            score = rule.weight * share + (1.0 - rule.weight) * words
        else:
            score = max(share, words) if rule.combine == "max" else min(share, words)
    met = score >= criterion.threshold
    return Finding(
        criterion=criterion.name,
        score=score,
        threshold=criterion.threshold,
        passed=met == criterion.approve,
        explanation="; ".join(notes),
    )


def _words(for_it: Vector, against: Vector, temperature: float) -> float:
    """Softmax between two sets of texts, each set with the same say whatever its size."""
    top = max(float(for_it.max()), float(against.max()))
    yes = float(np.exp((for_it - top) / temperature).mean())
    no = float(np.exp((against - top) / temperature).mean())
    return yes / (yes + no)


def _margin(finding: Finding, criterion: Criterion) -> float:
    return (finding.score - finding.threshold) * (1 if criterion.approve else -1)


def _verdict(
    name: str, policy: Policy, findings: tuple[Finding, ...], provenance: Provenance
) -> Verdict:
    margins = {
        finding.criterion: _margin(finding, criterion)
        for finding, criterion in zip(findings, policy.criteria, strict=True)
    }
    approved = all(finding.passed for finding in findings)
    deciding = [finding for finding in findings if approved or not finding.passed]
    decider = min(deciding, key=lambda finding: margins[finding.criterion])
    return Verdict(
        input=name,
        approved=approved,
        criterion=decider.criterion,
        margin=margins[decider.criterion],
        findings=findings,
        policy=policy.name,
        provenance=provenance,
    )
