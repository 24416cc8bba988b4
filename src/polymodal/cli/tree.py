"""The tree of commands: which there are, under which heading, and where each is found.

Notable: the module of a command is imported, and its options are read, when that command is asked
for; the `--help` of the whole needs neither. So a row repeats what its function says in its first
line; a test holds the two equal.
"""

from __future__ import annotations

import gc
import inspect
from collections.abc import Iterator, Mapping
from importlib import import_module
from typing import Any, NamedTuple

import typer
from typer.core import TyperCommand, TyperGroup, TyperOption

__all__ = ["COMMANDS", "Built", "Row"]

PROFILE = "polymodal.profile"
"""Where a command's context keeps whether `--profile` was given."""


class Row(NamedTuple):
    """A command of `polymodal`.

    Attributes:
        panel: the heading that it stands under.
        summary: what `polymodal --help` says of it.
        where: its module in this folder and its function; or those of each of its own commands.
        loads: whether `--device` brings the other options with it by which models are loaded.
    """

    panel: str
    summary: str
    where: str | Mapping[str, str]
    loads: bool = True


COMMANDS = {
    "add": Row("Find", "Add pictures to a collection.", "collections:add"),
    "search": Row("Find", "Find pictures by words, by a picture, or by both.", "search:search"),
    "similar": Row("Find", "Find what looks like a picture.", "search:similar"),
    "duplicates": Row("Find", "Group near-duplicate pictures.", "collections:duplicates"),
    "read": Row(
        "Read", "Read the text of pictures, scans and PDFs, in reading order.", "documents:read"
    ),
    "extract": Row("Read", "Turn receipts and invoices into typed data.", "documents:extract"),
    "classify": Row("Sort", "Sort pictures into classes.", "sort:classify"),
    "match": Row("Sort", "Tell whether a picture fits a description.", "sort:match"),
    "moderate": Row("Sort", "Approve or reject pictures by a policy.", "sort:moderate"),
    "probe": Row("Sort", "Train a classifier from a few examples.", "sort:probe"),
    "embed": Row("Sort", "Turn pictures and texts into vectors.", "sort:embed"),
    "caption": Row("Describe", "Say in a sentence what a picture shows.", "describe:caption"),
    "ask": Row("Describe", 'Answer questions about pictures, or say "not sure".', "describe:ask"),
    "transcribe": Row(
        "Listen", "Write down what is said in sounds and videos.", "listen:transcribe"
    ),
    "watch": Row(
        "Listen", "Cut videos into scenes: what each shows and what is said.", "listen:watch"
    ),
    "info": Row("Collections", "Show what a collection holds.", "collections:info"),
    "export": Row("Collections", "Write a collection to JSONL or Parquet.", "collections:export"),
    "import": Row("Collections", "Add what `export` wrote.", "collections:import_"),
    "delete": Row("Collections", "Remove items from a collection.", "collections:delete"),
    "reembed": Row(
        "Collections", "Move a collection to another model (-m).", "collections:reembed"
    ),
    "demo": Row("Start", "See it all on real photographs.", "demo:demo"),
    "cascade": Row(
        "Sort",
        "Cheap models first, strong ones for the rest: fit, run.",
        {"fit": "cascades:cascade_fit", "run": "cascades:cascade_run"},
    ),
    "models": Row(
        "Models",
        "Models: what there is, which to choose, what is in memory.",
        {
            "select": "choosing:models_select",
            "validate": "choosing:models_validate",
            "plan": "choosing:models_plan",
            "list": "models:models_list",
            "show": "models:models_show",
            "path": "models:models_path",
            "pull": "models:models_pull",
            "rm": "models:models_rm",
            "ps": "models:models_ps",
            "unload": "models:models_unload",
        },
    ),
    "cache": Row(
        "Memory",
        "Results that are kept: info, clear.",
        {"info": "memory:cache_info", "clear": "memory:cache_clear"},
    ),
    "journal": Row(
        "Memory",
        "What was asked and answered: list, sample, label, export.",
        {
            "list": "memory:list_",
            "show": "memory:show",
            "sample": "memory:sample",
            "label": "memory:label",
            "accuracy": "memory:accuracy",
            "export": "memory:export",
        },
    ),
    "train": Row(
        "Train",
        "Train on your data: contrastive, align, instruct, qformer.",
        {
            "contrastive": "train:contrastive",
            "align": "train_llava:align",
            "instruct": "train_llava:instruct",
            "qformer": "train_qformer:qformer",
        },
        loads=False,
    ),
}
"""By name, in the order of docs/cli.md."""

WRITERS = {"describe:caption", "describe:ask", "documents:extract"}
"""Commands whose answers a model that writes may give."""


LOADS_WITHOUT = {
    "choosing:models_select": ("memory", "dtype", "quantize"),
    "choosing:models_validate": ("dtype", "quantize"),
}
"""Commands that run checkpoints, and what of these options means something else to them."""


class Built(Mapping[str, Any]):
    """Commands by their names, each imported and built the first time that it is looked up."""

    def __init__(self, rows: Mapping[str, Row]) -> None:
        """Nothing is imported yet."""
        self._rows = rows
        self._built: dict[str, Any] = {}

    def __getitem__(self, name: str) -> Any:
        """The command of this name, or the group of commands."""
        if name not in self._built:
            self._built[name] = _group_or_command(name, self._rows[name])
        return self._built[name]

    def __contains__(self, name: object) -> bool:
        """Whether there is such a command, without building it."""
        return name in self._rows

    def __iter__(self) -> Iterator[str]:
        """The names, in order."""
        return iter(self._rows)

    def __len__(self) -> int:
        """How many there are."""
        return len(self._rows)


def _group_or_command(name: str, row: Row) -> Any:
    if isinstance(row.where, str):
        return _command(name, row.where, loads=row.loads)
    inner = {each: Row("", "", where, row.loads) for each, where in row.where.items()}
    return LazyGroup(
        inner, name=name, help=row.summary, no_args_is_help=True, rich_markup_mode=None
    )


def _command(name: str, where: str, *, loads: bool) -> Any:
    """The function at `where` as a command with its options."""
    from polymodal.cli.loading import loads_models
    from polymodal.cli.writing import writes_answers

    module, _, function = where.partition(":")
    command = getattr(import_module(f"polymodal.cli.{module}"), function)
    asked = inspect.signature(command).parameters
    if where in WRITERS:
        command = writes_answers(command)
    if loads and "device" in asked:
        without = LOADS_WITHOUT.get(where, ())
        checkpoints = "model" in asked or bool(without)
        command = loads_models(command, checkpoints=checkpoints, without=without)
    alone = typer.Typer(rich_markup_mode=None, add_completion=False)
    alone.command(name, cls=Command)(command)
    return typer.main.get_command(alone)


class LazyGroup(TyperGroup):
    """A group whose commands are built when they are asked for."""

    def __init__(self, rows: Mapping[str, Row], **settings: Any) -> None:
        """As Typer makes groups, of these commands."""
        super().__init__(**settings)
        self.commands: Any = Built(rows)

    def list_commands(self, ctx: Any) -> list[str]:
        """The names; Typer would build every command for them."""
        return list(self.commands)


class Command(TyperCommand):
    """A command whose usage line shows what is required bare and what is not in brackets.

    Every command takes `--profile`: it is declared here, once.
    """

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        """As Typer makes commands, with one option more."""
        super().__init__(*args, **kwargs)
        self.params.append(
            TyperOption(
                param_decls=["--profile"],
                is_flag=True,
                expose_value=False,
                callback=_note_profile,
                help="At the end, print where the time went, on stderr.",
            )
        )

    def invoke(self, ctx: Any) -> Any:
        """Run the command, under a profile where that was asked for."""
        if not gc.isenabled():  # `main` turned it off
            gc.freeze()
            gc.enable()
        if not ctx.meta.get(PROFILE):
            return super().invoke(ctx)
        from polymodal.cli.profile import printed_profile

        with printed_profile():
            return super().invoke(ctx)

    def collect_usage_pieces(self, ctx: Any) -> list[str]:
        """`PATH...` instead of `{PATH...}`."""
        return [piece.strip("{}") for piece in super().collect_usage_pieces(ctx)]


def _note_profile(ctx: Any, _: Any, wanted: bool) -> None:
    ctx.meta[PROFILE] = wanted
