"""TOML files that people write, read whole: every mistake names the file and the key.

Notable: an unknown key is a mistake, since a misspelt threshold that is ignored would let through
what it should not.
"""

from __future__ import annotations

import difflib
import tomllib
from collections.abc import Mapping, Sequence
from importlib.resources import files
from typing import Any, TypeVar, get_args

from pydantic import BaseModel, ConfigDict, ValidationError

from polymodal.errors import UsageError

__all__ = ["Strict", "nearest", "parse_toml", "shipped_names"]

Parsed = TypeVar("Parsed", bound=BaseModel)


class Strict(BaseModel):
    """No unknown keys, no changes."""

    model_config = ConfigDict(extra="forbid", frozen=True)


def shipped_names(folder: str) -> list[str]:
    """Names of the files that ship in a folder beside this one, without their ending."""
    found = (files("polymodal.tasks") / folder).iterdir()
    return sorted(each.name.removesuffix(".toml") for each in found if each.name.endswith(".toml"))


def parse_toml(
    text: str,
    model: type[Parsed],
    what: str,
    *,
    error: type[UsageError] = UsageError,
    defaults: Mapping[str, Any] | None = None,
    missing: Mapping[str, str] | None = None,
) -> Parsed:
    """The checked content of a file.

    Args:
        what: names the file in messages: "the policy file shop.toml".
        defaults: values of keys that the file may leave out.
        missing: what to say where a list that must not be empty is, by its key.

    Raises:
        UsageError: of the type `error`; it is not TOML, or a key is wrong.
    """
    try:
        data = tomllib.loads(text)
    except tomllib.TOMLDecodeError as mistake:
        raise error(f"{what} is not TOML: {mistake}") from mistake
    try:
        return model.model_validate({**(defaults or {}), **data})
    except ValidationError as invalid:
        mistakes = invalid.errors()
        if len(mistakes) > 1:  # pydantic counts an entry with a mistake as missing as well
            mistakes = [
                each for each in mistakes if each["type"] != "too_short" or not each["input"]
            ]
        reasons = [_reason(detail, model, missing or {}) for detail in mistakes]
        raise error(f"{what}: {'; '.join(reasons)}.") from invalid


def nearest(name: str, known: Sequence[str]) -> str:
    """The end of a message where a name is not known; "" where none is near."""
    close = difflib.get_close_matches(name, known, n=1, cutoff=0.5)
    return f"; did you mean {close[0]!r}?" if close else ""


def _reason(detail: Any, model: type[BaseModel], missing: Mapping[str, str]) -> str:
    """One mistake for a person: the key's path, what is wrong, and the nearest key there is."""
    loc = detail["loc"]
    where = "".join(f"[{part}]" if isinstance(part, int) else f".{part}" for part in loc)
    where = where.lstrip(".")
    if detail["type"] == "extra_forbidden":
        fields = list(_model_at(model, loc[:-1]).model_fields)
        known = f"(keys: {', '.join(fields)})"
        return f"{where}: there is no such key{nearest(str(loc[-1]), fields)} {known}"
    if where in missing:
        return f"{where}: {missing[where]}"
    message = "is missing" if detail["type"] == "missing" else detail["msg"]
    message = (
        message.removeprefix("Value error, ").replace("valid tuple", "list in [ ]").rstrip(".")
    )
    return f"{where}: {message}" if where else str(message)


def _model_at(model: type[BaseModel], loc: Sequence[int | str]) -> type[BaseModel]:
    """The model that a path of keys leads to."""
    for part in loc:
        if isinstance(part, str) and part in model.model_fields:
            model = _model_in(model.model_fields[part].annotation) or model
    return model


def _model_in(annotation: Any) -> type[BaseModel] | None:
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        return annotation
    found = (_model_in(inner) for inner in get_args(annotation))
    return next((each for each in found if each is not None), None)
