"""The command tree: one Typer app, its commands in the order and groups that `--help` shows."""

from __future__ import annotations

import inspect
import os
import sys
from collections.abc import Callable
from typing import Annotated, Any

import typer
from typer.core import TyperCommand, TyperGroup, TyperOption

from polymodal import __version__
from polymodal.cli import (
    cascades,
    choosing,
    collections,
    demo,
    describe,
    documents,
    listen,
    memory,
    models,
    search,
    sort,
    train,
    train_llava,
    train_qformer,
)
from polymodal.cli.loading import loads_models
from polymodal.cli.writing import writes_answers
from polymodal.errors import PolymodalError

__all__ = ["app"]

INTERRUPTED = 130
"""What a shell reports for a process that ended on Ctrl-C."""


PROFILE = "polymodal.profile"
"""Where a command's context keeps whether `--profile` was given."""


def _note_profile(ctx: Any, _: Any, wanted: bool) -> None:
    ctx.meta[PROFILE] = wanted


class Commands(TyperGroup):
    """A group that turns errors into messages and exit codes, and lists commands by subject."""

    def invoke(self, ctx: Any) -> Any:
        """Run the command; no traceback for anything a person can act on."""
        try:
            try:
                return super().invoke(ctx)
            finally:
                sys.stdout.flush()  # here, where a reader that is gone is no traceback
        except KeyboardInterrupt:
            _complain("stopped; what was finished before is kept.")
            raise typer.Exit(INTERRUPTED) from None
        except BrokenPipeError:
            # The reader (`| head`) has had enough: not a failure, and nothing may be printed.
            os.dup2(os.open(os.devnull, os.O_WRONLY), 1)
            raise typer.Exit(0) from None
        except PolymodalError as error:
            if os.environ.get("POLYMODAL_DEBUG"):
                raise
            _complain(str(error))
            raise typer.Exit(error.exit_code) from None

    def format_commands(self, ctx: Any, formatter: Any) -> None:
        """The commands under the heading of their group."""
        groups: dict[str, list[tuple[str, str]]] = {}
        for name in self.list_commands(ctx):
            command: Any = self.get_command(ctx, name)
            if command is not None and not command.hidden:
                row = (name, command.get_short_help_str(formatter.width - 18))
                groups.setdefault(command.rich_help_panel or "Commands", []).append(row)
        widest = max(len(name) for rows in groups.values() for name, _ in rows)
        for heading, rows in groups.items():
            with formatter.section(heading):
                formatter.write_dl([(name.ljust(widest), help_) for name, help_ in rows])


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
        if not ctx.meta.get(PROFILE):
            return super().invoke(ctx)
        from polymodal.cli.profile import printed_profile

        with printed_profile():
            return super().invoke(ctx)

    def collect_usage_pieces(self, ctx: Any) -> list[str]:
        """`PATH...` instead of `{PATH...}`."""
        return [piece.strip("{}") for piece in super().collect_usage_pieces(ctx)]


def _complain(message: str) -> None:
    """One message on stderr, red on a terminal that wants colour."""
    from polymodal.cli.output import printable

    text = f"polymodal: {printable(message, keep_newlines=True)}"
    coloured = sys.stderr.isatty() and "NO_COLOR" not in os.environ
    print(f"\x1b[31m{text}\x1b[0m" if coloured else text, file=sys.stderr)


app = typer.Typer(
    cls=Commands,
    # Plain help: rich's panels take longer to import than everything else together.
    rich_markup_mode=None,
    pretty_exceptions_enable=False,
    add_completion=False,
    no_args_is_help=True,
    context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100},
    epilog="Exit codes: 0 all well, 1 some items failed, 2 wrong usage, 3 a model or package is"
    " missing.",
)


def _print_version(wanted: bool) -> None:
    if wanted:
        print(f"polymodal {__version__}")
        raise typer.Exit


@app.callback()
def root(
    version: Annotated[
        bool,
        typer.Option("--version", callback=_print_version, is_eager=True, help="Show the version."),
    ] = False,
) -> None:
    """Find, sort, describe and read pictures, and listen to sound and video; offline."""


WRITERS = (describe.caption, describe.ask, documents.extract)
"""Commands whose answers a model that writes may give."""


def _register(group: str, *functions: Callable[..., None]) -> None:
    for function in functions:
        name = function.__name__.rstrip("_")
        command = function
        if function in WRITERS:
            command = writes_answers(command)
        asked = inspect.signature(function).parameters
        if "device" in asked:
            command = loads_models(command, checkpoints="model" in asked)
        app.command(name, cls=Command, rich_help_panel=group)(command)


def _nest(
    group: str,
    summary: str,
    *functions: Callable[..., None],
    panel: str = "Memory",
    loading: bool = False,
) -> None:
    """Commands of a command: `polymodal cache info`; `loading` where they run models."""
    nested = typer.Typer(
        rich_markup_mode=None, add_completion=False, no_args_is_help=True, help=summary
    )
    for function in functions:
        name = function.__name__.rstrip("_").removeprefix(f"{group}_")
        command = loads_models(function) if loading else function
        nested.command(name, cls=Command)(command)
    app.add_typer(nested, name=group, rich_help_panel=panel)


_register(
    "Find",
    collections.add,
    search.search,
    search.similar,
    collections.duplicates,
)
_register("Read", documents.read, documents.extract)
_register("Sort", sort.classify, sort.match, sort.moderate, sort.probe, sort.embed)
_nest(
    "cascade",
    "Cheap models first, strong ones for the rest: fit, run.",
    cascades.cascade_fit,
    cascades.cascade_run,
    panel="Sort",
    loading=True,
)
_register("Describe", describe.caption, describe.ask)
_register("Listen", listen.transcribe, listen.watch)
_register(
    "Collections",
    collections.info,
    collections.export,
    collections.import_,
    collections.delete,
    collections.reembed,
)
_nest(
    "models",
    "Models: what there is, which to choose, what is in memory.",
    loads_models(choosing.models_select, without=("memory", "dtype", "quantize")),
    loads_models(choosing.models_validate, without=("dtype", "quantize")),
    choosing.models_plan,
    models.models_list,
    models.models_show,
    models.models_path,
    models.models_pull,
    models.models_rm,
    models.models_ps,
    models.models_unload,
    panel="Models",
)
_nest("cache", "Results that are kept: info, clear.", memory.cache_info, memory.cache_clear)
_nest(
    "journal",
    "What was asked and answered: list, sample, label, export.",
    memory.list_,
    memory.show,
    memory.sample,
    memory.label,
    memory.accuracy,
    memory.export,
)
_nest(
    "train",
    "Train on your data: contrastive, align, instruct, qformer.",
    train.contrastive,
    train_llava.align,
    train_llava.instruct,
    train_qformer.qformer,
    panel="Train",
)
_register("Start", demo.demo)
