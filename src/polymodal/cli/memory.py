"""What polymodal remembers: the cache of results and the journal of calls."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any

import typer

from polymodal.cli.options import Json, Quiet
from polymodal.cli.output import Output, to_json
from polymodal.errors import UsageError

if TYPE_CHECKING:
    from polymodal.runtime.journal import Call, Journal, Label
    from polymodal.runtime.review import Accuracy

__all__ = [
    "accuracy",
    "cache_clear",
    "cache_info",
    "export",
    "label",
    "list_",
    "sample",
    "show",
]

Verb = Annotated[
    str | None, typer.Option("--verb", metavar="NAME", help="Only calls of this verb: ask, ...")
]
OfModel = Annotated[
    str | None, typer.Option("--model", "-m", metavar="NAME", help="Only calls of this model.")
]
Number = Annotated[int, typer.Argument(metavar="ID", help="The call's number in the list.")]


def cache_info(json: Json = False) -> None:
    """Show where results are kept, how many and how large.

    With --json a line is {"path", "entries", "size_bytes", "max_bytes", "verbs", "set_aside"}.
    """
    from polymodal.runtime.cache import Cache

    out = Output(as_json=json)
    info = Cache().info()
    aside = [str(path) for path in info.set_aside]
    out.line({**vars(info), "path": str(info.path), "set_aside": aside})
    out.text(f"file     {info.path}")
    counts = ", ".join(f"{verb} {count:,}" for verb, count in info.verbs.items())
    out.text(f"results  {info.entries:,}{f' ({counts})' if counts else ''}")
    out.text(f"size     {info.size_bytes / 1e6:.1f} MB of at most {info.max_bytes / 1e6:.0f} MB")
    for path in aside:
        out.text(f"damaged  {path} (set aside; `polymodal cache clear` removes it)")


def cache_clear(json: Json = False) -> None:
    """Remove every kept result.

    With --json a line is {"removed"}.
    """
    from polymodal.runtime.cache import Cache

    out = Output(as_json=json)
    removed = Cache().clear()
    out.line({"removed": removed})
    out.text(f"removed {removed:,} results")


def list_(
    verb: Verb = None,
    model: OfModel = None,
    count: Annotated[
        int, typer.Option("-k", "--count", metavar="N", min=1, help="How many, the newest.")
    ] = 20,
    json: Json = False,
) -> None:
    """List what was asked and answered, the newest last.

    With --json a line is a call: {"id", "time", "verb", "model", "revision", "prompt",
    "parameters", "inputs", "output", "finish", "confidence", "latency_s", "batch",
    "prompt_tokens", "tokens", "cost_usd", "label", "note"}.
    """
    out = Output(as_json=json)
    journal = _journal()
    calls, labels = journal.calls(verb=verb, model=model, last=count), journal.labels()
    for call in calls:
        out.line(_values(call, labels))
    out.table(
        ["id", "time", "verb", "sure", "label", "answer"],
        [_row(call, labels) for call in calls],
        numbers=(0, 3),
    )
    _when_empty(calls, journal, out)


def show(call_id: Number, json: Json = False) -> None:
    """Show everything that is known of one call.

    With --json a line is the call, as `list` gives it.
    """
    out = Output(as_json=json)
    journal = _journal()
    found = journal.calls(ids=[call_id])
    if not found:
        raise UsageError(f"the journal has no call {call_id}: see `polymodal journal list`.")
    values = _values(found[0], journal.labels())
    out.line(values)
    for name, value in values.items():
        for number, line in enumerate(_lines(value)):
            out.text(f"{name if not number else '':<14}{line}".rstrip())


def sample(
    count: Annotated[
        int, typer.Option("-k", "--count", metavar="N", min=1, help="How many to draw.")
    ] = 20,
    by: Annotated[
        str,
        typer.Option(
            "--by",
            metavar="both|uncertain|random",
            help="The least sure, a fair draw, or half of each.",
        ),
    ] = "both",
    seed: Annotated[
        int, typer.Option(metavar="N", help="The same number draws the same again.")
    ] = 0,
    verb: Verb = None,
    model: OfModel = None,
    json: Json = False,
) -> None:
    """Draw answers for a person to review.

    Label what is drawn; labels of random draws tell how often answers are right.

    Example: polymodal journal sample -k 10, then polymodal journal label 12 right

    With --json a line is a call, as `list` gives it, and "drawn": "uncertain" or "random".
    """
    from polymodal.runtime import review

    out = Output(as_json=json)
    journal = _journal()
    by_: Any = by
    drawn = review.sample(journal, count, seed=seed, by=by_, verb=verb, model=model)
    for each in drawn:
        out.line({**_values(each.call, {}), "drawn": each.how})
    rows = [
        [
            str(each.call.id),
            each.how,
            _sure(each.call),
            ", ".join(i["name"] or i["sha256"][:12] for i in each.call.inputs),
            each.call.output,
        ]
        for each in drawn
    ]
    out.table(["id", "drawn", "sure", "input", "answer"], rows, paths=(3,), numbers=(0, 2))
    if drawn:
        out.text(f"say what you think: polymodal journal label {drawn[0].call.id} right|wrong")
    _when_empty(drawn, journal, out)


def label(
    call_id: Number,
    verdict: Annotated[str, typer.Argument(metavar="right|wrong", help="What you think of it.")],
    note: Annotated[str, typer.Option(metavar="TEXT", help="Why.")] = "",
    json: Json = False,
    quiet: Quiet = False,
) -> None:
    """Say whether an answer is right.

    The last label of a call counts; earlier ones stay in the file.

    With --json a line is {"id", "label", "note", "accuracy", "interval", "labelled"}.
    """
    from polymodal.runtime import review

    if verdict not in ("right", "wrong"):
        raise UsageError(f"a label is right or wrong, not {verdict!r}.")
    out = Output(as_json=json, quiet=quiet)
    journal = _journal()
    call = journal.label(call_id, verdict == "right", note)
    (now,) = (
        each
        for each in review.accuracy(journal, verb=call.verb, model=call.model)
        if each.revision == call.revision
    )
    values = {"id": call_id, "label": verdict, "note": note}
    share = {"accuracy": now.share, "interval": now.interval, "labelled": now.labelled}
    out.line({**values, **share})
    out.text(f"{call_id} is {verdict}. {_accuracy_words(now)}")


def accuracy(verb: Verb = None, model: OfModel = None, json: Json = False) -> None:
    """Tell how often answers are right, from the labels.

    Only labels of answers drawn at random count: those drawn for uncertainty are harder.

    With --json a line is {"verb", "model", "revision", "accuracy", "interval", "labelled",
    "correct", "others", "others_correct"}.
    """
    from polymodal.runtime import review

    out = Output(as_json=json)
    found = review.accuracy(_journal(), verb=verb, model=model)
    for each in found:
        out.line({**vars(each), "accuracy": each.share, "interval": each.interval})
        out.text(f"{each.verb} by {each.model}@{each.revision}: {_accuracy_words(each)}")
    if not found:
        out.note("no answer is labelled yet: see `polymodal journal sample`.")


def export(
    file: Annotated[str, typer.Argument(metavar="FILE", help="A JSONL file; - is stdout.")],
    verb: Verb = None,
    model: OfModel = None,
    json: Json = False,
    quiet: Quiet = False,
) -> None:
    """Write calls and their labels to a file, a JSON object a line.

    With --json the last line is {"output", "calls"}.
    """
    from pathlib import Path

    out = Output(as_json=json, quiet=quiet)
    journal = _journal()
    labels, fair = journal.labels(), journal.drawn("random")
    calls = journal.calls(verb=verb, model=model)
    lines = (
        to_json({**_values(call, labels), "drawn_at_random": call.id in fair}) for call in calls
    )
    if file == "-":
        for line in lines:
            print(line)
        return
    try:
        with Path(file).open("w", encoding="utf-8") as written:
            written.writelines(f"{line}\n" for line in lines)
    except OSError as error:
        raise UsageError(f"cannot write {file}: {error.strerror}.") from error
    out.line({"output": file, "calls": len(calls)})
    out.text(f"wrote {len(calls):,} calls to {file}")


def _journal() -> Journal:
    """The one in the home folder, whether or not recording is on."""
    from polymodal.runtime.journal import Journal

    return Journal()


def _values(call: Call, labels: dict[int, Label]) -> dict[str, Any]:
    given = labels.get(call.id)
    verdict = None if given is None else "right" if given.correct else "wrong"
    return {**call.to_dict(), "label": verdict, "note": given.note if given else ""}


def _row(call: Call, labels: dict[int, Label]) -> list[str]:
    values = _values(call, labels)
    when = values["time"][:16].replace("T", " ")
    answer = call.output if call.finish == "stop" else f"({call.finish}) {call.output}"
    return [str(call.id), when, call.verb, _sure(call), values["label"] or "", answer]


def _sure(call: Call) -> str:
    return "" if call.confidence is None else f"{call.confidence:.2f}"


def _lines(value: Any) -> list[str]:
    if value is None or value in ("", {}, []):
        return ["-"]
    if isinstance(value, list):
        return [to_json(item) for item in value]
    return str(value).splitlines() if isinstance(value, str) else [str(value)]


def _accuracy_words(now: Accuracy) -> str:
    rest = f"; {now.others} labelled that were not drawn at random" if now.others else ""
    if now.share is None:
        return f"No accuracy yet: no answer drawn at random is labelled{rest}."
    low, high = now.interval
    counts = f"{now.correct} of {now.labelled}"
    return f"Right: {now.share:.0%} ({counts}; 95 %: {low:.0%} to {high:.0%}){rest}."


def _when_empty(found: Any, journal: Journal, out: Output) -> None:
    if not found:
        out.note(f"nothing to show: {len(journal):,} calls in {journal.path}")
