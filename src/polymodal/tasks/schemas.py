"""What data must look like: a pydantic model class, a JSON Schema, or a file that holds one."""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeAlias

from polymodal.errors import MissingDependency, UsageError
from polymodal.tasks.answers_json import NotJsonError, strict_json

if TYPE_CHECKING:
    from pydantic import BaseModel

__all__ = ["Schema", "SchemaInput", "as_schema"]

SchemaInput: TypeAlias = "type[BaseModel] | Mapping[str, Any] | str | os.PathLike[str] | Schema"
SHOWN_PROBLEMS = 10


@dataclass(frozen=True)
class Schema:
    """A schema in both forms that are needed: to show to a model, and to check its answer.

    Attributes:
        name: what messages call it.
        json_schema: JSON Schema (draft 2020-12 unless it says otherwise).
        validate: JSON data to what the caller wants (an instance of the pydantic class, or the
            data); raises ValueError whose text names every problem, a line each.
    """

    name: str
    json_schema: Mapping[str, Any]
    validate: Callable[[Any], Any]


def as_schema(source: SchemaInput) -> Schema:
    """The schema of a pydantic class, a JSON Schema as a mapping, or the path of a JSON file.

    The formats of a JSON Schema ("date") are checked as far as the jsonschema package knows them by
    itself; nothing it refers to is fetched.

    Raises:
        UsageError: it is none of these, or not a valid JSON Schema.
        MissingDependency: the package that validates it is not installed.
    """
    if isinstance(source, Schema):
        return source
    if isinstance(source, Mapping):
        return _of_mapping(source, str(source.get("title", "the schema")))
    if isinstance(source, (str, os.PathLike)):
        return _of_file(Path(source))
    if isinstance(source, type) and hasattr(source, "model_json_schema"):
        return _of_pydantic(source)
    raise UsageError(
        f"{_named(source)} is no schema: pass a pydantic model class, a JSON Schema, or its file."
    )


def _named(source: object) -> str:
    """What it was, for a message: of a function or a class its name, not where it lies."""
    name = getattr(source, "__qualname__", None)
    return repr(source) if name is None else f"{getattr(source, '__module__', '')}.{name}"


def _of_pydantic(model: Any) -> Schema:
    from pydantic import ValidationError

    def validate(data: Any) -> Any:
        try:
            # In JSON mode, so that dates and the like may be text even in strict models.
            return model.model_validate_json(json.dumps(data))
        except ValidationError as error:
            found = [(each["loc"], each["msg"]) for each in error.errors(include_url=False)]
            raise ValueError(_problems(found)) from error
        except Exception as error:  # a rule of the user's that stumbles over this data
            kind = type(error).__name__
            raise ValueError(f"a rule of {model.__name__} failed ({kind}: {error})") from error

    return Schema(model.__name__, model.model_json_schema(), validate)


def _of_file(path: Path) -> Schema:
    try:
        value = strict_json(path.read_text(encoding="utf-8-sig"))
    except (OSError, UnicodeDecodeError, NotJsonError) as error:
        reason = getattr(error, "strerror", None) or str(error)
        if isinstance(error, UnicodeDecodeError):
            reason = "it is no text, and a schema is a JSON file or MODULE:CLASS"
        raise UsageError(f"cannot read the schema {path}: {reason}.") from error
    if not isinstance(value, dict):
        raise UsageError(f"the schema {path} is not a JSON object.")
    return _of_mapping(value, str(value.get("title", path.name)))


def _of_mapping(json_schema: Mapping[str, Any], name: str) -> Schema:
    try:
        from jsonschema.exceptions import SchemaError
        from jsonschema.validators import Draft202012Validator, validator_for
        from referencing import Registry
        from referencing.exceptions import Unresolvable
    except ModuleNotFoundError:
        raise MissingDependency(
            "a JSON Schema is validated by a package that is not installed."
            ' Run: pip install "polymodal[schemas]"'
        ) from None
    plain = dict(json_schema)
    kind = validator_for(plain, default=Draft202012Validator)
    try:
        kind.check_schema(plain)
    except SchemaError as error:
        raise UsageError(f"{name} is not a valid JSON Schema: {error.message}.") from error
    # An empty registry: a `$ref` to elsewhere is refused instead of fetched.
    registry: Any = Registry()
    checker = kind(plain, registry=registry, format_checker=kind.FORMAT_CHECKER)

    def validate(data: Any) -> Any:
        try:
            found = [(each.absolute_path, each.message) for each in checker.iter_errors(data)]
        except Unresolvable as error:
            raise UsageError(f"{name} refers to {error.ref!r}, which is not in it.") from error
        except RecursionError as error:
            raise ValueError("it is nested too deeply") from error
        if found:
            raise ValueError(_problems(found))
        return data

    return Schema(name, plain, validate)


def _problems(found: list[tuple[Any, str]]) -> str:
    """`items.0.price: must be a number`, a line each."""
    lines = []
    for path, message in found[:SHOWN_PROBLEMS]:
        where = ".".join(map(str, path))
        lines.append(f"{where}: {message}" if where else message)
    if len(found) > SHOWN_PROBLEMS:
        lines.append(f"and {len(found) - SHOWN_PROBLEMS} more")
    return "\n".join(lines)
