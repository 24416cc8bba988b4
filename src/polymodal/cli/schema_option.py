"""The option `--schema`: a JSON Schema's file, or a pydantic class of the user's own code."""

from __future__ import annotations

import importlib
import re
import sys
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from polymodal.errors import UsageError

if TYPE_CHECKING:
    from polymodal.tasks.schemas import SchemaInput

__all__ = ["AnswerSchema", "DocumentSchema", "schema_of"]

METAVAR = "FILE|MODULE:CLASS"
AnswerSchema = Annotated[
    str | None,
    typer.Option(
        "--schema",
        metavar=METAVAR,
        help="Answer with data that fits a JSON Schema or a pydantic class.",
    ),
]
DocumentSchema = Annotated[
    str | None,
    typer.Option(
        "--schema",
        metavar=METAVAR,
        help="A JSON Schema or a pydantic class; receipts and invoices by default.",
    ),
]
CLASS = re.compile(r"([A-Za-z_][\w.]*):([A-Za-z_]\w*)")


def schema_of(given: str | None) -> SchemaInput | None:
    """What `--schema` names; a module is looked for in the folder of the call first.

    Raises:
        UsageError: there is no such module or class in it, or importing it fails.
    """
    if given is None or Path(given).exists() or not (named := CLASS.fullmatch(given)):
        return given
    module, name = named.groups()
    folder = str(Path.cwd())
    sys.path.insert(0, folder)
    try:
        found = getattr(importlib.import_module(module), name, None)
    except Exception as error:  # the user's own code may fail in any way
        kind = type(error).__name__
        raise UsageError(
            f"cannot import {module} for --schema {given} ({kind}: {error}). Give a file, or a"
            " module of this folder or of an installed package."
        ) from error
    finally:
        with suppress(ValueError):  # the module may have changed the path itself
            sys.path.remove(folder)
    if found is None:
        raise UsageError(f"the module {module} has no {name}; --schema is MODULE:CLASS or a file.")
    return found  # type: ignore[no-any-return]
