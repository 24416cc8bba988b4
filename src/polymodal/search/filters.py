"""Conditions on metadata: a neutral tree, what it means, and how it is written.

Notable: the tree knows nothing of the store. `matches` is the definition in plain Python of what a
filter means; `edge_filter` translates the same tree for Qdrant Edge and is tested against it.

The meaning, in six rules:

- A field holds values. `{"price": 5}` holds one, a list holds each of its elements, and a nested
  object is reached with dots: `{"spec": {"size": 42}}` has a field `spec.size` (so has a flat key
  `"spec.size"`). `null`, `[]` and `{}` hold no value.
- A condition holds when *any* value of the field satisfies it.
- Types do not convert: text never equals a number, `true` is not 1. Whole and decimal numbers are
  one type and compare as 64-bit floats.
- Text is compared exactly by `=` and `in`; `contains` looks for a substring and ignores case.
- `<`, `<=`, `>`, `>=` order numbers only.
- `not` is plain negation, and `!=` is the negation of `=`: an item without the field satisfies
  both. Add `and FIELD exists` to leave those out.
"""

from __future__ import annotations

import difflib
import json
import math
import operator
import re
import sys
import unicodedata
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Literal, TypeAlias, get_args

from polymodal.errors import UsageError

__all__ = [
    "And",
    "Comparison",
    "Contains",
    "Exists",
    "Filter",
    "In",
    "Not",
    "Operator",
    "Or",
    "Scalar",
    "describe",
    "field_values",
    "fields",
    "fold",
    "kinds",
    "matches",
    "mistyped",
    "to_filter",
    "unknown",
]

Scalar: TypeAlias = str | int | float | bool
Operator = Literal["=", "!=", "<", "<=", ">", ">="]
Kind = Literal["number", "text", "bool"]

KEYWORDS = frozenset(
    ["and", "or", "not", "in", "contains", "exists", "is", "null", "true", "false"]
)
LARGEST_BITS = 1000
"""A whole number in a filter stays below 2**1000, which a 64-bit float still holds."""
ORDERINGS: Mapping[str, Callable[[float, float], bool]] = {
    "<": operator.lt,
    "<=": operator.le,
    ">": operator.gt,
    ">=": operator.ge,
}
BARE_NAME = re.compile(r"[^\W\d]\w*(?:[.-]\w+)*")
"""A field name that needs no backticks (keywords excepted)."""


@dataclass(frozen=True)
class Comparison:
    """`field op value`; the ordering operators take a number."""

    field: str
    op: Operator
    value: Scalar

    def __post_init__(self) -> None:
        if self.op not in get_args(Operator):
            raise UsageError(f"unknown comparison {self.op!r}; use one of = != < <= > >=")
        _require_scalar(self.field, self.value)
        if self.op not in ("=", "!=") and kind_of(self.value) != "number":
            raise UsageError(
                f"{self.op} orders numbers, and {_literal(self.value)} is not a number"
                f" (field {self.field!r}); compare it with = or !="
            )


@dataclass(frozen=True)
class In:
    """`field in (values)`: equal to any of them."""

    field: str
    values: tuple[Scalar, ...]

    def __post_init__(self) -> None:
        for value in self.values:
            _require_scalar(self.field, value)


@dataclass(frozen=True)
class Contains:
    """`field contains text`: a substring, whatever the case."""

    field: str
    text: str


@dataclass(frozen=True)
class Exists:
    """`field exists`: it holds at least one value; `is null` is the negation."""

    field: str


@dataclass(frozen=True)
class And:
    """Every one of `filters`."""

    filters: tuple[Filter, ...]


@dataclass(frozen=True)
class Or:
    """At least one of `filters`."""

    filters: tuple[Filter, ...]


@dataclass(frozen=True)
class Not:
    """Everything that `filter` does not match."""

    filter: Filter


Filter: TypeAlias = Comparison | In | Contains | Exists | And | Or | Not


def to_filter(where: str | Mapping[str, Any] | Filter | None) -> Filter | None:
    """The tree of an expression, of a dict, or a tree as it is; None for None and for `{}`.

    Raises:
        FilterSyntaxError: the expression cannot be parsed (an empty one neither).
        UsageError: the dict holds an unknown operator or a value that cannot be compared.
    """
    if where is None or isinstance(where, get_args(Filter)):
        return where
    if isinstance(where, str):
        from polymodal.search.filter_parser import parse

        return parse(where)
    if isinstance(where, Mapping):
        from polymodal.search.filter_dict import from_dict

        return from_dict(where)
    raise UsageError(
        f"a filter is an expression or a dict, not {type(where).__name__}:"
        ' \'price < 2000\' or {"price": {"lt": 2000}}'
    )


def matches(filter: Filter, metadata: Mapping[str, Any]) -> bool:  # noqa: A002
    """Whether an item with this metadata passes; the reference for every store."""
    return _holds(filter, field_values(metadata))


def _holds(node: Filter, values: Mapping[str, list[Scalar]]) -> bool:  # noqa: PLR0911
    match node:
        case And(parts):
            return all(_holds(part, values) for part in parts)
        case Or(parts):
            return any(_holds(part, values) for part in parts)
        case Not(part):
            return not _holds(part, values)
        case Exists(name):
            return name in values
        case Contains(name, text):
            wanted = fold(text)
            held = values.get(name, ())
            return any(isinstance(value, str) and wanted in fold(value) for value in held)
        case In(name, options):
            held = values.get(name, ())
            return any(_equal(value, option) for value in held for option in options)
        case Comparison(name, op, wanted_value):
            return _compares(values.get(name, ()), op, wanted_value)


def _compares(held: Iterable[Scalar], op: Operator, wanted: Scalar) -> bool:
    if op in ("=", "!="):
        return any(_equal(value, wanted) for value in held) == (op == "=")
    order = ORDERINGS[op]
    numbers = (as_double(value) for value in held if not isinstance(value, (str, bool)))
    return any(order(number, float(wanted)) for number in numbers)


def _equal(value: Scalar, wanted: Scalar) -> bool:
    if kind_of(value) != kind_of(wanted):
        return False
    if isinstance(value, (str, bool)) or isinstance(wanted, (str, bool)):
        return value == wanted
    return as_double(value) == as_double(wanted)


def field_values(metadata: Mapping[str, Any]) -> dict[str, list[Scalar]]:
    """Every field with the values it holds; a parent holds what its children hold.

    Lists are flattened, nested objects become dotted names, and what holds no value is absent.
    """
    found: dict[str, list[Scalar]] = {}
    # A stack, not recursion: metadata comes from users' files and may nest deeply.
    stack: list[tuple[tuple[str, ...], Any]] = [((str(k),), v) for k, v in metadata.items()]
    stack.reverse()
    while stack:
        names, value = stack.pop()
        if isinstance(value, Mapping):
            # The parent gets an entry of its own, so that `spec exists` is true of {"spec": {..}}.
            children = [((*names, f"{names[-1]}.{key}"), child) for key, child in value.items()]
            stack.extend(reversed(children))
        elif isinstance(value, (list, tuple)):
            stack.extend((names, child) for child in reversed(value))
        elif isinstance(value, (str, bool, int, float)):
            for parent in names[:-1]:
                found.setdefault(parent, [])
            found.setdefault(names[-1], []).append(value)
    return found


def kinds(metadata: Mapping[str, Any]) -> dict[str, Kind]:
    """The type of each field: that of the first value it holds."""
    return {name: kind_of(held[0]) for name, held in field_values(metadata).items() if held}


def kind_of(value: Scalar) -> Kind:
    """`bool`, `number` or `text`; Python's bool is an int, a filter's is not."""
    if isinstance(value, bool):
        return "bool"
    return "text" if isinstance(value, str) else "number"


def as_double(value: float) -> float:
    """A number as a finite 64-bit float where possible: what is too large becomes the largest."""
    try:
        number = float(value)
    except OverflowError:
        number = math.inf if value > 0 else -math.inf
    if math.isinf(number):
        return math.copysign(sys.float_info.max, number)
    return number


def fold(text: str) -> str:
    """What `contains` compares: composed (NFC) and without case, so that É, e + ◌́ and é agree.

    A lone surrogate (half a character, from a damaged file) counts as `?`.
    """
    text = text.encode("utf-8", "replace").decode()
    return unicodedata.normalize("NFC", unicodedata.normalize("NFC", text).casefold())


def fields(filter: Filter) -> tuple[str, ...]:  # noqa: A002
    """The field names a filter speaks of, in order, each once."""
    return tuple(dict.fromkeys(node.field for node in _conditions(filter)))


def _conditions(node: Filter) -> Iterator[Comparison | In | Contains | Exists]:
    match node:
        case And(parts) | Or(parts):
            for part in parts:
                yield from _conditions(part)
        case Not(part):
            yield from _conditions(part)
        case _:
            yield node


def unknown(filter: Filter, known: Iterable[str]) -> tuple[str, ...]:  # noqa: A002
    """A sentence for every field of the filter that no item has, with the nearest that exists."""
    names = sorted(known)
    notes = []
    for name in fields(filter):
        if name in names or any(other.startswith(f"{name}.") for other in names):
            continue
        lowered = {other.casefold(): other for other in names}
        near = difflib.get_close_matches(name.casefold(), list(lowered), n=1)
        hint = f"; did you mean {lowered[near[0]]!r}?" if near else ""
        notes.append(f"no item has a field {name!r}{hint}")
    return tuple(notes)


def mistyped(
    filter: Filter,  # noqa: A002
    kinds: Mapping[str, str],
    example: Callable[[str], str | None],
) -> tuple[str, ...]:
    """A sentence for every field of text that the filter compares with a number: it finds nothing.

    Args:
        kinds: the fields that items have, name to `number`, `text` or `bool`.
        example: a text that some item holds in a field; None where all its values are numbers.
    """
    notes: dict[str, None] = {}
    for node in _conditions(filter):
        values = node.values if isinstance(node, In) else getattr(node, "value", "")
        wanted = values if isinstance(values, tuple) else (values,)
        if kinds.get(node.field) != "text" or "number" not in map(kind_of, wanted):
            continue
        if (held := example(node.field)) is not None:
            op = node.op if isinstance(node, Comparison) else "in"
            ordering = f"{op} compares numbers" if op in ORDERINGS else "a number never equals text"
            notes[f"{node.field} is text here (for example {held!r}), and {ordering}"] = None
    return tuple(notes)


def describe(filter: Filter) -> str:  # noqa: A002
    """The filter as an expression; parsing it gives the filter back."""
    return _write(filter, outer=0)


def _write(node: Filter, outer: int) -> str:  # noqa: PLR0911
    """Binding strength: `or` 1, `and` 2, `not` 3; parentheses where the outer binds as tightly."""
    match node:
        case And(parts) | Or(parts):
            strength, word = (2, "and") if isinstance(node, And) else (1, "or")
            if not parts:
                raise UsageError(f"an empty {word} cannot be written as an expression")
            if len(parts) == 1:
                return _write(parts[0], outer)
            text = f" {word} ".join(_write(part, strength) for part in parts)
            return f"({text})" if outer >= strength else text
        case Not(part):
            return f"not {_write(part, 3)}"
        case Exists(name):
            return f"{_name(name)} exists"
        case Contains(name, wanted):
            return f"{_name(name)} contains {_literal(wanted)}"
        case In(name, options):
            return f"{_name(name)} in ({', '.join(map(_literal, options))})"
        case Comparison(name, op, value):
            return f"{_name(name)} {op} {_literal(value)}"


def _name(name: str) -> str:
    if BARE_NAME.fullmatch(name) and name.lower() not in KEYWORDS:
        return name
    escaped = json.dumps(name, ensure_ascii=False)[1:-1].replace('\\"', '"').replace("`", "\\`")
    return f"`{escaped}`"


def _literal(value: Scalar) -> str:
    return json.dumps(value, ensure_ascii=False)


def _require_scalar(name: str, value: object) -> None:
    if value is None:
        raise UsageError(f"{name!r} cannot be compared with null; ask whether it exists")
    if not isinstance(value, (str, bool, int, float)):
        raise UsageError(
            f"{name!r} is compared with a {type(value).__name__};"
            " a value is text, a number, true or false"
        )
    if isinstance(value, float) and not math.isfinite(value):
        raise UsageError(f"{name!r} is compared with {value}, which is not a number")
    if isinstance(value, int) and value.bit_length() > LARGEST_BITS:
        raise UsageError(f"{name!r} is compared with a number of more than 300 digits")
