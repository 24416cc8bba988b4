"""A decision written down: what was chosen, why, and what else there was, in Markdown."""

from __future__ import annotations

from pathlib import Path

from polymodal.catalog.choices import TASKS
from polymodal.choosing.selecting import Candidate, Selection
from polymodal.errors import UsageError
from polymodal.runtime.memory import in_words

__all__ = ["record", "score_in_words", "write_record"]


def write_record(selection: Selection, file: Path) -> None:
    """Write the record of a selection.

    Raises:
        UsageError: the file cannot be written.
    """
    try:
        file.write_text(record(selection), encoding="utf-8")
    except OSError as error:
        raise UsageError(f"{file} cannot be written: {error.strerror}.") from error


def record(selection: Selection) -> str:
    """The record."""
    needs, best = selection.needs, selection.best
    asked = [f"at most {in_words(needs.memory_bytes)} of memory"]
    asked += ["a permissive licence"] if needs.permissive else []
    asked += [f"at most {needs.latency_ms:g} ms an item"] if needs.latency_ms else []
    asked += ["no network"] if needs.offline else []
    lines = [
        f"# A model for {needs.task}",
        "",
        f"- Date: {selection.date}",
        f"- Task: {TASKS[needs.task]}",
        f"- Needs: {', '.join(asked)}",
        f"- Runs on: {'a GPU' if needs.on_gpu else 'a CPU'}",
        "",
        "## Decision",
        "",
    ]
    if best is None:
        lines += [selection.none_because, ""]
    else:
        lines += [f"`{best.choice.name}`{_in(best)}, {_memory(best)}.", ""]
        lines += _reasons(best)
    lines += ["## Alternatives", "", *_table(selection), ""]
    for each in selection.ranked[1 if best is not None else 0 :]:
        lines += [f"### {each.choice.name}", "", *_reasons(each)]
    lines += ["## Left out", ""]
    lines += [f"- `{each.name}`: {each.reason}" for each in selection.rejected] or ["Nothing."]
    lines += ["", *_note()]
    return "\n".join(lines) + "\n"


def score_in_words(each: Candidate) -> str:
    """The number that it is judged by, or a dash."""
    if each.measured is not None:
        return f"{100 * each.measured.value:.1f} measured"
    return "-" if each.published is None else f"{each.published.value:.1f}"


def _table(selection: Selection) -> list[str]:
    rows = ["| model | capable | score | memory | licence |", "| --- | --- | --- | --- | --- |"]
    return rows + [
        f"| `{each.choice.name}`{_in(each)} | {'yes' if each.capable else 'no'} |"
        f" {_score_and_metric(each)} | {_memory(each)} | {each.choice.licence or '?'} |"
        for each in selection.ranked
    ]


def _score_and_metric(each: Candidate) -> str:
    own = each.measured
    if own is not None:
        return (
            f"{own.metric} {100 * own.value:.1f} ({100 * own.low:.1f} to {100 * own.high:.1f}),"
            f" measured {own.date}, {own.latency_ms:.0f} ms"
        )
    if each.published is None:
        return "-"
    told = f"{each.published.metric} {each.published.value:g}"
    if each.published.own:
        return f"{told} (`{each.published.source}`)"
    return f"{told} [source]({each.published.source}), read {each.published.read}"


def _reasons(each: Candidate) -> list[str]:
    lines = [*(f"- for: {reason}" for reason in each.for_)]
    lines += [f"- against: {reason}" for reason in each.against]
    lines += [f"- note: {each.choice.note}"] if each.choice.note else []
    return [*lines, ""]


def _in(each: Candidate) -> str:
    return f" in {each.precision}" if each.precision and each.choice.writes else ""


def _memory(each: Candidate) -> str:
    return "behind an API" if each.choice.behind_api else in_words(each.memory_bytes)


def _note() -> list[str]:
    return [
        "Published scores are their authors' and were measured in their ways; compare them with"
        " care, and those of different tests not at all. Memory is worked out from each model's"
        " configuration.",
    ]
