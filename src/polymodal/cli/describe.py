"""Commands that put pictures into words."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, Annotated, Any

import typer

from polymodal.cli.common import find_inputs, name_the_starter, open_suite, succeeded, tracked
from polymodal.cli.options import Device, Json, Model, NoCache, NoJournal, Paths, Quiet
from polymodal.cli.output import Output

if TYPE_CHECKING:
    from polymodal.results import Caption, ItemError

__all__ = ["caption"]


def caption(
    paths: Paths,
    style: Annotated[
        str, typer.Option(metavar="plain|short|detailed", help="How much to say.")
    ] = "plain",
    about: Annotated[
        str, typer.Option(metavar="TEXT", help="Words that the caption should take up.")
    ] = "",
    candidates: Annotated[
        int, typer.Option(metavar="N", min=1, max=20, help="Captions a picture, best first.")
    ] = 1,
    json: Json = False,
    model: Model = "starter",
    device: Device = "auto",
    no_cache: NoCache = False,
    no_journal: NoJournal = False,
    quiet: Quiet = False,
) -> None:
    """Say in a sentence what a picture shows.

    A caption that was made before comes from the cache.

    Example: polymodal caption photos/ --style short

    With --json a line is {"input", "caption", "score"}, and "candidates" with --candidates.
    """
    out = Output(as_json=json, quiet=quiet)
    inputs = find_inputs(paths)
    suite = open_suite(model, device, no_cache=no_cache, no_journal=no_journal)
    asked: Any = {"style": style, "about": about, "candidates": candidates}  # the verb checks them
    results: Iterator[Caption | ItemError] = suite.caption(iter(inputs.files), **asked)
    items = tracked(inputs.with_errors(results), len(inputs), out, "captioning")
    for item in succeeded(items, out):
        out.line(_values(item, candidates))
        # Lines, not a table: a caption cut to a column's width says less than none.
        for number, each in enumerate(item.candidates):
            out.text(f"{'  or' if number else item.input}: {each.text} ({each.score:.2f})")
    name_the_starter(model, out)
    out.finish()


def _values(item: Caption, candidates: int) -> dict[str, Any]:
    values: dict[str, Any] = {"input": item.input, "caption": item.text, "score": item.score}
    if candidates > 1:
        each = [{"caption": one.text, "score": one.score} for one in item.candidates]
        values["candidates"] = each
    return values
