"""A model's answer to one JSON value, strictly: what is ambiguous is refused, nothing is repaired.

Notable: JSON may stand alone, in one fenced block, or between words; then everything from the
first bracket to the last must be one value, so that an answer with two candidates is never decided
here. Repeated keys, NaN and numbers beyond a float are refused: readers disagree on what they mean.
"""

from __future__ import annotations

import json
import math
import re
from collections import Counter
from typing import Any

__all__ = ["NotJsonError", "json_in", "strict_json"]

FENCED = re.compile(
    r"^[ \t]*```[ \t]*(\w*)[ \t]*\n(.*?)^[ \t]*```[ \t]*$", re.DOTALL | re.MULTILINE
)
BRACKETS = re.compile(r"[\[{]")
AROUND = 30
"""Characters shown on either side of where an answer stops being JSON."""


class NotJsonError(ValueError):
    """The text holds no JSON value, or more than one; the message is written for the model."""


def json_in(text: str) -> Any:
    """The one JSON value in an answer.

    Raises:
        NotJsonError: there is none, it is not valid, or there could be several.
    """
    text = text.strip().removeprefix("\ufeff")
    if not text:
        raise NotJsonError("the answer is empty")
    blocks = [] if text[0] in '[{"' else FENCED.findall(text)
    if len(blocks) > 1:
        raise NotJsonError(f"the answer has {len(blocks)} fenced blocks: give one JSON value only")
    if blocks:
        language, content = blocks[0]
        if "{" in FENCED.sub("", text):
            raise NotJsonError("there is more JSON beside the fenced block: give one value only")
        if language.lower() not in ("", "json"):
            raise NotJsonError(f"the fenced block is {language}, not JSON")
        return strict_json(content.strip())
    bracket = None if text[0] == '"' else BRACKETS.search(text)
    if bracket is None:
        return strict_json(text)  # a bare number, string, true, false or null
    end = max(text.rfind("}"), text.rfind("]"))
    if end < bracket.start():
        raise NotJsonError("the JSON value does not end: a closing bracket is missing")
    return strict_json(text[bracket.start() : end + 1])


def strict_json(text: str) -> Any:
    """JSON that is nothing but JSON, in which every reader would see the same.

    Raises:
        NotJsonError: see `json_in`.
    """
    try:
        value = json.loads(
            text, object_pairs_hook=_object, parse_constant=_constant, parse_float=_float
        )
        json.dumps(value, ensure_ascii=False).encode()
    except NotJsonError:
        raise
    except json.JSONDecodeError as error:
        shown = text[max(0, error.pos - AROUND) : error.pos + AROUND]
        raise NotJsonError(f"not valid JSON: {error.msg} near {shown!r}") from error
    except RecursionError as error:
        raise NotJsonError("not valid JSON: it is nested too deeply") from error
    except ValueError as error:  # half a character, a number of thousands of digits
        raise NotJsonError(f"not valid JSON: {error}") from error
    return value


def _object(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) < len(pairs):
        twice = Counter(key for key, _ in pairs).most_common(1)[0][0]
        raise NotJsonError(f"the key {twice!r} stands twice in one object")
    return found


def _constant(name: str) -> Any:
    raise NotJsonError(f"{name} is not a JSON value")


def _float(digits: str) -> float:
    value = float(digits)
    if math.isinf(value):
        raise NotJsonError(f"the number {digits[:AROUND]} is too large")
    return value
