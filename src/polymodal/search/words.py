"""Which metadata keyword search sees.

The rule: a field of text is a *text field* when it is called like prose (title, description,
caption, name, ...) or when one of its values has two words or more. Codes, links, file names and
single-word categories are for filters. A field that became a text field stays one.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from polymodal.search.filters import field_values, kinds

__all__ = ["merge_kinds", "text_fields", "text_of"]

PROSE = re.compile(
    r"alt|captions?|comments?|description|headline|keywords|label|name|notes|summary|tags|text"
    r"|speech|(sub)?title"
)
TWO_WORDS = re.compile(r"[^\W\d_]{2,}\W*\s\W*[^\W\d_]{2,}")
NOT_PROSE = re.compile(r"^(https?|ftp|file)://|[\\/]\S*[\\/]", re.IGNORECASE)


def text_fields(metadata: Iterable[Mapping[str, Any]]) -> set[str]:
    """The text fields among the metadata of some items."""
    found: set[str] = set()
    for each in metadata:
        for name, values in field_values(each).items():
            if name not in found and any(_is_prose(name, value) for value in values):
                found.add(name)
    return found


def _is_prose(name: str, value: object) -> bool:
    if not isinstance(value, str) or NOT_PROSE.search(value):
        return False
    return bool(PROSE.fullmatch(name.rpartition(".")[2].lower()) or TWO_WORDS.search(value))


def text_of(metadata: Mapping[str, Any], names: Sequence[str]) -> str:
    """The text of one item: the values of its text fields."""
    values = field_values(metadata)
    return " ".join(
        value for name in names for value in values.get(name, ()) if isinstance(value, str)
    )


def merge_kinds(known: Mapping[str, str], metadata: Iterable[Mapping[str, Any]]) -> dict[str, str]:
    """Kinds of fields with those of more items; a field of several kinds counts as text."""
    merged = dict(known)
    for each in metadata:
        for name, kind in kinds(each).items():
            if merged.setdefault(name, kind) != kind:
                merged[name] = "text"
    return merged
