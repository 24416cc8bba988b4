"""Commands that put pictures into words."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from polymodal.cli.common import (
    Inputs,
    doubted,
    find_inputs,
    name_the_starter,
    open_suite,
    probability,
    succeeded,
    tracked,
)
from polymodal.cli.options import (
    Budget,
    Device,
    Json,
    NoCache,
    NoJournal,
    Paths,
    Quiet,
    Stream,
    Writer,
)
from polymodal.cli.output import Output
from polymodal.cli.schema_option import AnswerSchema, schema_of
from polymodal.cli.writing import name_the_cost, no_budget_for, told, wished
from polymodal.errors import UsageError

if TYPE_CHECKING:
    from polymodal.models.messages import GenerationOptions
    from polymodal.results import Caption, CaptionCandidate, ItemError
    from polymodal.results_answers import Answer
    from polymodal.suite import Suite

__all__ = ["ask", "caption", "print_answers", "reason"]


Media = Annotated[
    list[str] | None,
    typer.Argument(
        metavar="[PATH]...", help="Pictures, folders or globs; also videos, sound and PDFs."
    ),
]
Questions = Annotated[
    list[str] | None,
    typer.Option("--question", "-q", metavar="TEXT", help="A question; repeat."),
]
Examples = Annotated[
    str | None,
    typer.Option(
        metavar="FILE",
        help="JSONL or CSV with `image`, `question`, `answer`: shown before each question.",
    ),
]
Pairs = Annotated[
    str | None,
    typer.Option(metavar="FILE", help="CSV or JSONL with columns `image` and `question`."),
]
AllAtOnce = Annotated[
    bool, typer.Option("--together", help="Ask about all pictures at once, in their order.")
]


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
    model: Writer = "starter",
    stream: Stream = False,
    budget: Budget = None,
    device: Device = "auto",
    no_cache: NoCache = False,
    no_journal: NoJournal = False,
    quiet: Quiet = False,
) -> None:
    """Say in a sentence what a picture shows.

    A caption that was made before comes from the cache.

    Example: polymodal caption photos/ --style short

    With --json a line is {"input", "caption", "score", "fit"}, and "candidates" with --candidates.
    """
    out = Output(as_json=json, quiet=quiet)
    no_budget_for(model, budget)
    inputs = find_inputs(paths)
    suite = open_suite(model, device, no_cache=no_cache, no_journal=no_journal, budget=budget)
    writer, teller = told(suite, model, out, stream=stream)
    asked: Any = {"style": style, "about": about, "candidates": candidates}  # the verb checks them
    asked["options"] = wished(lambda: _caption_options(style))
    results: Iterator[Caption | ItemError] = suite.caption(
        iter(inputs.files), generator=writer, **asked
    )
    items = name_the_cost(suite, model, out, inputs.with_errors(results))
    if teller is None:
        items = tracked(items, len(inputs), out, "captioning")
    for item in succeeded(items, out):
        out.line(_values(item, candidates))
        if teller is not None and item.input in teller.names:
            continue
        # Lines, not a table: a caption cut to a column's width says less than none.
        for number, each in enumerate(item.candidates):
            out.text(f"{'  or' if number else item.input}: {each.text}{_sure(each)}")
    name_the_starter(model, out)
    out.finish()


def _caption_options(style: str) -> GenerationOptions:
    from polymodal.models.messages import GREEDY
    from polymodal.tasks.caption_generators import MOST_TOKENS, own_options

    return own_options(style) if style in MOST_TOKENS else GREEDY  # the verb refuses the style


def _answer_options(schema: object | None) -> GenerationOptions:
    from polymodal.tasks.answering_generators import options_for

    return options_for(schema)


def _sure(item: CaptionCandidate) -> str:
    said = [] if item.score is None else [f"{item.score:.2f}"]
    if doubt := doubted(item.fit):
        said.append(doubt)
    return f" ({', '.join(said)})" if said else ""


def _values(item: Caption, candidates: int) -> dict[str, Any]:
    values = {"input": item.input, **_candidate(item)}
    if candidates > 1:
        values["candidates"] = [_candidate(one) for one in item.candidates]
    return values


def _candidate(item: Caption | CaptionCandidate) -> dict[str, Any]:
    return {"caption": item.text, "score": item.score, "fit": item.fit}


def ask(
    paths: Media = None,
    question: Questions = None,
    pairs: Pairs = None,
    together: AllAtOnce = False,
    examples: Examples = None,
    schema: AnswerSchema = None,
    threshold: Annotated[
        float | None,
        typer.Option(metavar="P", help="Answer from this confidence on; 0 always answers."),
    ] = None,
    no_grounding: Annotated[
        bool,
        typer.Option("--no-grounding", help="Do not check answers against the picture."),
    ] = False,
    json: Json = False,
    model: Writer = "starter",
    stream: Stream = False,
    budget: Budget = None,
    device: Device = "auto",
    no_cache: NoCache = False,
    no_journal: NoJournal = False,
    quiet: Annotated[bool, typer.Option("--quiet", help="No progress and no notes.")] = False,
) -> None:
    """Answer questions about pictures, or say "not sure".

    Text in pictures and PDFs is read. With a model that writes, also about videos and sound.

    Example: polymodal ask photos/ -q "What color is the dog?" -q "Is there a ball?"

    Example: polymodal ask photos/ -q "What is sold here?" --schema shop:Item -m openai:MODEL

    With --json a line is {"input", "question", "answer", "confidence", "abstained", "evidence"},
    and "data" with --schema.
    """
    out = Output(as_json=json, quiet=quiet)
    alone = pairs is None
    if alone == (not paths) or alone != bool(question) or (together and not alone):
        raise UsageError("give pictures and -q QUESTION, also --together, or --pairs FILE.")
    probability(threshold, "--threshold")
    no_budget_for(model, budget)
    suite = open_suite(model, device, no_cache=no_cache, no_journal=no_journal, budget=budget)
    writer, teller = told(suite, model, out, stream=stream)
    checks: Any = {"threshold": threshold, "grounded": not no_grounding, "generator": writer}
    checks |= _form(schema, examples, stream=stream)
    items: Iterable[Any]
    if pairs is not None:
        items = suite.ask_pairs(pairs, **checks)
    elif together:
        items = _asked_together(suite, paths or [], question or [], checks)
    else:
        inputs, asked = find_inputs(paths or []), question or []
        answers = suite.ask(iter(inputs.files), asked, **checks)
        results = Inputs.with_errors(_repeated(inputs, len(asked)), answers)
        items = results if teller else tracked(results, len(inputs) * len(asked), out, "asking")
    items = succeeded(name_the_cost(suite, model, out, items), out)
    print_answers(items, out, with_data=schema is not None)
    name_the_starter(model, out)
    out.finish()


def _form(schema: str | None, examples: str | None, *, stream: bool) -> dict[str, Any]:
    """In what form answers are to come."""
    if stream and schema is not None:
        raise UsageError("--schema gives data once all of it is there; --stream goes without it.")
    from polymodal.tasks.examples import read_examples

    return {
        "options": wished(lambda: _answer_options(schema)),
        "schema": schema_of(schema),
        "examples": read_examples(examples) if examples is not None else (),
    }


def print_answers(items: Iterable[Answer], out: Output, *, with_data: bool = False) -> list[Answer]:
    """Print answers as they come, as lines, as a table, or one below the other where a table would
    cut an answer off; returns them.
    """
    kept = []
    for item in items:
        data = {"data": item.data} if with_data else {}
        out.line({**_answer_values(item), **data})
        kept.append(item)
    _print_rows([_row(item) for item in kept], out)
    return kept


def _print_rows(rows: Sequence[Sequence[str]], out: Output) -> None:
    from polymodal.cli.tables import is_cut

    columns = ["picture", "question", "answer", "sure", "because"]
    if not is_cut(columns, rows, (2,), paths=(0,)):
        out.table(columns, rows, paths=(0,), numbers=(3,))
        return
    for picture, question, answer, sure, because in rows:
        out.text(f"{picture}: {question}")
        for number, paragraph in enumerate(answer.splitlines() or [""]):
            end = f" ({sure})" if number == len(answer.splitlines()) - 1 else ""
            out.wrapped(paragraph + end, "  ")
        if because:
            out.wrapped(because, "  because: ")


def _asked_together(
    suite: Suite, paths: Sequence[str], questions: Sequence[str], checks: dict[str, Any]
) -> Iterator[Answer | ItemError]:
    """What cannot be found is named, and nothing is asked about the rest; one is asked as it is."""
    from polymodal.media.pictures import Together

    inputs = find_inputs(paths)
    files = inputs.files
    if len(files) < len(inputs):
        return (each for each in inputs.found if not isinstance(each, Path))
    shown = files[0] if len(files) == 1 else Together(*files)
    return suite.ask(iter([shown]), questions, **checks)


def _repeated(inputs: Inputs, times: int) -> Inputs:
    """A file once for every question about it; what cannot be opened is named once."""
    found: list[Any] = []
    for item in inputs.found:
        found += [item] * (times if item in inputs.files else 1)
    return Inputs(tuple(found))


def _answer_values(item: Answer) -> dict[str, Any]:
    return {
        "input": item.input,
        "question": item.question,
        "answer": item.text,
        "confidence": item.confidence,
        "abstained": item.abstained,
        "evidence": [each.to_dict() for each in item.evidence],
    }


def _row(item: Answer) -> list[str]:
    shown = item.text if not item.abstained else f"{item.text} ({item.guess or 'no answer'}?)"
    return [item.input, item.question, shown, f"{item.confidence:.2f}", reason(item)]


def reason(item: Answer) -> str:
    """The evidence that says most: what cannot be, else what was read or seen, else the model."""
    for source in ("missing", "question", "text", "picture", "model"):
        for each in item.evidence:
            understood = source == "question" and not item.abstained
            if each.source == source and not understood:
                against = each.supports is False and not item.abstained
                return f"though {each.text}" if against else each.text
    return ""
