"""Beam search over a decoder that reads one token more at a time; one beam is greedy search.

Notable: a photograph's candidates do not depend on its batch: each is searched on its own scores,
is closed when nothing alive can still win, and what the batch computes for it afterwards is not
looked at. Ties go to the lower token number.

Shapes: B photographs, S beams, T tokens, V words.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

__all__ = ["Candidate", "Search", "beam_search"]

Floats = NDArray[np.float32]
Step = Callable[[NDArray[np.int64], Any], tuple[Floats, Any]]
"""Tokens [B, S, T] and the past to log-probabilities [B, S, T, V] and the new past."""
Reorder = Callable[[Any, NDArray[np.int64]], Any]
"""The past with beam `rows[b, s]` of each photograph in place of beam s."""


@dataclass(frozen=True)
class Candidate:
    """A finished text: its tokens without the end mark, and its summed log-probability.

    Attributes:
        bonus: what it gained for tokens that were wanted.
    """

    tokens: tuple[int, ...]
    logprob: float
    bonus: float = 0.0

    def score(self, alpha: float) -> float:
        """Log-probability and bonus over length (end mark included) to the power of `alpha`."""
        return (self.logprob + self.bonus) / float((len(self.tokens) + 1) ** alpha)


@dataclass(frozen=True)
class Search:
    """How to search.

    Attributes:
        beams: texts kept alive; 1 is greedy.
        longest: most tokens of a text; one that long must end there.
        alpha: power of the length that scores are divided by; 0 prefers short texts.
        end: the end mark.
        banned: tokens that are never said.
        wanted: tokens that a text gains `bonus` (nats) for when it says them the first time.
    """

    beams: int
    longest: int
    alpha: float
    end: int
    banned: tuple[int, ...] = ()
    wanted: tuple[int, ...] = ()
    bonus: float = 0.0


@dataclass
class _State:
    """The search for one photograph."""

    alive: list[Candidate]
    finished: list[Candidate] = field(default_factory=list)
    closed: bool = False


def beam_search(
    step: Step, reorder: Reorder, prompts: NDArray[np.int64], past: Any, search: Search
) -> list[list[Candidate]]:
    """Finished texts of each photograph, best first, at most `search.beams`.

    Args:
        prompts: tokens [B, T] to begin with; they are not part of the texts.
        past: the decoder's past before the prompts, for one beam a photograph.
    """
    logprobs, past = step(prompts[:, None], past)
    states = [_State([Candidate((), 0.0)]) for _ in prompts]
    scores = logprobs[:, :, -1].astype(np.float64)
    for length in range(search.longest + 1):
        rows = np.zeros((len(states), search.beams), np.int64)
        tokens = np.full((len(states), search.beams, 1), search.end, np.int64)
        for b, state in enumerate(states):
            if state.closed:
                continue
            kept = _advance(state, scores[b], search, last=length == search.longest)
            for s, (row, token) in enumerate(kept):
                rows[b, s], tokens[b, s, 0] = row, token
        if all(state.closed for state in states):
            break
        logprobs, past = step(tokens, reorder(past, rows))
        scores = logprobs[:, :, -1].astype(np.float64)
    return [_ranked(state.finished, search) for state in states]


def _advance(
    state: _State, scores: NDArray[np.float64], search: Search, *, last: bool
) -> list[tuple[int, int]]:
    """Grow the texts alive by one token; returns (beam it came from, token) of those kept."""
    scores = scores[: len(state.alive)].copy()
    scores[:, list(search.banned)] = -np.inf
    if last:
        scores[:, np.arange(scores.shape[1]) != search.end] = -np.inf
    totals = scores + np.array([text.logprob for text in state.alive])[:, None]
    gains = np.zeros(totals.shape)
    for row, text in enumerate(state.alive):
        gains[row, [token for token in search.wanted if token not in text.tokens]] = search.bonus
        gains[row] += text.bonus
    flat = (totals + gains).ravel()
    # A beam's end mark is one of its choices, so twice the beams always leaves enough alive.
    count = min(2 * search.beams, flat.size) if search.beams > 1 else 1
    best = np.argpartition(-flat, count - 1)[:count]
    order = best[np.lexsort((best, -flat[best]))]  # of equal ones the lower token number first
    alive: list[Candidate] = []
    kept: list[tuple[int, int]] = []
    for position in order:
        row, token = divmod(int(position), scores.shape[1])
        text = state.alive[row]
        if not np.isfinite(flat[position]):
            continue
        reached = float(totals[row, token]), float(gains[row, token])
        if token == search.end:
            state.finished.append(Candidate(text.tokens, *reached))
        elif len(alive) < search.beams:
            alive.append(Candidate((*text.tokens, token), *reached))
            kept.append((row, token))
    state.alive = alive
    if not alive:
        state.closed = True
    elif len(state.finished) >= search.beams:
        worst = _ranked(state.finished, search)[-1].score(search.alpha)
        # The best a text alive can reach: no more loss, every bonus, the greatest length.
        most = max(text.logprob for text in alive) + search.bonus * len(search.wanted)
        bound = most / float((search.longest + 1) ** search.alpha) if most < 0 else most
        state.closed = bound <= worst
    return kept


def _ranked(finished: Sequence[Candidate], search: Search) -> list[Candidate]:
    ranked = sorted(finished, key=lambda text: (-text.score(search.alpha), text.tokens))
    return ranked[: search.beams]
