"""Text as words, the way captions are scored: lower case, Penn Treebank splits, no punctuation."""

from __future__ import annotations

import re

__all__ = ["split_words"]

# Letters and digits with inner hyphens, dots and commas; "'s" and "n't" stand alone.
_WORD = re.compile(r"\w+?(?=n't\b)|n't\b|'(?:s|re|ll|ve|d|m)\b|\w+(?:[-.,]\w+)*")


def split_words(text: str) -> list[str]:
    """The words of a text; empty where it has none."""
    return _WORD.findall(text.replace("’", "'").lower())
