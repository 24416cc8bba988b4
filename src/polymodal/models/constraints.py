"""Decoding bound to what may be said: which tokens may come next, given those so far.

Notable: a constraint is a function of the tokens so far and keeps no state, so that a beam search
and a batch can share one. An adapter asks before each step, sets the scores of every other token
to minus infinity (`masked`), and samples or searches as ever; what comes out is always allowed.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol, TypeAlias

import numpy as np
from numpy.typing import NDArray

from polymodal.errors import UsageError

__all__ = ["Constraint", "OneOf", "masked"]

Tokens: TypeAlias = Sequence[int]


class Constraint(Protocol):
    """What may be said."""

    def allowed(self, tokens: Tokens) -> NDArray[np.int64]:
        """Ids of the tokens that may follow `tokens`, ascending; shape (n,), n > 0.

        The end token is among them where what was said so far is whole.

        Raises:
            ValueError: `tokens` were not allowed themselves.
        """
        ...


class OneOf:
    """Exactly one of several answers, as a tree of their tokens."""

    def __init__(self, answers: Sequence[Tokens], end: int) -> None:
        """Answers without the end token, which is given beside them.

        Raises:
            UsageError: there are none, or one is empty.
        """
        if not answers or not all(len(answer) for answer in answers):
            raise UsageError("a closed set of answers needs at least one, and none may be empty.")
        self._end = end
        self._root: _Node = {}
        for answer in answers:
            node = self._root
            for token in answer:
                node = node.setdefault(int(token), {})
            node[end] = {}

    def allowed(self, tokens: Tokens) -> NDArray[np.int64]:
        """See `Constraint.allowed`; after the end token only the end token may come."""
        node = self._root
        for position, token in enumerate(tokens):
            if token == self._end and token in node:
                node = {self._end: {}}
            elif token in node:
                node = node[token]
            else:
                raise ValueError(f"token {token} at position {position} was not allowed")
        return np.array(sorted(node or {self._end: {}}), np.int64)


_Node: TypeAlias = "dict[int, _Node]"


def masked(scores: NDArray[np.float32], allowed: NDArray[np.int64]) -> NDArray[np.float32]:
    """Scores of one step, shape (vocabulary,), with all but the allowed tokens at -inf."""
    bound = np.full_like(scores, -np.inf)
    bound[allowed] = scores[allowed]
    return bound
