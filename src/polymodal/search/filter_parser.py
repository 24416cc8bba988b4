"""The filter language: an expression to a tree.

    expression = and-part { "or" and-part }
    and-part   = condition { "and" condition }
    condition  = "not" condition | "(" expression ")" | "exists" "(" field ")" | test
    test       = field ( "=" | "==" | "!=" | "<" | "<=" | ">" | ">=" ) value
               | field [ "not" ] "in" "(" [ value { "," value } ] ")"
               | field [ "not" ] "contains" text
               | field [ "not" ] "exists"
               | field "is" [ "not" ] "null"
    field      = name | `any name` | "any name"
    value      = text | number | "true" | "false"

Words are case-insensitive. Notable: every error says what was expected at which character and,
where the mistake is a common one, what to write; nesting is bounded, so no input recurses deeply.
"""

from __future__ import annotations

import difflib
from collections.abc import Callable
from typing import cast, get_args

from polymodal.errors import FilterSyntaxError, UsageError
from polymodal.search import filters
from polymodal.search.filter_tokens import Token, tokens
from polymodal.search.filters import (
    And,
    Comparison,
    Contains,
    Exists,
    Filter,
    In,
    Not,
    Operator,
    Or,
    Scalar,
)

__all__ = ["MAX_DEPTH", "parse"]

MAX_DEPTH = 100
"""How deeply parentheses and `not` may nest; chains of `and` and `or` are not limited."""

COMPARISONS = (*get_args(Operator), "==")
TESTS = ("in", "contains", "exists", "is", "not")
TEST_WORDS = "a comparison (= != < <= > >=, in, contains, exists, is null)"
MISTAKEN_WORDS = {
    "like": "contains",
    "ilike": "contains",
    "has": "contains",
    "includes": "contains",
    "equals": "=",
    "eq": "=",
    "ne": "!=",
    "lt": "<",
    "lte": "<=",
    "gt": ">",
    "gte": ">=",
    "below": "<",
    "under": "<",
    "above": ">",
    "over": ">",
}
MISTAKEN_SIGNS = {
    "=<": "<=",
    "=>": ">=",
    "<>": "!=",
    ":": "=",
    "===": "=",
    "~": "contains",
    "=~": "contains",
}
JOINTS = {"&&": "and", "&": "and", "||": "or", "|": "or", ",": "and", ";": "and", "!": "not"}


def parse(expression: str) -> Filter:
    """The tree of `expression`.

    Raises:
        FilterSyntaxError: with the position of the first character that does not fit.
    """
    return _Parser(expression).whole()


class _Parser:
    """One recursive descent over the tokens of one expression."""

    def __init__(self, expression: str) -> None:
        self.expression = expression
        self.tokens = tokens(expression)
        self.at = 0
        self.depth = 0

    @property
    def next(self) -> Token:
        return self.tokens[self.at]

    def take(self) -> Token:
        token = self.next
        if token.kind != "end":
            self.at += 1
        return token

    def is_word(self, *words: str) -> bool:
        return self.next.kind == "name" and self.next.text.lower() in words

    def is_sign(self, *signs: str) -> bool:
        return self.next.kind == "sign" and self.next.text in signs

    def error(self, reason: str, token: Token | None = None) -> FilterSyntaxError:
        return FilterSyntaxError(reason, self.expression, (token or self.next).position)

    # The grammar, one method a rule.

    def whole(self) -> Filter:
        if len(self.tokens) == 1:
            raise self.error("the filter is empty; write for example: price < 2000")
        tree = self.expression_()
        if self.at < len(self.tokens) - 1:
            raise self.error(self.after_condition())
        return tree

    def expression_(self) -> Filter:
        return self.chain("or", self.and_part, Or)

    def and_part(self) -> Filter:
        return self.chain("and", self.condition, And)

    def chain(self, word: str, part: Callable[[], Filter], node: type[And] | type[Or]) -> Filter:
        parts = [part()]
        while self.is_word(word):
            self.take()
            parts.append(part())
        return parts[0] if len(parts) == 1 else node(tuple(parts))

    def condition(self) -> Filter:
        opening = self.next
        if self.is_word("not"):
            self.enter(opening)
            inner: Filter = Not(self.condition())
        elif self.is_sign("("):
            self.enter(opening)
            inner = self.expression_()
            if not self.is_sign(")"):
                raise self.error(self.after_condition(opening))
            self.take()
        else:
            return self.test()
        self.depth -= 1
        return inner

    def enter(self, opening: Token) -> None:
        self.take()
        self.depth += 1
        if self.depth > MAX_DEPTH:
            raise self.error(f"the filter nests more than {MAX_DEPTH} levels deep", opening)

    def test(self) -> Filter:
        if self.is_word("exists"):
            return self.exists_call()
        name = self.field()
        negated = self.is_word("not")
        if negated:
            self.take()
            if not self.is_word("in", "contains", "exists"):
                raise self.error('expected in, contains or exists after "not"')
        if self.is_word("in"):
            self.take()
            found: Filter = In(name, self.value_list())
        elif self.is_word("contains"):
            self.take()
            found = Contains(name, self.text_value())
        elif self.is_word("exists"):
            self.take()
            found = Exists(name)
        elif self.is_word("is"):
            found = self.is_null(name)
        else:
            found = self.comparison(name)
        return Not(found) if negated else found

    def exists_call(self) -> Filter:
        self.take()
        if not self.is_sign("("):
            raise self.error("expected ( and a field name after exists, as in: exists(size)")
        self.take()
        name = self.field()
        if not self.is_sign(")"):
            raise self.error(f"expected ) to close exists({name}")
        self.take()
        return Exists(name)

    def is_null(self, name: str) -> Filter:
        self.take()
        negated = self.is_word("not")
        if negated:
            self.take()
        if not self.is_word("null"):
            raise self.error(f"expected null after is; to compare a value write {name} = ...")
        self.take()
        return Exists(name) if negated else Not(Exists(name))

    def comparison(self, name: str) -> Filter:
        sign = self.next
        if not self.is_sign(*COMPARISONS):
            raise self.error(self.after_field(name))
        self.take()
        value_token = self.next
        value = self.value()
        op = cast(Operator, "=" if sign.text == "==" else sign.text)
        if value is None:
            if op not in ("=", "!="):
                raise self.error(f"null cannot be ordered; write {name} exists", sign)
            return Exists(name) if op == "!=" else Not(Exists(name))
        if op not in ("=", "!=") and filters.kind_of(value) != "number":
            raise self.error(
                f"expected a number after {op}, which orders numbers only", value_token
            )
        return self.checked(value_token, lambda: Comparison(name, op, value))

    def checked(self, token: Token, make: Callable[[], Filter]) -> Filter:
        try:
            return make()
        except UsageError as error:
            raise self.error(str(error), token) from error

    # The leaves.

    def field(self) -> str:
        token = self.next
        if token.kind == "name" and token.text.lower() not in filters.KEYWORDS:
            return self.take().text
        if token.kind in ("text", "quoted name"):
            self.take()
            return token.text
        if token.kind == "name":
            raise self.error(
                f"expected a field name, found the word {token.text!r};"
                f" a field of that name is written `{token.text}`"
            )
        if token.kind == "number":
            raise self.error("expected a field name; the field stands first, as in: price < 2000")
        if token.kind == "end":
            raise self.error("expected a condition, as in: price < 2000")
        hint = f'; did you mean "{JOINTS[token.text]}"?' if token.text in JOINTS else ""
        raise self.error(f"expected a field name, found {token.text!r}{hint}")

    def value(self) -> Scalar | None:
        token = self.next
        if token.kind in ("text", "number"):
            self.take()
            return token.value
        if self.is_word("true", "false", "null"):
            return {"true": True, "false": False, "null": None}[self.take().text.lower()]
        if token.kind == "name":
            raise self.error(f'expected a value; text needs quotes: "{self.words()}"')
        if token.kind == "quoted name":
            raise self.error(f'expected a value; backticks are for fields, text is "{token.text}"')
        if self.is_sign("("):
            raise self.error("expected one value; for several write: in (...)")
        if token.text in MISTAKEN_SIGNS or token.text in COMPARISONS:
            raise self.error(f"expected a value, found a second sign {token.text!r}")
        if token.kind == "sign" and token.text in "$€£₹¥":
            raise self.error(f"expected a value; write the number without {token.text}")
        found = "the end" if token.kind == "end" else repr(token.text)
        raise self.error(
            f"expected a value (text in quotes, a number, true or false), found {found}"
        )

    def words(self) -> str:
        """The bare words from here on, up to the next word of the language."""
        found: list[str] = []
        for token in self.tokens[self.at :]:
            if token.kind not in ("name", "number") or token.text.lower() in filters.KEYWORDS:
                break
            found.append(token.text)
        return " ".join(found)

    def text_value(self) -> str:
        token = self.next
        value = self.value()
        if isinstance(value, str):
            return value
        raise self.error('contains looks for text: contains "silk"', token)

    def value_list(self) -> tuple[Scalar, ...]:
        if not self.is_sign("("):
            raise self.error('expected ( after in, as in: in ("red", "blue")')
        opening = self.take()
        values: list[Scalar] = []
        while not self.is_sign(")"):
            if values:
                if not self.is_sign(","):
                    raise self.error(
                        "expected , or ) in the list that opens here", self.unclosed(opening)
                    )
                self.take()
            token = self.next
            value = self.value()
            if value is None:
                raise self.error("null cannot stand in a list; add: or FIELD is null", token)
            self.checked(token, lambda: In("", (value,)))  # noqa: B023  (called at once)
            values.append(value)
        self.take()
        return tuple(values)

    def unclosed(self, opening: Token) -> Token:
        return opening if self.next.kind == "end" else self.next

    # What to say when something else stands where it should not.

    def after_field(self, name: str) -> str:
        token = self.next
        expected = f"expected {TEST_WORDS} after {name!r}"
        if token.kind == "end" or self.is_word("and", "or") or self.is_sign(")"):
            return f"{expected}; for a yes/no field write: {name} = true"
        if token.kind == "sign" and token.text in MISTAKEN_SIGNS:
            return f'{expected}; did you mean "{MISTAKEN_SIGNS[token.text]}"?'
        if token.kind in ("text", "number"):
            return f'{expected}; did you mean "="?'
        if token.kind == "name":
            return expected + self.instead_of_word(name, token.text)
        return f"{expected}, found {token.text!r}"

    def instead_of_word(self, name: str, word: str) -> str:
        if word.lower() == "between":
            return f"; write: {name} >= 10 and {name} <= 20"
        near = difflib.get_close_matches(word.lower(), TESTS, n=1, cutoff=0.7)
        meant = MISTAKEN_WORDS.get(word.lower()) or (near[0] if near else None)
        if meant:
            return f'; did you mean "{meant}"?'
        following = self.tokens[min(self.at + 1, len(self.tokens) - 1)]
        if following.kind == "sign" and following.text in COMPARISONS:
            return f"; a name with spaces needs backticks: `{name} {word}`"
        return f'; did you mean {name} = "{self.words()}"?'

    def after_condition(self, opening: Token | None = None) -> str:  # noqa: PLR0911
        token = self.next
        if token.kind == "end" and opening is not None:
            column = opening.position + 1
            return f"expected ) to close the ( at character {column}"
        if self.is_sign(")") and opening is None:
            return "this ) closes nothing"
        expected = 'expected "and", "or"' + (" or )" if opening else " or the end")
        before = self.tokens[self.at - 1]
        following = self.tokens[min(self.at + 1, len(self.tokens) - 1)]
        if self.is_sign(",") and before.kind == following.kind == "number":
            return f"{expected}; numbers are written without thousands separators"
        if token.kind == "sign" and token.text in JOINTS:
            return f'{expected}; did you mean "{JOINTS[token.text]}"?'
        if following.kind == "sign" and following.text in COMPARISONS:
            return f'{expected}; two conditions are joined by "and"'
        if token.kind == "name" and before.kind == "number":
            return f"{expected}; a number is written without its unit"
        return f"{expected}, found {token.text!r}"
