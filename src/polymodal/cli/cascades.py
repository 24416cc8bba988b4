"""Commands on cascades: fit their thresholds, run them."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from polymodal.catalog.names import is_api_name
from polymodal.cli.common import (
    Inputs,
    find_inputs,
    name_the_starter,
    open_suite,
    succeeded,
    tracked,
)
from polymodal.cli.options import Budget, Device, Html, Json, NoCache, NoJournal, Quiet
from polymodal.cli.output import Output
from polymodal.cli.writing import describe_cost
from polymodal.errors import UsageError

if TYPE_CHECKING:
    from polymodal.results_cascades import CascadeFit, CascadeReport, Decision
    from polymodal.suite import Suite
    from polymodal.suite_judging import OpenCascade

__all__ = ["cascade_fit", "cascade_run"]

TABLES = (".csv", ".tsv", ".json", ".jsonl", ".ndjson")
WORDS = {"match": ("matches", "does not match"), "moderate": ("approved", "rejected")}
KEYS = {"match": "matches", "moderate": "approved"}

File = Annotated[
    str, typer.Argument(metavar="NAME|FILE", help="listing, moderation, or a TOML file.")
]
Top = Annotated[
    str | None,
    typer.Option(
        "--model", "-m", metavar="NAME", help="A model for one more tier, on top of the others."
    ),
]


def cascade_fit(
    file: File,
    data: Annotated[
        str, typer.Argument(metavar="DATA", help="CSV or JSONL: `image`, `text`, `label`.")
    ],
    output: Annotated[
        str, typer.Option("--output", "-o", metavar="FILE", help="Where the cascade is saved.")
    ],
    target_precision: Annotated[
        float,
        typer.Option(metavar="P", help="Share of a tier's own decisions that is to be right."),
    ] = 0.95,
    curve: Annotated[
        str | None,
        typer.Option(
            metavar="FILE", help="Also draw quality against cost: a page (.html) or a .png."
        ),
    ] = None,
    model: Top = None,
    budget: Budget = None,
    json: Json = False,
    device: Device = "auto",
    no_cache: NoCache = False,
    no_journal: NoJournal = False,
    quiet: Quiet = False,
) -> None:
    """Choose the thresholds of a cascade on labelled data.

    Every tier judges every case. What is printed is counted on the half of the cases that the
    thresholds were not chosen on.

    Example: polymodal cascade fit listing pairs.csv --target-precision 0.95 -o mine.toml

    With --json the last line is {"output", "cases", "right", "top_right", "tiers", ...}.
    """
    from polymodal.cli.curve_page import check_curve_file, write_curve
    from polymodal.tasks.cascade_file import check_place, save_cascade

    if curve is not None:
        check_curve_file(curve)
    out = Output(as_json=json, quiet=quiet)
    check_place(output)  # before anything is paid for
    suite, opened = _open(file, model, device, budget, no_cache, no_journal)
    fitted = opened.fit(data, target_precision=target_precision)
    save_cascade(fitted.cascade, output)
    for error in fitted.errors:
        out.fail(error)
    report = fitted.report
    out.line({"output": output, **_fit_values(report)})
    _print_fit(report, out)
    out.text(f"saved to {output}; use it: polymodal cascade run {output} ...")
    if curve is not None:
        write_curve(curve, fitted.cascade, report)
        out.note(f"curve: {Path(curve).resolve()}")
    describe_cost(suite, out)
    _note_starter(opened, out)
    out.finish()


def cascade_run(
    file: File,
    inputs: Annotated[
        list[str],
        typer.Argument(metavar="INPUT...", help="A table of pictures and texts; or pictures."),
    ],
    html: Html = None,
    model: Top = None,
    budget: Budget = None,
    json: Json = False,
    device: Device = "auto",
    no_cache: NoCache = False,
    no_journal: NoJournal = False,
    quiet: Quiet = False,
) -> None:
    """Decide yes or no; only what a cheap tier is not sure of goes up.

    Example: polymodal cascade run listing pairs.csv

    Example: polymodal cascade run moderation uploads/

    With --json a line is {"input", "text", "matches" or "approved", "tier", "score", "scores"},
    and the last is {"cases", "tiers", "seconds", "saved_s", "cost_usd", "saved_usd"}.
    """
    out = Output(as_json=json, quiet=quiet)
    suite, opened = _open(file, model, device, budget, no_cache, no_journal)
    task = opened.cascade.task
    below = opened.cascade.tiers[:-1]
    if below and all(tier.accept is None and tier.reject is None for tier in below):
        out.note(
            "note: this cascade has no thresholds, so all goes to the top; cascade fit finds"
            " some where they save anything"
        )
    cases, total, given = _cases(inputs, task)
    running = opened.run(cases)
    items = given.with_errors(running) if given else iter(running)
    rows, kept = [], []
    for item in succeeded(tracked(items, total, out, "deciding"), out):
        kept += [item] * bool(html)
        out.line(_decision_values(item, task))
        said = WORDS[task][0 if item.yes else 1]
        rows.append([item.input, *([item.text] * (task == "match")), said, item.tier])
        rows[-1].append(f"{item.score:.2f}")
    headings = ["picture", *(["text"] * (task == "match")), "verdict", "decided by", "score"]
    out.table(headings, rows, paths=(0,), numbers=(len(headings) - 1,))
    out.line(running.report.to_dict())
    _print_report(running.report, out)
    if html:
        from polymodal.cli.result_pages import cascade_page

        cascade_page(html, kept, WORDS[task], _report_words(running.report), out)
    describe_cost(suite, out)
    _note_starter(opened, out)
    out.finish()


def _open(
    file: str,
    model: str | None,
    device: str,
    budget: float | None,
    no_cache: bool,
    no_journal: bool,
) -> tuple[Suite, OpenCascade]:
    suite = open_suite("starter", device, budget=budget, no_cache=no_cache, no_journal=no_journal)
    opened = suite.cascade(file, top=model)
    if budget is not None and not any(is_api_name(tier.model) for tier in opened.cascade.tiers):
        raise UsageError(
            f"no tier of {file} costs money; --budget goes with models such as -m openai:MODEL."
        )
    return suite, opened


def _note_starter(opened: OpenCascade, out: Output) -> None:
    if opened.cascade.tiers[-1].model == "starter":
        name_the_starter("starter", out)


def _cases(inputs: list[str], task: str) -> tuple[Any, int, Inputs | None]:
    """Cases, how many, and for pictures what the paths led to."""
    from polymodal.tasks.cascade_cases import read_cases

    if len(inputs) == 1 and Path(inputs[0]).suffix.lower() in TABLES:
        cases = read_cases(inputs[0])
        return cases, len(cases), None
    if task == "match":
        raise UsageError(
            f"{inputs[0]} is no table: a cascade that matches needs a CSV or JSONL file with"
            " columns such as image and text."
        )
    found = find_inputs(inputs)
    return iter(found.files), len(found), found


def _decision_values(item: Decision, task: str) -> dict[str, Any]:
    values: dict[str, Any] = {"input": item.input}
    if task == "match":
        values["text"] = item.text
    values |= {KEYS[task]: item.yes, "tier": item.tier, "score": item.score}
    values["scores"] = dict(item.scores)
    return values if item.label is None else {**values, "label": item.label}


def _print_report(report: CascadeReport, out: Output) -> None:
    """Where cases stopped, and what it took."""
    if not report.cases:
        return
    priced = any(tier.cost_usd for tier in report.tiers)
    rows = [
        [
            tier.name,
            str(tier.asked),
            str(tier.decided),
            f"{tier.decided / report.cases:.0%}",
            f"{tier.seconds:.1f} s",
            *([money(tier.cost_usd)] if priced else []),
        ]
        for tier in report.tiers
    ]
    out.text()
    headings = ["tier", "asked", "stopped", "", "time", *(["money"] if priced else [])]
    out.table(headings, rows, numbers=range(1, len(headings)))
    for line in _report_words(report):
        out.text(line)


def _report_words(report: CascadeReport) -> list[str]:
    """How good the decisions are and what they took, in sentences."""
    lines = []
    if report.labelled:
        share = report.right / report.labelled
        lines.append(f"right: {report.right} of {report.labelled} ({share:.1%})")
    if len(report.tiers) > 1:
        lines += _saved(report, priced=any(tier.cost_usd for tier in report.tiers))
    return lines


def _saved(report: CascadeReport, *, priced: bool) -> Iterable[str]:
    if report.top_seconds:
        part = report.seconds / report.top_seconds
        yield (
            f"time: {report.seconds:.1f} s of work; all to the top tier would take about"
            f" {report.top_seconds:.1f} s ({part:.0%} of it was needed)"
        )
    if priced and report.top_cost_usd and report.cost_usd is not None:
        part = report.cost_usd / report.top_cost_usd
        yield (
            f"money: {money(report.cost_usd)}; all to the top tier would cost about"
            f" {money(report.top_cost_usd)} ({part:.0%} of it was spent)"
        )


def money(usd: float | None) -> str:
    """An amount for a person."""
    return "unknown" if usd is None else f"${usd:.4f}"


def _fit_values(report: CascadeFit) -> dict[str, Any]:
    return {
        "cases": report.cases,
        "target": report.target,
        "right": report.right[0] / report.cases,
        "top_right": report.top_right[0] / report.cases,
        "yes_precision": _share(report.yes),
        "no_precision": _share(report.no),
        "seconds": report.seconds,
        "cost_usd": report.cost_usd,
        "cost_share": report.cost_share,
        "tiers": [
            {
                "tier": tier.name,
                "accept": tier.accept,
                "reject": tier.reject,
                "decided": tier.decided,
                "right_alone": tier.alone,
                "seconds": tier.seconds,
                "cost_usd": tier.cost_usd,
            }
            for tier in report.tiers
        ],
    }


def _share(count: tuple[int, int]) -> float | None:
    return count[0] / count[1] if count[1] else None


def _print_fit(report: CascadeFit, out: Output) -> None:
    rows = [
        [
            tier.name,
            "-" if tier.accept is None else f"{tier.accept:.3f}",
            "-" if tier.reject is None else f"{tier.reject:.3f}",
            f"{tier.decided:.0%}",
            f"{tier.alone:.1%}",
            f"{1000 * tier.seconds:.0f} ms",
            *([money(tier.cost_usd)] if report.priced else []),
        ]
        for tier in report.tiers
    ]
    headings = ["tier", "yes from", "no up to", "decides", "right alone", "a case"]
    headings += ["money"] if report.priced else []
    out.table(headings, rows, numbers=range(1, len(headings)))
    out.text()
    for line in fit_words(report):
        out.text(line)


def fit_words(report: CascadeFit) -> list[str]:
    """What fitting found, in sentences."""
    lines = [
        f"right: {_counted(report.right)}; the top tier alone: {_counted(report.top_right)}",
        f"of what it says yes to, {_counted(report.yes)} is right; of no, {_counted(report.no)}",
        f"it takes {report.cost_share:.0%} of the {'money' if report.priced else 'time'} of"
        " sending every case to the top tier",
        f"counted on {report.cases:,} cases, each by thresholds that were chosen on the others",
    ]
    if not report.early[1]:
        lines.append(_nothing_early(report))
    elif report.early[0] / report.early[1] < report.target:
        lines.append(
            f"what is decided early is right in {_counted(report.early)}: under the target"
        )
    return lines


def _nothing_early(report: CascadeFit) -> str:
    """Why no case was counted that a tier below the top decided."""
    below = report.tiers[:-1]
    if any(tier.accept is not None or tier.reject is not None for tier in below):
        return (
            f"half of the cases are too few to be sure of {report.target:.0%} below the top, so"
            " nothing is saved in this count; the thresholds above are those of all cases, and do"
            " decide. More labelled cases would tell how well"
        )
    return (
        f"no tier below the top can be sure of {report.target:.0%}: nothing is saved. A lower"
        " target, more labelled cases or a better first tier would help"
    )


def _counted(count: tuple[int, int]) -> str:
    """`93.1 % (95 %: 91.4 % to 94.5 %)`, or that there was none."""
    from polymodal.runtime.intervals import wilson

    if not count[1]:
        return "none"
    low, high = wilson(*count)
    return f"{count[0] / count[1]:.1%} (95 %: {low:.1%} to {high:.1%})"
