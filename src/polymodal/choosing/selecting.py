"""Which model for a task, within memory, licence and latency: ranked, with reasons.

Notable: smallest capable first. Capable is a model whose score is not clearly below the best that
fits: measured on the user's own data, its 95 % interval reaches the best one's; published, it has
nine tenths of it, of the test that most of those that fit were put to. A model without a score of
that test is never called capable: it comes after those with one. Models behind an API do not raise
the bar for those that run here, and come after those of them that are capable. Small is what takes
little in one and the same precision, whatever each has to be squeezed into to fit.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

from polymodal.catalog.choices import PERMISSIVE, Choice, Score
from polymodal.catalog.estimate import PICTURE_PX, Estimate, Load, estimate
from polymodal.catalog.visual import visual_tokens
from polymodal.choosing.bar import Bar, counts_down, is_useless
from polymodal.choosing.reasons import reasons_against, reasons_for
from polymodal.errors import UsageError
from polymodal.runtime.measurements import Measurement
from polymodal.runtime.memory import in_words

__all__ = ["Candidate", "Needs", "Rejected", "Selection", "footprint", "rank", "usual_load"]

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
    """The answer: `ranked` best first, and what was left out.

    Attributes:
        metric: the test whose published scores are compared; "" where there are none.
    """

    needs: Needs
    ranked: tuple[Candidate, ...]
    rejected: tuple[Rejected, ...]
    date: str
    metric: str = ""

    @property
    def best(self) -> Candidate | None:
        """The first of the ranked; None where nothing fits or all that was measured was wrong."""
        first = self.ranked[0] if self.ranked else None
        if first is not None and first.measured is not None and not first.capable:
            return None
        return first

    @property
    def none_because(self) -> str:
        """Why there is no best, for a person."""
        if self.ranked:
            return "None of the models that were measured got anything right on your data."
        return "Nothing fits; see what was left out."

    def to_dict(self) -> dict[str, Any]:
        """For JSON."""
        return {
            "task": self.needs.task,
            "date": self.date,
            "metric": self.metric,
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
    bar = Bar(
        needs.task,
        [each.choice for each in fitting],
        [each.measured for each in fitting if each.measured is not None],
    )
    ranked = [_candidate(each, needs, bar) for each in fitting]
    ranked.sort(key=lambda each: _order(each, bar))
    return Selection(needs, tuple(ranked), tuple(rejected), date, bar.metric)


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


def _candidate(fitted: _Fitted, needs: Needs, bar: Bar) -> Candidate:
    choice, own = fitted.choice, fitted.measured
    score = choice.score(needs.task, bar.metric)
    capable = bar.reached_by(own, score)
    against = reasons_against(choice, needs, own, score, fitted.precision)
    if bar.measured and own is None:
        against = (*against, "not measured on your data")
    elif score is not None and own is None and not bar.compares(score):
        against = (f"its score is of another test than {bar.metric}: not comparable", *against)
    elif own is not None and is_useless(own):
        against = ("got nothing right on your data", *against)
    elif not capable and (own or score):
        against = (f"clearly below the best that fits ({bar.in_words()})", *against)
    return Candidate(
        choice,
        fitted.memory_bytes,
        fitted.parts,
        fitted.precision,
        score,
        own,
        capable,
        reasons_for(choice, own, choice.scores_for(needs.task)),
        against,
    )


def _order(each: Candidate, bar: Bar) -> tuple[Any, ...]:
    """Capable by size, APIs last; then those with a score, best first; the rest by size."""
    size = _whole_bytes(each.choice)
    if each.capable:
        return (0, each.choice.behind_api, size, each.choice.name)
    if each.measured is not None:
        sign = 1 if counts_down(each.measured.metric) else -1
        return (1, sign * each.measured.value, each.choice.name)
    if not bar.measured and each.published is not None and bar.compares(each.published):
        sign = 1 if each.published.less_is_better else -1
        return (1, sign * each.published.value, each.choice.name)
    unscored = each.published is None
    return (3 if each.choice.behind_api else 2, unscored, size, each.choice.name)


def _whole_bytes(choice: Choice) -> int:
    """What it takes before it is squeezed into the memory there is."""
    if choice.behind_api:
        return 0
    return footprint(choice, usual_load(choice, choice.dtype or "float32"))[0]
