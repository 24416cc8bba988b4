"""Commands that look at each picture on its own: embed, classify, match, moderate, probe."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from itertools import chain
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from polymodal.cli.common import (
    Inputs,
    find_inputs,
    lines_of,
    name_the_starter,
    open_suite,
    probability,
    succeeded,
    tracked,
)
from polymodal.cli.options import Assign, Device, Html, Json, Model, Paths, Quiet
from polymodal.cli.output import Output
from polymodal.errors import UsageError

if TYPE_CHECKING:
    from polymodal.results import Classification, Embedding, ItemError, Match, Verdict
    from polymodal.suite import Suite

__all__ = [
    "classify",
    "embed",
    "match",
    "moderate",
    "print_classes",
    "print_verdicts",
    "probe",
]

CHUNK = 256
"""Pictures embedded between two writes, so that vectors stream out of a long run."""
SHOWN_SCORES = 3


def embed(
    paths: Annotated[
        list[str] | None, typer.Argument(metavar="[PATH]...", help="Pictures, folders or globs.")
    ] = None,
    text: Annotated[
        list[str] | None, typer.Option("--text", "-t", metavar="TEXT", help="A text; repeat.")
    ] = None,
    texts: Annotated[
        str | None, typer.Option("--texts", metavar="FILE", help="A text a line; - is stdin.")
    ] = None,
    json: Json = False,
    model: Model = "starter",
    device: Device = "auto",
    quiet: Quiet = False,
) -> None:
    """Turn pictures and texts into vectors.

    With --json a line is {"input", "space", "vector"}, or {"input", "error", "kind"}.
    """
    out = Output(as_json=json, quiet=quiet)
    words = [*(text or []), *(lines_of(texts) if texts else [])]
    if not paths and not words:
        raise UsageError("nothing to embed: give pictures, --text or --texts.")
    inputs = find_inputs(paths) if paths else Inputs(())
    suite = open_suite(model, device)
    rows = []
    items = chain(inputs.with_errors(_pictures(suite, inputs.files)), _texts(suite, words))
    total = len(inputs) + len(words)
    for item in succeeded(tracked(items, total, out, "embedding"), out):
        # 9 digits say all that a float32 holds.
        vector = [float(f"{value:.9g}") for value in item.vector]
        space = suite.embedder().space.fingerprint
        out.line({"input": item.input, "space": space, "vector": vector})
        if not json:
            start = " ".join(f"{value:+.3f}" for value in vector[:4])
            rows.append([item.input, str(len(vector)), f"{start} …"])
    out.table(["input", "length", "vector"], rows, paths=(0,), numbers=(1,))
    out.finish()


def _pictures(suite: Suite, files: list[Path]) -> Iterator[Embedding | ItemError]:
    for start in range(0, len(files), CHUNK):
        yield from suite.embed(images=files[start : start + CHUNK]).items


def _texts(suite: Suite, words: list[str]) -> Iterator[Embedding | ItemError]:
    for start in range(0, len(words), CHUNK):
        yield from suite.embed(texts=words[start : start + CHUNK]).items


def classify(
    paths: Paths,
    label: Annotated[
        list[str] | None, typer.Option("--label", "-l", metavar="LABEL", help="A class; repeat.")
    ] = None,
    labels: Annotated[
        str | None,
        typer.Option(
            metavar="FILE", help="Classes: a line each, or TOML/JSON/CSV with descriptions."
        ),
    ] = None,
    probe: Annotated[
        str | None, typer.Option(metavar="FILE", help="A classifier trained by `polymodal probe`.")
    ] = None,
    unknown: Annotated[
        float | None,
        typer.Option(metavar="P", help="Answer 'none of these' below this probability."),
    ] = None,
    multi_label: Annotated[
        bool, typer.Option("--multi-label", help="Judge each class on its own.")
    ] = False,
    template: Annotated[
        list[str] | None,
        typer.Option(metavar="TEXT", help="A prompt with {} for the class; repeat to average."),
    ] = None,
    html: Html = None,
    json: Json = False,
    model: Model = "starter",
    device: Device = "auto",
    quiet: Quiet = False,
) -> None:
    """Sort pictures into classes.

    Classes are named in words (-l, --labels), or were trained from examples (--probe).

    Example: polymodal classify new/ -l "a saree" -l "a kurta" --unknown 0.4

    With --json a line is {"input", "label", "score", "scores": {label: score}}.
    """
    out = Output(as_json=json, quiet=quiet)
    if sum(map(bool, (label, labels, probe))) != 1:
        raise UsageError("say what to sort into by one of -l LABEL, --labels FILE, --probe FILE.")
    probability(unknown, "--unknown")
    inputs = find_inputs(paths)
    results: Iterator[Classification | ItemError] = open_suite(model, device).classify(
        iter(inputs.files),
        label or (Path(labels) if labels else None),
        probe=probe,
        templates=template or None,
        multi_label=multi_label,
        unknown=unknown,
    )
    items = tracked(inputs.with_errors(results), len(inputs), out, "classifying")
    found = print_classes(succeeded(items, out), out, multi_label=multi_label)
    if html:
        from polymodal.cli.result_pages import classification_page

        classification_page(html, found, out)
    name_the_starter(model, out)
    out.finish()


def print_classes(
    items: Iterable[Classification], out: Output, *, multi_label: bool = False
) -> list[Classification]:
    """A JSON line as each item comes, or a table of all; returns the items."""
    found = []
    for item in items:
        values = {"input": item.input, "label": item.label, "score": item.score}
        several = {"labels": item.labels} if multi_label else {}
        out.line({**values, "scores": dict(item.scores), **several})
        found.append(item)
    rows = [_classification_row(item, multi_label=multi_label) for item in found]
    out.table(["picture", "class", "score", "next"], rows, paths=(0,), numbers=(2,))
    return found


def _classification_row(item: Classification, *, multi_label: bool) -> list[str]:
    chosen = ", ".join(item.labels) if multi_label else item.label
    rest = [f"{name} {score:.2f}" for name, score in list(item.scores.items())[1:SHOWN_SCORES]]
    return [item.input, chosen or "none of these", f"{item.score:.2f}", ", ".join(rest)]


def match(
    image: Annotated[str | None, typer.Argument(metavar="IMAGE", help="A picture.")] = None,
    text: Annotated[str | None, typer.Argument(metavar="TEXT", help="What it may show.")] = None,
    pairs: Annotated[
        str | None,
        typer.Option(metavar="FILE", help="CSV or JSONL with columns `image` and `text` instead."),
    ] = None,
    threshold: Annotated[
        float | None, typer.Option(metavar="P", help="Also answer yes or no.")
    ] = None,
    json: Json = False,
    model: Model = "starter",
    device: Device = "auto",
    quiet: Quiet = False,
) -> None:
    """Tell whether a picture fits a description.

    Example: polymodal match p.jpg "a red saree with a gold border"

    With --json a line is {"input", "text", "probability"}, and "matches" with --threshold.
    """
    out = Output(as_json=json, quiet=quiet)
    if (pairs is None) == (image is None) or (image is None) != (text is None):
        raise UsageError("give a picture and a text, or --pairs FILE.")
    probability(threshold, "--threshold")
    suite = open_suite(model, device)
    listed: Any = pairs if pairs else [(image, text)]
    rows = []
    for item in succeeded(suite.match_pairs(listed, threshold=threshold), out):
        out.line(_match_values(item))
        answer = {None: "", True: "yes", False: "no"}[item.matches]
        rows.append([item.input, item.text, f"{item.probability:.2f}", answer])
    headings = ["picture", "text", "fits", "" if threshold is None else f">= {threshold:g}"]
    out.table(headings, rows, paths=(0,), numbers=(2,))
    name_the_starter(model, out)
    out.finish()


def _match_values(item: Match) -> dict[str, Any]:
    values = {"input": item.input, "text": item.text, "probability": item.probability}
    return values if item.matches is None else {**values, "matches": item.matches}


def moderate(
    paths: Paths,
    policy: Annotated[
        str,
        typer.Option(metavar="NAME|FILE", help="photo-quality, safe-for-shop, or a TOML file."),
    ] = "photo-quality",
    html: Html = None,
    json: Json = False,
    model: Model = "starter",
    device: Device = "auto",
    quiet: Quiet = False,
) -> None:
    """Approve or reject pictures by a policy.

    Sharpness, light and background are measured; the rest is what the model sees.

    Example: polymodal moderate uploads/ --html verdicts.html

    With --json a line is {"input", "approved", "criterion", "scores": {criterion: score}}.
    """
    out = Output(as_json=json, quiet=quiet)
    inputs = find_inputs(paths)
    results: Iterator[Verdict | ItemError] = open_suite(model, device).moderate(
        iter(inputs.files), policy
    )
    items = tracked(inputs.with_errors(results), len(inputs), out, "moderating")
    found = print_verdicts(succeeded(items, out), out)
    if html:
        from polymodal.cli.result_pages import moderation_page

        moderation_page(html, found, out)
    name_the_starter(model, out)
    out.finish()


def print_verdicts(items: Iterable[Verdict], out: Output) -> list[Verdict]:
    """A JSON line as each item comes, or a table of all; returns the items."""
    found = []
    for item in items:
        values = {"input": item.input, "approved": item.approved, "criterion": item.criterion}
        out.line({**values, "scores": item.scores})
        found.append(item)
    rows = [
        [
            item.input,
            "approved" if item.approved else "rejected",
            item.criterion,
            f"{item.margin:+.2f}",
            _why(item),
        ]
        for item in found
    ]
    out.table(["picture", "verdict", "decided by", "margin", "why"], rows, paths=(0,), numbers=(3,))
    return found


def _why(item: Verdict) -> str:
    return next((f.explanation for f in item.findings if f.criterion == item.criterion), "")


def probe(
    folder: Annotated[
        str, typer.Argument(metavar="DIR", help="A folder that holds a folder of pictures a class.")
    ],
    output: Annotated[
        str, typer.Option("--output", "-o", metavar="FILE", help="Where the classifier is saved.")
    ],
    recipe: Annotated[
        str | None,
        typer.Option(metavar="NAME", help="linear_probe: as in CLIP's paper, by scikit-learn."),
    ] = None,
    assign: Assign = None,
    json: Json = False,
    model: Model = "starter",
    device: Device = "auto",
    quiet: Quiet = False,
) -> None:
    """Train a classifier from a few examples.

    The saved file is what `classify --probe FILE` uses. With --recipe it measures a model's
    features by a published protocol; the accuracy is then that on the pictures it held out, by
    which the strength of its penalty was chosen too: a little above that on others.

    Example: polymodal probe examples/ -o sleeves.probe

    With --json the last line is {"output", "labels", "images", "accuracy", "interval"}.
    """
    out = Output(as_json=json, quiet=quiet)
    trained = open_suite(model, device).probe(folder, recipe=_probe_recipe(recipe, assign))
    report = trained.report
    trained.save(output)
    for error in report.errors:
        out.fail(error)
    out.line(
        {
            "output": output,
            "labels": report.labels,
            "images": report.images,
            "accuracy": report.accuracy,
            "interval": report.interval,
        }
    )
    out.table(
        ["class", "images"],
        [[name, str(report.images[name])] for name in report.labels],
        numbers=(1,),
    )
    low, high = report.interval
    how = "on the held-out pictures that chose its strength" if recipe else "cross-validated"
    out.text(f"accuracy {report.accuracy:.1%}, {how} (95 %: {low:.1%} to {high:.1%})")
    out.text(f"saved to {output}; use it: polymodal classify PATH... --probe {output}")
    name_the_starter(model, out)
    out.finish()


def _probe_recipe(name: str | None, assignments: list[str] | None) -> Any:
    if name is None:
        if assignments:
            raise UsageError("--set replaces a value of a recipe: add --recipe linear_probe.")
        return None
    from polymodal.training.probe_recipe import PROBES
    from polymodal.training.settings import overridden, recipe_of

    return overridden(recipe_of(PROBES, name), assignments or [])
