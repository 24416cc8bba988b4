"""Reasons for and against a model, in words for the person who chooses."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from polymodal.catalog.choices import PERMISSIVE, Choice, Score
from polymodal.runtime.measurements import Measurement

if TYPE_CHECKING:
    from polymodal.choosing.selecting import Needs

__all__ = ["LONGER", "reasons_against", "reasons_for", "shortfall"]

LONGER = "Raise --max-tokens, or ask for shorter answers in the questions"
"""What helps where answers are cut off."""


def reasons_for(
    choice: Choice, own: Measurement | None, scores: Sequence[Score]
) -> tuple[str, ...]:
    """What speaks for a model."""
    reasons = []
    if own is not None:
        reasons.append(
            f"{own.metric} {100 * own.value:.1f} ({100 * own.low:.1f} to {100 * own.high:.1f}) on"
            f" {own.count} items of {own.data}, measured here on {own.date}"
        )
        reasons.append(f"{own.latency_ms:.0f} ms an item, measured here")
    reasons += [_told(score) for score in scores]
    if choice.licence in PERMISSIVE:
        reasons.append(f"licence {choice.licence}")
    if choice.folder is not None:
        reasons.append("its weights are on this machine")
    if choice.behind_api:
        reasons.append("takes no memory here")
    return tuple(reasons)


def shortfall(own: Measurement) -> str:
    """What was not answered in a measurement, counted as wrong, and what helps; "" for nothing."""
    told = []
    if own.truncated:
        told.append(
            f"{own.truncated} of {own.count} answers were cut off at {own.max_tokens} tokens, and"
            f" count as wrong: {LONGER[0].lower()}{LONGER[1:]}"
        )
    if others := own.failed - own.truncated:
        more = "more" if own.truncated else f"of {own.count} items"
        told.append(f"{others} {more} failed, and count as wrong")
    return "; ".join(told)


def _told(score: Score) -> str:
    """A score with where it is from, for a person."""
    note = f" ({score.note})" if score.note else ""
    if score.own:
        return f"{score.metric} {score.value:g}{note}, this project's: {score.source}"
    return f"{score.metric} {score.value:g}{note}, read {score.read}: {score.source}"


def reasons_against(
    choice: Choice, needs: Needs, own: Measurement | None, score: Score | None, precision: str
) -> tuple[str, ...]:
    """What speaks against it, besides how it compares."""
    reasons = []
    if score is None and own is None:
        reasons.append(f"no score for {needs.task} is known here: --measure DATA finds one")
    if own is not None and (lacking := shortfall(own)):
        reasons.append(lacking)
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
