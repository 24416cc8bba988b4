"""Which model for a task, within memory, licence and latency: ranked, with reasons.

Notable: smallest capable first. Capable is a model whose score is not clearly below the best that
fits: measured on the user's own data, its 95 % interval reaches the best one's; published, it has
nine tenths of it. A model without a score is never called capable: it comes after those with one.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

from polymodal.catalog.choices import PERMISSIVE, Choice, Score
from polymodal.catalog.estimate import PICTURE_PX, Estimate, Load, estimate
from polymodal.catalog.visual import visual_tokens
from polymodal.errors import UsageError
from polymodal.runtime.measurements import Measurement
from polymodal.runtime.memory import in_words

__all__ = ["Candidate", "Needs", "Rejected", "Selection", "footprint", "rank", "usual_load"]

SHARE_OF_BEST = 0.9
ANSWER_TOKENS = 512
USUAL_CONTEXT = 2048
LADDER: tuple[tuple[str, str | None], ...] = (
    ("bfloat16", None),
    ("bfloat16", "8bit"),
    ("bfloat16", "4bit"),
)


@dataclass(frozen=True)
class Needs:
    """What the user asked for.

    Attributes:
        memory_bytes: the most that a model may take.
        permissive: only licences in `PERMISSIVE`.
        latency_ms: the most that an item may take.
        offline: only what is on this machine.
        on_gpu: where it will run; decides the precision of models that write.
    """

    task: str
    memory_bytes: int
    permissive: bool = False
    latency_ms: float | None = None
    offline: bool = False
    on_gpu: bool = False


@dataclass(frozen=True)
class Candidate:
    """A model that fits.

    Attributes:
        precision: in which it fits: "float32", "bfloat16 4bit"; "" where it has its own.
        capable: its score is not clearly below the best that fits.
        for_, against: reasons, for a person.
    """

    choice: Choice
    memory_bytes: int
    estimate: Estimate | None
    precision: str
    published: Score | None
    measured: Measurement | None
    capable: bool
    for_: tuple[str, ...]
    against: tuple[str, ...]

    def to_dict(self) -> dict[str, Any]:
        """For JSON."""
        published = self.published
        return {
            "name": self.choice.name,
            "capable": self.capable,
            "memory_bytes": self.memory_bytes,
            "precision": self.precision,
            "licence": self.choice.licence,
            "here": self.choice.folder is not None,
            "published": None if published is None else _plain(published),
            "measured": None if self.measured is None else _plain(self.measured),
            "estimate": None if self.estimate is None else self.estimate.to_dict(),
            "for": list(self.for_),
            "against": list(self.against),
        }


@dataclass(frozen=True)
class Rejected:
    """A model that does not fit, and why."""

    name: str
    reason: str


@dataclass(frozen=True)
class Selection:
    """The answer: `ranked` best first, and what was left out."""

    needs: Needs
    ranked: tuple[Candidate, ...]
    rejected: tuple[Rejected, ...]
    date: str

    @property
    def best(self) -> Candidate | None:
        """The first of the ranked."""
        return self.ranked[0] if self.ranked else None

    def to_dict(self) -> dict[str, Any]:
        """For JSON."""
        return {
            "task": self.needs.task,
            "date": self.date,
            "memory_bytes": self.needs.memory_bytes,
            "ranked": [each.to_dict() for each in self.ranked],
            "rejected": [_plain(each) for each in self.rejected],
        }


def _plain(value: Any) -> dict[str, Any]:
    return dict(vars(value))


def footprint(choice: Choice, load: Load) -> tuple[int, Estimate | None]:
    """Bytes that a model takes under a load; of one that is no checkpoint, the size of its files.

    Raises:
        UsageError: its configuration lacks a number.
    """
    if not choice.config:
        return choice.file_bytes, None
    found = estimate(
        choice.config,
        load,
        name=choice.name,
        parameters=choice.parameters,
        processing=choice.processing,
    )
    return found.total_bytes, found


def usual_load(choice: Choice, dtype: str, quantize: str | None = None) -> Load:
    """One request with a picture, and room for an answer."""
    seen = visual_tokens(choice.config, (PICTURE_PX, PICTURE_PX), choice.processing).tokens
    tokens = max(USUAL_CONTEXT, seen + ANSWER_TOKENS)
    if choice.context_tokens:
        tokens = min(tokens, max(choice.context_tokens, seen or 1))
    return Load(dtype=dtype, quantize=quantize, context_tokens=tokens)


def rank(
    choices: Sequence[Choice], needs: Needs, measurements: Sequence[Measurement], date: str
) -> Selection:
    """The choices in order.

    Args:
        measurements: of the task; only those on the data that was measured last are compared.
    """
    fitting: list[_Fitted] = []
    rejected: list[Rejected] = []
    for choice in choices:
        fitted = _fit(choice, needs)
        if isinstance(fitted, _Fitted):
            own = _measured(fitted, measurements)
            if own is None or needs.latency_ms is None or own.latency_ms <= needs.latency_ms:
                fitting.append(replace(fitted, measured=own))
                continue
            fitted = f"{own.latency_ms:.0f} ms an item, measured here on {own.date}"
        rejected.append(Rejected(choice.name, fitted))
    measured = [each.measured for each in fitting if each.measured is not None]
    published = [s for each in fitting if (s := each.choice.score(needs.task)) is not None]
    ranked = [_candidate(each, needs, measured, published) for each in fitting]
    ranked.sort(key=lambda each: _order(each, bool(measured)))
    return Selection(needs, tuple(ranked), tuple(rejected), date)


@dataclass(frozen=True)
class _Fitted:
    """A model that fits: what it takes, and in which precision."""

    choice: Choice
    memory_bytes: int
    parts: Estimate | None
    precision: str
    measured: Measurement | None = None


def _measured(fitted: _Fitted, measurements: Sequence[Measurement]) -> Measurement | None:
    """The measurement of the model in that precision, or in its own, on the latest data."""
    latest = measurements[-1].fingerprint if measurements else ""
    fits = [
        each
        for each in measurements
        if each.model == fitted.choice.name
        and each.fingerprint == latest
        and each.precision in {"", fitted.precision}
    ]
    return fits[-1] if fits else None


def _fit(choice: Choice, needs: Needs) -> _Fitted | str:
    """What the model takes; or why it does not fit."""
    if needs.offline and choice.behind_api:
        return "it is reached over a network"
    if needs.offline and choice.folder is None:
        return "its weights are not here"
    if needs.permissive and choice.licence not in PERMISSIVE:
        return f"licence: {choice.licence or 'not known here, read it on its page'}"
    if choice.behind_api:
        return _Fitted(choice, 0, None, "")
    try:
        return _smallest_that_fits(choice, needs)
    except UsageError as error:
        return str(error)


def _smallest_that_fits(choice: Choice, needs: Needs) -> _Fitted | str:
    own = choice.dtype or ("bfloat16" if needs.on_gpu and choice.writes else "float32")
    ladder: list[tuple[str, str | None]] = [(own, None)]
    if choice.writes and not choice.dtype:
        ladder += [step for step in LADDER if step != (own, None)]
    least = 0
    for dtype, quantize in ladder:
        least, parts = footprint(choice, usual_load(choice, dtype, quantize))
        if least <= needs.memory_bytes:
            precision = " ".join(filter(None, (dtype, quantize))) if choice.config else ""
            return _Fitted(choice, least, parts, precision)
    return f"needs {in_words(least)}" + (" even in 4bit" if len(ladder) > 1 else "")


def _candidate(
    fitted: _Fitted,
    needs: Needs,
    measured: Sequence[Measurement],
    published: Sequence[Score],
) -> Candidate:
    choice, own = fitted.choice, fitted.measured
    score = choice.score(needs.task)
    capable = _capable(own, score, measured, published)
    against = _against(choice, needs, own, score, fitted.precision)
    if measured and own is None:
        against = (*against, "not measured on your data")
    elif not capable and (own or score):
        against = (f"clearly below the best that fits ({_best(measured, published)})", *against)
    return Candidate(
        choice,
        fitted.memory_bytes,
        fitted.parts,
        fitted.precision,
        score,
        own,
        capable,
        _for(choice, own, score),
        against,
    )


def _capable(
    own: Measurement | None,
    score: Score | None,
    measured: Sequence[Measurement],
    published: Sequence[Score],
) -> bool:
    if measured:
        best = _best_measured(measured)
        if own is None:
            return False
        # Word error rates count down, everything else counts up.
        return own.low <= best.high if _down(own.metric) else own.high >= best.low
    if score is None:
        return False
    same = [each.value for each in published if each.metric == score.metric]
    if score.less_is_better:
        return score.value <= min(same) / SHARE_OF_BEST
    return score.value >= max(same) * SHARE_OF_BEST


def _down(metric: str) -> bool:
    return metric.startswith("word error rate")


def _best_measured(measured: Sequence[Measurement]) -> Measurement:
    down = _down(measured[0].metric)
    return min(measured, key=lambda each: each.value if down else -each.value)


def _best(measured: Sequence[Measurement], published: Sequence[Score]) -> str:
    if measured:
        best = _best_measured(measured)
        return f"{best.model}, {100 * best.value:.1f}"
    top = max(published, key=lambda each: -each.value if each.less_is_better else each.value)
    return f"{top.value:g}"


def _for(choice: Choice, own: Measurement | None, score: Score | None) -> tuple[str, ...]:
    reasons = []
    if own is not None:
        reasons.append(
            f"{own.metric} {100 * own.value:.1f} ({100 * own.low:.1f} to {100 * own.high:.1f}) on"
            f" {own.count} items of {own.data}, measured here on {own.date}"
        )
        reasons.append(f"{own.latency_ms:.0f} ms an item, measured here")
    if score is not None:
        reasons.append(f"{score.metric} {score.value:g}, published: {score.source}")
    if choice.licence in PERMISSIVE:
        reasons.append(f"licence {choice.licence}")
    if choice.folder is not None:
        reasons.append("its weights are on this machine")
    if choice.behind_api:
        reasons.append("takes no memory here")
    return tuple(reasons)


def _against(
    choice: Choice, needs: Needs, own: Measurement | None, score: Score | None, precision: str
) -> tuple[str, ...]:
    reasons = []
    if score is None and own is None:
        reasons.append(f"no score for {needs.task} is known here: --measure DATA finds one")
    if needs.latency_ms is not None and own is None:
        reasons.append("its latency on this machine is not known: --measure DATA finds it")
    if choice.behind_api:
        reasons.append("pictures leave this machine, and every call is paid")
    elif choice.licence not in PERMISSIVE:
        reasons.append(f"licence: {choice.licence or 'read it on its page'}")
    if "bit" in precision and not choice.dtype:
        reasons.append(_cost_of(precision, choice.name))
    if not choice.behind_api and choice.folder is None:
        reasons.append(f"its weights are not on this machine (run: {choice.command})")
    return tuple(reasons)


def _cost_of(precision: str, name: str) -> str:
    quantize = precision.rpartition(" ")[2]
    return (
        f"fits only in {precision}: see what that costs with polymodal models validate {name}"
        f" --quantize {quantize} --data DATA"
    )


def _order(each: Candidate, by_measured: bool) -> tuple[Any, ...]:
    """Capable by memory; then those with a score, best first; then the rest by memory."""
    if each.capable:
        return (0, each.memory_bytes, each.choice.name)
    if by_measured and each.measured is not None:
        sign = 1 if _down(each.measured.metric) else -1
        return (1, sign * each.measured.value, each.choice.name)
    if not by_measured and each.published is not None:
        sign = 1 if each.published.less_is_better else -1
        return (1, sign * each.published.value, each.choice.name)
    return (3 if each.choice.behind_api else 2, each.memory_bytes, each.choice.name)
