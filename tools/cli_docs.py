"""Write docs/cli.md from the `--help` of every command.

    python tools/cli_docs.py [--check]

With `--check` nothing is written; the exit code says whether the page is up to date. A test does
the same, so the page cannot drift from the program.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path

PAGE = Path(__file__).resolve().parent.parent / "docs" / "cli.md"
INTRODUCTION = """\
# The command line

<!-- Written by tools/cli_docs.py (`make docs`) from the program's own --help. -->

Every command takes files, folders and globs wherever it takes a picture. With `--json` it prints
one JSON object a line on stdout and nothing else there; progress, notes and the names of failed
items go to stderr. Exit codes: 0 all well, 1 some items failed (each named, with the reason),
2 wrong usage, 3 a model or a package is missing (the message says how to get it).

| variable | meaning |
| --- | --- |
| `POLYMODAL_HOME` | where collections, cache and journal live; default `~/.local/share/polymodal` |
| `POLYMODAL_COLLECTION` | the collection used when `--collection` is not given |
| `POLYMODAL_CACHE` | `off` keeps and reuses no results |
| `POLYMODAL_JOURNAL` | `off` records nothing of what is asked and answered |
| `POLYMODAL_DEBUG` | set to see the traceback of an error |
| `NO_COLOR` | set to get no colours |

"""


def help_of(*arguments: str) -> str:
    """What `polymodal ARGUMENTS --help` prints at 80 columns."""
    from typer.testing import CliRunner

    from polymodal.cli.app import app

    environment = {"COLUMNS": "80", "TERMINAL_WIDTH": "80", "POLYMODAL_COLLECTION": ""}
    runner = CliRunner(env=environment)
    result = runner.invoke(app, [*arguments, "--help"], prog_name="polymodal", terminal_width=80)
    if result.exit_code != 0:
        raise SystemExit(f"polymodal {' '.join(arguments)} --help failed:\n{result.output}")
    return "\n".join(line.rstrip() for line in result.stdout.strip().splitlines())


def render() -> str:
    """The whole page."""
    import typer

    from polymodal.cli.app import app

    parts = [INTRODUCTION, f"```text\n{help_of()}\n```\n"]
    for words in _commands(typer.main.get_command(app)):
        heading = f"{'#' * (1 + len(words))} polymodal {' '.join(words)}"
        parts.append(f"\n{heading}\n\n```text\n{help_of(*words)}\n```\n")
    return "".join(parts)


def _commands(group: object, before: tuple[str, ...] = ()) -> Iterator[tuple[str, ...]]:
    """The words of every command, a group before what is in it."""
    commands: dict[str, object] = getattr(group, "commands", {})
    for name, command in commands.items():
        yield (*before, name)
        yield from _commands(command, (*before, name))


def main() -> None:
    """Write the page, or check it."""
    text = render()
    if "--check" in sys.argv[1:]:
        if not PAGE.exists() or PAGE.read_text() != text:
            raise SystemExit("docs/cli.md differs from --help: run `make docs`.")
    elif not PAGE.exists() or PAGE.read_text() != text:
        PAGE.write_text(text)


if __name__ == "__main__":
    main()
