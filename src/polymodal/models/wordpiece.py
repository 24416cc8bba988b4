"""WordPiece as BERT's lower-cased models use it: text to token ids, from a `tokenizer.json`.

Notable: the one tokenizer that the starter needs, in place of a library that brings 40 MB with it;
a test compares both on thousands of texts, scripts and symbols. Steps and names are those of BERT
(Devlin et al., 2019): clean, put spaces around Chinese characters, strip accents, lower-case, split
at white space and punctuation, then take the longest known piece again and again.
"""

from __future__ import annotations

import json
import re
import string
import unicodedata
from collections.abc import Iterator, Sequence
from functools import lru_cache

__all__ = ["WordPiece"]

LONGEST_WORD = 100
"""Characters; a longer word is unknown as a whole."""
WHITE_SPACE = re.compile(r"[^\S\x1c-\x1f]+")
CHINESE = (
    (0x4E00, 0x9FFF),
    (0x3400, 0x4DBF),
    (0x20000, 0x2A6DF),
    (0x2A700, 0x2B73F),
    (0x2B740, 0x2B81F),
    (0x2B920, 0x2CEAF),
    (0xF900, 0xFAFF),
    (0x2F800, 0x2FA1F),
)


class WordPiece:
    """Token ids of texts. Safe to use from several threads."""

    def __init__(self, definition: bytes) -> None:
        """`definition` is the content of a `tokenizer.json` whose model is WordPiece.

        Raises:
            ValueError: when it is another kind of tokenizer.
        """
        data = json.loads(definition)
        model, normalizer = data["model"], data["normalizer"]
        if (model["type"], normalizer["type"]) != ("WordPiece", "BertNormalizer"):
            raise ValueError(f"a {model['type']} tokenizer; only BERT's WordPiece is read here")
        self._vocabulary: dict[str, int] = model["vocab"]
        self._unknown = self._vocabulary[model["unk_token"]]
        self._begin, self._end = self._vocabulary["[CLS]"], self._vocabulary["[SEP]"]
        marks = {token["content"]: token["id"] for token in data["added_tokens"]}
        self._marks: dict[str, int] = marks
        self._at_marks = re.compile("(" + "|".join(map(re.escape, marks)) + ")")
        self._pieces = lru_cache(maxsize=4096)(self._split_word)

    def encode(self, text: str) -> list[int]:
        """All ids of a text, with the marks for begin and end; nothing is cut."""
        ids = [self._begin]
        for part in self._at_marks.split(text):
            if part in self._marks:
                ids.append(self._marks[part])
            else:
                for word in words(part):
                    ids.extend(self._pieces(word))
        return [*ids, self._end]

    def cut(self, ids: Sequence[int], most: int) -> list[int]:
        """At most `most` ids, the mark for the end kept."""
        return list(ids) if len(ids) <= most else [*ids[: most - 1], self._end]

    def _split_word(self, word: str) -> tuple[int, ...]:
        if len(word) > LONGEST_WORD:
            return (self._unknown,)
        ids, start = [], 0
        while start < len(word):
            for stop in range(len(word), start, -1):
                found = self._vocabulary.get(
                    word[start:stop] if not start else f"##{word[start:stop]}"
                )
                if found is not None:
                    ids.append(found)
                    start = stop
                    break
            else:
                return (self._unknown,)
        return tuple(ids)


def words(text: str) -> Iterator[str]:
    """Normalised words and punctuation marks."""
    for chunk in WHITE_SPACE.split(normalised(text)):
        word = ""
        for char in chunk:
            if is_punctuation(char):
                yield from (word, char) if word else (char,)
                word = ""
            else:
                word += char
        if word:
            yield word


def normalised(text: str) -> str:
    """Clean, spaces around Chinese characters, no accents, lower case."""
    if text.isascii() and text.isprintable():  # most texts
        return text.lower()
    kept = (" " if char in "\t\n\r" else char for char in text if not is_control(char))
    spaced = "".join(f" {char} " if is_chinese(char) else char for char in kept)
    bare = (c for c in unicodedata.normalize("NFD", spaced) if unicodedata.category(c) != "Mn")
    # One by one: the lower case of a letter does not depend on its place in the word.
    return "".join(char.lower() for char in bare)


def is_control(char: str) -> bool:
    """Control, format and private characters, but not white space."""
    return char in "\0�" or (
        char not in "\t\n\r" and unicodedata.category(char) in {"Cc", "Cf", "Co"}
    )


def is_chinese(char: str) -> bool:
    """Whether it stands for a word by itself."""
    return any(first <= ord(char) <= last for first, last in CHINESE)


def is_punctuation(char: str) -> bool:
    """ASCII symbols, and what Unicode calls punctuation."""
    return char in string.punctuation or unicodedata.category(char)[0] == "P"
