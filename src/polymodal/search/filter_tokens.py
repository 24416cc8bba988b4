"""The words of the filter language: names, text, numbers and signs, with their positions."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Literal

from polymodal.errors import FilterSyntaxError
from polymodal.search.filters import BARE_NAME

__all__ = ["Token", "tokens"]

SPACE = re.compile(r"\s+")
NUMBER = re.compile(r"[+-]?(?:\d+(?:\.\d*)?|\.\d+)(?:[eE][+-]?\d+)?", re.ASCII)
SIGN = re.compile(r"===|==|=<|=>|=~|!=|<>|<=|>=|&&|\|\||[=<>(),:;&|!~$€£₹¥]")
PLAIN_TEXT = re.compile(r"[^\\\"'`\n]+")
HEX4 = re.compile(r"[0-9a-fA-F]{4}")
ESCAPES = {"n": "\n", "t": "\t", "r": "\r", "b": "\b", "f": "\f"} | {c: c for c in "\"'`\\/"}
CURLY_QUOTES = "“”„«»‘’"
MAX_NUMBER_CHARACTERS = 300


@dataclass(frozen=True)
class Token:
    """`text` is the token without its quotes; `value` is set for text and numbers."""

    kind: Literal["name", "quoted name", "text", "number", "sign", "end"]
    text: str
    position: int
    value: str | int | float | None = None


def tokens(expression: str) -> list[Token]:
    """All tokens, closed by one of kind `end`.

    Raises:
        FilterSyntaxError: a character that begins no token, or a quote that is not closed.
    """
    found: list[Token] = []
    at = 0
    while at < len(expression):
        if space := SPACE.match(expression, at):
            at = space.end()
        elif expression[at] in "\"'`":
            token, at = _quoted(expression, at)
            found.append(token)
        elif name := BARE_NAME.match(expression, at):
            found.append(Token("name", name.group(), at))
            at = name.end()
        elif number := NUMBER.match(expression, at):
            found.append(_number(expression, at, number.group()))
            at = number.end()
        elif sign := SIGN.match(expression, at):
            found.append(Token("sign", sign.group(), at))
            at = sign.end()
        else:
            raise FilterSyntaxError(_unexpected(expression[at]), expression, at)
    return [*found, Token("end", "", len(expression))]


def _number(expression: str, at: int, digits: str) -> Token:
    if len(digits) > MAX_NUMBER_CHARACTERS:
        reason = f"a number of more than {MAX_NUMBER_CHARACTERS} characters"
        raise FilterSyntaxError(reason, expression, at)
    whole = re.fullmatch(r"[+-]?\d+", digits, re.ASCII)
    value = int(digits) if whole else float(digits)
    return Token("number", digits, at, value)


def _quoted(expression: str, start: int) -> tuple[Token, int]:
    """The quoted token at `start` and the position after it."""
    quote = expression[start]
    parts: list[str] = []
    at = start + 1
    while at < len(expression) and expression[at] != quote:
        if expression[at] == "\\":
            character, at = _escape(expression, at)
            parts.append(character)
        elif plain := PLAIN_TEXT.match(expression, at):
            parts.append(plain.group())
            at = plain.end()
        else:
            parts.append(expression[at])
            at += 1
    if at >= len(expression):
        raise FilterSyntaxError(f"this {quote} is not closed", expression, start)
    text = "".join(parts)
    if quote == "`":
        return Token("quoted name", text, start), at + 1
    return Token("text", text, start, text), at + 1


def _escape(expression: str, at: int) -> tuple[str, int]:
    r"""The character that the escape at `at` stands for; surrogate pairs are joined."""
    letter = expression[at + 1 : at + 2]
    if letter in ESCAPES:
        return ESCAPES[letter], at + 2
    if letter != "u" or not HEX4.match(expression, at + 2):
        reason = r"unknown escape; use \\ for a backslash, \" \' \n \t or \u and four hex digits"
        raise FilterSyntaxError(reason, expression, at)
    code = int(expression[at + 2 : at + 6], 16)
    low = HEX4.match(expression, at + 8) if expression[at + 6 : at + 8] == "\\u" else None
    if 0xD800 <= code < 0xDC00 and low and 0xDC00 <= int(low.group(), 16) < 0xE000:
        code = 0x10000 + ((code - 0xD800) << 10) + int(low.group(), 16) - 0xDC00
        return chr(code), at + 12
    return chr(code), at + 6


def _unexpected(character: str) -> str:
    if character in CURLY_QUOTES:
        return f"{character} is a typographic quote; use straight quotes \" or '"
    if character in "[{":
        return f"unexpected {character}; lists and groups are written in parentheses"
    return f"unexpected character {character!r}"
