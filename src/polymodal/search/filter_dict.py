"""Filters as dicts: `{"price": {"lt": 2000}, "or": [{"colour": "red"}, {"colour": "blue"}]}`.

Notable: the keys of a dict are joined by and; `and`, `or` and `not` are reserved, every other key
is a field. The parts of `and`, `or` and `not` may themselves be dicts, expressions or trees.
"""

from __future__ import annotations

import difflib
from collections.abc import Callable, Mapping
from typing import Any

from polymodal.errors import UsageError
from polymodal.search import filters
from polymodal.search.filter_parser import MAX_DEPTH
from polymodal.search.filters import And, Comparison, Contains, Exists, Filter, In, Not, Or, Scalar

__all__ = ["from_dict"]


def from_dict(where: Mapping[str, Any], depth: int = 0) -> Filter | None:
    """The tree of a dict; None for an empty one.

    Raises:
        UsageError: an unknown operator (the nearest is named) or a value that cannot be compared.
    """
    if depth > MAX_DEPTH:
        raise UsageError(f"the filter nests more than {MAX_DEPTH} levels deep")
    parts: list[Filter] = []
    for key, value in where.items():
        if not isinstance(key, str):
            raise UsageError(f"a filter's keys are field names, found {key!r}")
        if key in ("and", "or"):
            parts.append(_joined(key, value, depth))
        elif key == "not":
            parts.append(Not(_part(key, value, depth)))
        else:
            parts.extend(_conditions(key, value))
    if not parts:
        return None
    return parts[0] if len(parts) == 1 else And(tuple(parts))


def _joined(word: str, value: Any, depth: int) -> Filter:
    if not isinstance(value, (list, tuple)) or not value:
        raise UsageError(f'"{word}" takes a list of filters, found {_shown(value)}')
    parts = tuple(_part(word, part, depth) for part in value)
    if len(parts) == 1:
        return parts[0]
    return And(parts) if word == "and" else Or(parts)


def _part(word: str, value: Any, depth: int) -> Filter:
    found = from_dict(value, depth + 1) if isinstance(value, Mapping) else filters.to_filter(value)
    if found is None:
        raise UsageError(f'"{word}" holds an empty filter')
    return found


def _conditions(field: str, value: Any) -> list[Filter]:
    if isinstance(value, Mapping):
        if not value:
            raise UsageError(f"no condition for field {field!r}; use one of {_operators()}")
        return [_condition(field, operator, wanted) for operator, wanted in value.items()]
    if isinstance(value, (list, tuple, set, frozenset)):
        raise UsageError(f'field {field!r}: for one of several values write {{"in": [...]}}')
    return [_equals(field, value)]


def _condition(field: str, operator: Any, wanted: Any) -> Filter:
    make = OPERATORS.get(operator) if isinstance(operator, str) else None
    if make is not None:
        return make(field, wanted)
    name = str(operator)
    meant = SPELLINGS.get(name.lstrip("$").lower())
    if meant is None:
        near = difflib.get_close_matches(name.lstrip("$").lower(), list(OPERATORS), n=1)
        meant = near[0] if near else None
    hint = f'did you mean "{meant}"? ' if meant else ""
    raise UsageError(
        f'field {field!r}: unknown operator "{name}"; {hint}There are {_operators()}.'
        f' A nested field is written "{field}.{name}".'
    )


def _equals(field: str, value: Any) -> Filter:
    return Not(Exists(field)) if value is None else Comparison(field, "=", _scalar(value))


def _differs(field: str, value: Any) -> Filter:
    return Exists(field) if value is None else Comparison(field, "!=", _scalar(value))


def _in(field: str, value: Any) -> Filter:
    if not isinstance(value, (list, tuple, set, frozenset)):
        raise UsageError(f'field {field!r}: "in" takes a list of values, found {_shown(value)}')
    return In(field, tuple(_scalar(one) for one in value))


def _contains(field: str, value: Any) -> Filter:
    if not isinstance(value, str):
        raise UsageError(f'field {field!r}: "contains" looks for text, found {_shown(value)}')
    return Contains(field, value)


def _exists(field: str, value: Any) -> Filter:
    if not isinstance(value, bool):
        raise UsageError(f'field {field!r}: "exists" takes true or false, found {_shown(value)}')
    return Exists(field) if value else Not(Exists(field))


def _scalar(value: Any) -> Scalar:
    """A value as Python's own type: numpy's numbers have `item`."""
    plain: Scalar = value.item() if hasattr(value, "item") else value
    return plain  # the tree's classes refuse what is no scalar


def _shown(value: Any) -> str:
    text = repr(value)
    return text if len(text) <= 60 else f"{text[:57]}..."


def _operators() -> str:
    return ", ".join(f'"{name}"' for name in OPERATORS)


OPERATORS: Mapping[str, Callable[[str, Any], Filter]] = {
    "eq": _equals,
    "ne": _differs,
    "lt": lambda field, value: Comparison(field, "<", _scalar(value)),
    "lte": lambda field, value: Comparison(field, "<=", _scalar(value)),
    "gt": lambda field, value: Comparison(field, ">", _scalar(value)),
    "gte": lambda field, value: Comparison(field, ">=", _scalar(value)),
    "in": _in,
    "not_in": lambda field, value: Not(_in(field, value)),
    "contains": _contains,
    "exists": _exists,
}
SPELLINGS = {
    "=": "eq",
    "==": "eq",
    "!=": "ne",
    "<": "lt",
    "<=": "lte",
    "le": "lte",
    ">": "gt",
    ">=": "gte",
    "ge": "gte",
    "nin": "not_in",
    "like": "contains",
    "min": "gte",
    "max": "lte",
    "under": "lt",
    "over": "gt",
}
