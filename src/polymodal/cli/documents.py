"""Commands on documents: read, extract."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import TYPE_CHECKING, Annotated, Any

import typer

from polymodal.catalog.names import is_generator_name
from polymodal.cli.common import Inputs, find_inputs, open_suite, succeeded, tracked
from polymodal.cli.options import (
    Budget,
    Device,
    Json,
    NoCache,
    NoJournal,
    Quiet,
    Writer,
)
from polymodal.cli.output import Output
from polymodal.cli.schema_option import DocumentSchema, schema_of
from polymodal.cli.writing import name_the_cost, no_budget_for, wished
from polymodal.errors import UsageError

if TYPE_CHECKING:
    from polymodal.models.messages import GenerationOptions
    from polymodal.results import ItemError
    from polymodal.results_documents import Extraction, FieldEvidence, Reading

__all__ = ["extract", "print_fields", "print_lines", "read"]

Documents = Annotated[
    list[str], typer.Argument(metavar="PATH...", help="PDFs, pictures, TIFFs, folders or globs.")
]


def read(
    paths: Documents,
    format_: Annotated[
        str, typer.Option("--format", metavar="text|json|markdown", help="How to print.")
    ] = "text",
    html: Annotated[
        str | None, typer.Option(metavar="FILE", help="Also write a page with the boxes drawn.")
    ] = None,
    json: Json = False,
    device: Device = "auto",
    no_cache: NoCache = False,
    quiet: Quiet = False,
) -> None:
    """Read the text of pictures, scans and PDFs, in reading order.

    A PDF page's own text is used where there is one; a page that lies on its side or upside down is
    turned.

    Example: polymodal read scans/ --format markdown

    With --json a line is {"input", "lines": [{"text", "box", "score", "page"}], "pages"}.
    """
    if format_ not in {"text", "json", "markdown"}:
        raise UsageError(f"--format is text, json or markdown, not {format_}.")
    out = Output(as_json=json or format_ == "json", quiet=quiet)
    inputs = _documents(paths)
    suite = open_suite("starter", device, no_cache=no_cache)
    results: Iterator[Reading | ItemError] = suite.read(iter(inputs.files))
    items = tracked(inputs.with_errors(results), len(inputs), out, "reading")
    found = list(_shown(succeeded(items, out), out, format_, several=len(inputs) > 1))
    if html:
        from polymodal.cli.reading_page import write_reading_page

        write_reading_page(html, found)
        out.note(f"page: {html}")
    out.finish()


def extract(
    paths: Documents,
    schema: DocumentSchema = None,
    json: Json = False,
    model: Writer = "starter",
    device: Device = "auto",
    budget: Budget = None,
    no_cache: NoCache = False,
    no_journal: NoJournal = False,
    quiet: Quiet = False,
) -> None:
    """Turn receipts and invoices into typed data.

    Each field comes with its confidence and the line that it was read from. What nothing in a
    document supports is empty; broken rules are named beside the values.

    Example: polymodal extract receipts/ --json

    With --json a line is {"input", "data", "confidence", "evidence", "problems"}.
    """
    out = Output(as_json=json, quiet=quiet)
    inputs = _documents(paths)
    if model != "starter" and not is_generator_name(model):
        raise UsageError(f"extract goes with starter or a model that writes text, not {model}.")
    no_budget_for(model, budget)
    suite = open_suite(model, device, no_cache=no_cache, no_journal=no_journal, budget=budget)
    results: Iterator[Extraction | ItemError] = suite.extract(
        iter(inputs.files), schema_of(schema), options=wished(_own_options)
    )
    items = tracked(inputs.with_errors(results), len(inputs), out, "extracting")
    for item in succeeded(name_the_cost(suite, model, out, items), out):
        evidence = {name: _evidence(each) for name, each in item.evidence.items()}
        out.line(
            {
                "input": item.input,
                "data": item.data,
                "confidence": item.confidence,
                "evidence": evidence,
                "problems": item.problems,
            }
        )
        if len(inputs) > 1:
            out.text(f"== {item.input}")
        print_fields(item, out)
    out.finish()


def _own_options() -> GenerationOptions:
    from polymodal.tasks.structured import OPTIONS

    return OPTIONS


def _documents(paths: list[str]) -> Inputs:
    from polymodal.media.documents import DOCUMENT_EXTENSIONS

    return find_inputs(paths, DOCUMENT_EXTENSIONS, "documents")


def _shown(
    items: Iterable[Reading], out: Output, format_: str, *, several: bool
) -> Iterator[Reading]:
    """Print each reading as it comes."""
    for item in items:
        out.line(
            {
                "input": item.input,
                "lines": [_line(line) for line in item.lines],
                "pages": [
                    {
                        "page": page.page,
                        "width": page.width_px,
                        "height": page.height_px,
                        "rotation": page.rotation,
                        "source": page.source,
                    }
                    for page in item.pages
                ],
            }
        )
        if not out.as_json:
            if several:
                out.text(f"# {item.input}" if format_ == "markdown" else f"== {item.input}")
            print_lines(item, out, format_)
        yield item


def print_lines(item: Reading, out: Output, format_: str = "text") -> None:
    """A document's text, row by row, for a person."""
    for text in _lines_of(item, format_):
        out.text(text)
    if not item.lines:
        out.note(f"{item.input}: no text was found")


def _line(line: Any) -> dict[str, Any]:
    return {
        "text": line.text,
        "box": [round(value, 1) for value in line.box],
        "score": round(line.score, 4),
        "page": line.page,
    }


def _lines_of(item: Reading, format_: str) -> Iterator[str]:
    if format_ == "markdown":
        yield from item.markdown.split("\n")
        return
    for number, rows in item.page_rows().items():
        if len(item.pages) > 1:
            yield f"-- page {number}"
        for row in rows:
            yield "  ".join(line.text for line in row)


def _evidence(each: FieldEvidence) -> dict[str, Any]:
    return {"text": each.text, "box": [round(v, 1) for v in each.box], "page": each.page}


def print_fields(item: Extraction, out: Output) -> None:
    """A document's fields, each with its confidence, for a person."""
    width = max((len(name) for name in item.data), default=0)
    # Lines, not a table: half an address is none.
    for name, value in item.data.items():
        source = item.evidence.get(name)
        sure = f" ({item.confidence.get(name, 0):.2f})" if value is not None else ""
        apart = source is not None and _bare(value) not in _bare(source.text)
        shown = f", from {source.text!r}" if source is not None and apart else ""
        out.text(f"{name:{width}}  {'-' if value is None else value}{sure}{shown}")
    # With --json they go to stderr, where nothing else says whose they are.
    whose = f"{item.input}: " if out.as_json else ""
    for problem in item.problems:
        out.remark(f"{whose}problem: {problem}")


def _bare(value: object) -> str:
    return "".join(char for char in str(value).casefold() if char.isalnum())
