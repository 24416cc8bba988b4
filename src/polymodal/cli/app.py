"""The app: errors to messages and exit codes, and the `--help` of the whole."""

from __future__ import annotations

import os
import sys
from typing import Annotated, Any

import typer
from typer.core import TyperCommand

from polymodal import __version__
from polymodal.cli.tree import COMMANDS, LazyGroup
from polymodal.errors import PolymodalError

__all__ = ["app"]

INTERRUPTED = 130
"""What a shell reports for a process that ended on Ctrl-C."""


class Commands(LazyGroup):
    """All commands: turns errors into messages and exit codes, and lists by subject."""

    def __init__(self, **settings: Any) -> None:
        """As Typer makes groups; the commands are those of `COMMANDS`."""
        super().__init__(COMMANDS, **settings)

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
        """The commands under the heading of their group, of which none is built for it."""
        widest = max(len(name) for name in COMMANDS)
        groups: dict[str, list[tuple[str, str]]] = {}
        for name, row in COMMANDS.items():
            said = TyperCommand(name, help=row.summary).get_short_help_str(formatter.width - 18)
            groups.setdefault(row.panel, []).append((name.ljust(widest), said))
        for heading, rows in groups.items():
            with formatter.section(heading):
                formatter.write_dl(rows)


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
