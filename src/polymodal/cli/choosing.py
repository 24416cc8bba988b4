"""Commands that help to decide: models select, validate, plan."""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from polymodal.cli.loading import asked_for
from polymodal.cli.options import Device, Json, Quiet
from polymodal.cli.output import Output
from polymodal.errors import UsageError

if TYPE_CHECKING:
    from polymodal.choosing.selecting import Candidate, Selection
    from polymodal.choosing.validating import Validation
    from polymodal.runtime.measurements import Measurement

__all__ = ["models_plan", "models_select", "models_validate"]

SHOWN_REASONS = 3
LICENCES = ("any", "permissive")
ADDRESS = re.compile(r"https://(github\.com/[\w.-]+/[\w.-]+)/blob/([0-9a-f]{40})/(?:\S*/)?(\S+)")
"""A file on GitHub at a commit: 150 characters that a terminal shows in 60."""


Task = Annotated[
    str, typer.Option("--task", metavar="TASK", help="What it is for: one of those above.")
]
Memory = Annotated[
    str | None,
    typer.Option(
        metavar="SIZE", help="The most it may take, such as 8GB; else 80 % of what is free."
    ),
]
Licence = Annotated[
    str, typer.Option(metavar="any|permissive", help="permissive: MIT, Apache-2.0, BSD-3-Clause.")
]
Latency = Annotated[
    str | None, typer.Option(metavar="TIME", help="The most an item may take: 200ms, 2s.")
]
Offline = Annotated[bool, typer.Option("--offline", help="Only what is on this machine.")]
Measure = Annotated[
    str | None,
    typer.Option(metavar="DATA", help="Labelled folder or table to run the candidates on."),
]
More = Annotated[
    list[str] | None,
    typer.Option("--model", "-m", metavar="NAME", help="One more candidate; repeat."),
]
AnswerTokens = Annotated[
    int | None,
    typer.Option(
        metavar="N", min=1, help="Tokens that a measured answer may have; a longer one is wrong."
    ),
]
Record = Annotated[
    str | None, typer.Option(metavar="FILE", help="Also write the decision, as Markdown.")
]


def models_select(
    task: Task,
    memory: Memory = None,
    licence: Licence = "any",
    latency: Latency = None,
    offline: Offline = False,
    measure: Measure = None,
    model: More = None,
    max_tokens: AnswerTokens = None,
    record: Record = None,
    device: Device = "auto",
    json: Json = False,
    quiet: Quiet = False,
) -> None:
    """Choose a model for a task.

    The smallest capable one comes first, with reasons for and against it. Tasks: search, classify,
    few-shot, moderate, caption, vqa, complex-vqa, document, transcribe, video. Scores are published
    ones with their source, compared within one test; or measured here with --measure, kept, and
    used from then on. Where nothing fits, the exit code is 1. See docs/choosing.md.

    Example: polymodal models select --task search --memory 2GB --licence permissive

    With --json one line: {"task", "date", "metric", "memory_bytes", "ranked", "rejected"}.
    """
    from polymodal.choosing.front import select

    out = Output(as_json=json, quiet=quiet)
    if licence not in LICENCES:
        raise UsageError(f"--licence is any or permissive, not {licence!r}.")
    loading = asked_for()
    selection = select(
        task,
        memory=memory,
        permissive=licence == "permissive",
        latency_ms=_milliseconds(latency),
        offline=offline,
        measure=measure,
        models=model or (),
        max_tokens=max_tokens,
        allow_pickle=loading.allow_pickle,
        allow_remote_code=loading.allow_remote_code,
        device=device,
        say=out.note,
    )
    if record is not None:
        from polymodal.choosing.records import write_record

        write_record(selection, Path(record))
        out.note(f"written: {record}")
    out.line(selection.to_dict())
    _print_selection(selection, out)
    if selection.best is None:
        raise typer.Exit(1)


def _print_selection(selection: Selection, out: Output) -> None:
    from polymodal.runtime.memory import in_words

    budget = in_words(selection.needs.memory_bytes)
    rows = [
        [
            each.choice.name,
            "API" if each.choice.behind_api else in_words(each.memory_bytes),
            _precision(each),
            _score(each, selection),
            "yes" if each.choice.folder is not None else "-",
        ]
        for each in selection.ranked
        if not _unknown_api(each)
    ]
    out.table(["model", "memory", "precision", "score", "here"], rows, paths=(0,), numbers=(1, 3))
    if selection.best is None:
        nothing = f"Nothing fits {budget} and what else was asked."
        out.text(selection.none_because if selection.ranked else nothing)
    else:
        _print_legend(selection, out)
    for each in selection.ranked[:SHOWN_REASONS]:
        _print_reasons(each, out)
    if len(selection.ranked) > SHOWN_REASONS:
        out.text()
        out.text("the others' reasons, and whole addresses: --record FILE, or --json")
    if selection.rejected:
        out.text()
        out.text(f"left out, for {budget} and what else was asked:")
        reasons: dict[str, list[str]] = {}
        for left in selection.rejected:
            reasons.setdefault(left.reason, []).append(left.name)
        for reason, names in reasons.items():
            out.wrapped(f"{reason}: {', '.join(names)}", "  ")


def _print_legend(selection: Selection, out: Output) -> None:
    """What the scores of the table are, and whom it leaves to a line."""
    shown = [each for each in selection.ranked if each.measured is None]
    if any(each.published is not None for each in shown):
        own = all(each.published.own for each in shown if each.published is not None)
        starred = any(_of_another_test(each, selection) for each in shown)
        other = "; * of another test, not comparable" if starred else ""
        whose = "measured by this project" if own else "published"
        out.wrapped(f"score: {selection.metric}, {whose}{other}")
    apis = [each.choice.name for each in selection.ranked if _unknown_api(each)]
    if apis:
        out.wrapped(f"behind an API, no score known: {', '.join(apis)}")


def _unknown_api(each: Candidate) -> bool:
    return each.choice.behind_api and each.measured is None and each.published is None


def _print_reasons(each: Candidate, out: Output) -> None:
    out.text()
    out.text(each.choice.name)
    for reason in each.for_:
        out.wrapped(_shortened(reason), "  + ")
    for reason in each.against:
        out.wrapped(_shortened(reason), "  - ")
    if each.choice.note:
        out.wrapped(each.choice.note, "    ")


def _shortened(text: str) -> str:
    """Addresses of files on GitHub as a terminal has room for them."""
    return ADDRESS.sub(lambda found: f"{found[1]} {found[3]} at {found[2][:7]}", text)


def _score(each: Candidate, selection: Selection) -> str:
    from polymodal.choosing.records import score_in_words

    return score_in_words(each) + (" *" if _of_another_test(each, selection) else "")


def _of_another_test(each: Candidate, selection: Selection) -> bool:
    """Whether the score in its row says nothing against those of the other rows."""
    published = each.published
    return each.measured is None and published is not None and published.metric != selection.metric


def _precision(each: Candidate) -> str:
    return each.precision if each.choice.writes else ""


def _milliseconds(text: str | None) -> float | None:
    if text is None:
        return None
    found = re.fullmatch(r"(\d+(?:\.\d+)?)\s*(ms|s)", text.strip())
    if found is None or float(found[1]) <= 0:
        raise UsageError(f"--latency is a time such as 200ms or 2s, not {text!r}.")
    return float(found[1]) * (1000 if found[2] == "s" else 1)


def models_validate(
    name: Annotated[str, typer.Argument(metavar="NAME", help="A checkpoint's folder or hub id.")],
    data: Annotated[str, typer.Option("--data", metavar="DATA", help="Labelled folder or table.")],
    quantize: Annotated[
        str | None, typer.Option(metavar="8bit|4bit", help="Weights quantised by bitsandbytes.")
    ] = None,
    dtype: Annotated[str, typer.Option(metavar="TYPE", help="bfloat16 or float16.")] = "auto",
    task: Annotated[
        str | None, typer.Option(metavar="TASK", help="What the data is for; told by its columns.")
    ] = None,
    max_tokens: AnswerTokens = None,
    device: Device = "auto",
    json: Json = False,
    quiet: Quiet = False,
) -> None:
    """Find out what a precision costs.

    On your own data, before you rely on it: the model as it is and in the precision asked for
    answer the same items. You see how often the answers agree, how much the score drops with its
    95 % interval, memory and time won, and a verdict.

    Example: polymodal models validate ./my-clip --dtype bfloat16 --data photos/

    With --json one line: {"base", "changed", "agreement", "drop", "verdict", "reason", ...}.
    """
    from polymodal.choosing.validating import validate
    from polymodal.cli.progress import progress

    out, loading = Output(as_json=json, quiet=quiet), asked_for()
    with progress(out, "measuring") as meter:
        found = validate(
            name,
            data,
            dtype=dtype,
            quantize=quantize,
            task=task,
            device=device,
            max_tokens=max_tokens,
            memory=loading.memory,
            allow_pickle=loading.allow_pickle,
            allow_remote_code=loading.allow_remote_code,
            tell=meter,
        )
    out.line(found.to_dict())
    _print_validation(found, out)


def _print_validation(found: Validation, out: Output) -> None:
    from polymodal.choosing.reasons import shortfall
    from polymodal.runtime.memory import in_words

    runs = (found.base, found.changed)
    out.table(
        ["", "as it is", found.changed.precision],
        [
            [found.base.metric, *(f"{100 * each.value:.1f}" for each in runs)],
            ["95 %", *(f"{100 * each.low:.1f} to {100 * each.high:.1f}" for each in runs)],
            ["memory", *(in_words(each.memory_bytes) for each in runs)],
            ["an item", *(f"{each.latency_ms:.0f} ms" for each in runs)],
            ["failed", *(str(each.failed) for each in runs)],
            *_cut_off(runs),
        ],
        numbers=(1, 2),
    )
    out.text()
    out.text(
        f"same answers: {100 * found.agreement:.1f} % ({100 * found.agreement_low:.1f} to"
        f" {100 * found.agreement_high:.1f}) of {found.compared} items of {found.base.data}"
    )
    for each, called in zip(runs, ("as it is", found.changed.precision), strict=True):
        if lacking := shortfall(each):
            out.wrapped(f"{called}: {lacking}")
    out.wrapped(f"{found.verdict}: {found.reason}")


def _cut_off(runs: Sequence[Measurement]) -> list[list[str]]:
    """How many answers of each run were cut off; no row where none was."""
    if not any(each.truncated for each in runs):
        return []
    return [["of these cut off", *(str(each.truncated) for each in runs)]]


def models_plan(
    file: Annotated[
        str, typer.Argument(metavar="FILE", help="Devices and models, as TOML: docs/choosing.md.")
    ],
    write: Annotated[
        str | None,
        typer.Option("--write", metavar="FOLDER", help="Also write the vLLM commands and compose."),
    ] = None,
    json: Json = False,
) -> None:
    """Plan a deployment.

    Which devices, which precision, how many replicas, how much memory, and what breaks first. The
    file names devices, and models with their rates and latency targets: docs/choosing.md. Where a
    model that writes runs on a GPU, vLLM's command line is printed, or why not; --write also puts
    vllm.sh and compose.yaml into a folder.

    With --json one line: {"models", "devices", "breaks_first", "problems"}. Exit code 1 where the
    devices cannot carry it.
    """
    from polymodal.choosing.plan_files import vllm_command, write_files
    from polymodal.choosing.planning import plan, read_deployment
    from polymodal.runtime.memory import in_words

    out = Output(as_json=json)
    found = plan(read_deployment(Path(file)))
    out.line(found.to_dict())
    out.table(
        ["model", "on", "precision", "replicas", "memory", "busy", "p95"],
        [
            [
                each.name,
                each.where,
                each.precision,
                str(each.replicas),
                in_words(each.memory_bytes),
                "-" if each.busy is None else f"{100 * each.busy:.0f} %",
                "-" if each.latency_s is None else f"{each.latency_s:.2f} s",
            ]
            for each in found.models
        ],
        paths=(0,),
        numbers=(3, 4, 5, 6),
    )
    for device in found.devices:
        free = in_words(device.memory_bytes - device.used_bytes)
        out.text(f"{device.name}: {in_words(device.used_bytes)} used, {free} left")
    for problem in found.problems:
        out.wrapped(f"problem: {problem}")
    if found.breaks_first:
        out.wrapped(f"breaks first: {found.breaks_first}")
    for each in found.models:
        if each.served_by_vllm:
            out.text()
            out.text(vllm_command(each))
    if write is not None:
        for path in write_files(found, Path(write)):
            out.note(f"written: {path}")
    if not found.carries:
        raise typer.Exit(1)
