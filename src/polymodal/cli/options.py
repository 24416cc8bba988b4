"""Options that every command shares, declared once."""

from __future__ import annotations

from typing import Annotated

import typer

__all__ = [
    "DEFAULT_COLLECTION",
    "AllowPickle",
    "AllowRemoteCode",
    "Assign",
    "Budget",
    "CollectionName",
    "Count",
    "Device",
    "Dtype",
    "Html",
    "Json",
    "MaxTokens",
    "Memory",
    "Model",
    "NoCache",
    "NoJournal",
    "Paths",
    "Quantize",
    "Quiet",
    "Seed",
    "Stop",
    "Stream",
    "Temperature",
    "Where",
    "Writer",
]

DEFAULT_COLLECTION = "default"

Paths = Annotated[list[str], typer.Argument(metavar="PATH...", help="Pictures, folders or globs.")]
Json = Annotated[
    bool,
    typer.Option("--json", help="One JSON object a line on stdout; everything else on stderr."),
]
Model = Annotated[
    str,
    typer.Option("--model", "-m", metavar="NAME", help="A model's name, folder or hub id."),
]
Writer = Annotated[
    str,
    typer.Option(
        "--model",
        "-m",
        metavar="NAME",
        help="A model's name, folder or hub id, or openai:MODEL, anthropic:MODEL, gemini:MODEL.",
    ),
]
Assign = Annotated[
    list[str] | None,
    typer.Option("--set", metavar="KEY=VALUE", help="Replace a value of the recipe; repeatable."),
]
AllowPickle = Annotated[
    bool,
    typer.Option(
        "--allow-pickle", help="Take a checkpoint's weights as pickles, where it has no others."
    ),
]
AllowRemoteCode = Annotated[
    list[str] | None,
    typer.Option(
        "--allow-remote-code",
        metavar="NAME",
        help="Run the code that comes with this checkpoint, named as -m names it; repeat.",
    ),
]
Budget = Annotated[
    float | None,
    typer.Option(metavar="USD", help="Stop before answers of a paid model cost more than this."),
]
MaxTokens = Annotated[
    int | None,
    typer.Option(metavar="N", min=1, help="Tokens that an answer may have; the rest is cut off."),
]
Temperature = Annotated[
    float | None, typer.Option(metavar="T", min=0.0, help="Above 0, answers are drawn at random.")
]
Seed = Annotated[
    int | None,
    typer.Option(
        metavar="N",
        help="The same random answers every time, from models that can; without --temperature"
        " nothing is random.",
    ),
]
Stop = Annotated[
    list[str] | None, typer.Option(metavar="TEXT", help="End an answer before this text; repeat.")
]
Stream = Annotated[bool, typer.Option("--stream", help="Print an answer while it is written.")]
Device = Annotated[
    str,
    typer.Option("--device", metavar="auto|cpu|cuda|cuda:N", help="Where the model runs."),
]
Dtype = Annotated[
    str,
    typer.Option(
        "--dtype",
        metavar="auto|float32|bfloat16|float16",
        help="The number format of a checkpoint's weights.",
    ),
]
Quantize = Annotated[
    str | None,
    typer.Option(
        "--quantize",
        metavar="8bit|4bit",
        help="A checkpoint's weights in fewer bits: smaller, a little less exact.",
    ),
]
Memory = Annotated[
    str | None,
    typer.Option(
        "--memory",
        metavar="SIZE",
        help="The most that models may take, such as 8GB; else 80 % of what is free.",
    ),
]
Quiet = Annotated[
    bool, typer.Option("--quiet", "-q", help="No progress and no notes; failures are named.")
]
CollectionName = Annotated[
    str,
    typer.Option(
        "--collection",
        "-c",
        metavar="NAME|PATH",
        envvar="POLYMODAL_COLLECTION",
        show_envvar=True,
        help="A collection's name, or its folder.",
    ),
]
Html = Annotated[
    str | None,
    typer.Option("--html", metavar="FILE", help="Also write a page of thumbnails."),
]
Count = Annotated[int, typer.Option("-k", "--count", metavar="N", min=1, help="How many results.")]
Where = Annotated[
    str | None,
    typer.Option("--where", metavar="EXPR", help="A filter: price < 2000 and category = 'saree'."),
]
NoCache = Annotated[
    bool, typer.Option("--no-cache", help="Compute everything; keep and reuse no result.")
]
NoJournal = Annotated[
    bool, typer.Option("--no-journal", help="Do not record what was asked and answered.")
]
