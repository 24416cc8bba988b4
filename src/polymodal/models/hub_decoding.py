"""What is watched while transformers generates: probabilities, stop words, pieces, a way out.

Notable: a token's probability is taken from the step that chose it, so that no step's numbers over
the whole vocabulary are kept, which for a batch of long answers would be a gigabyte.
"""

from __future__ import annotations

import threading
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

__all__ = ["Held", "Row", "Watch", "first_stop"]


@dataclass(frozen=True)
class Row:
    """One answer's tokens, up to and with the one that ended it.

    Attributes:
        ended: by itself or by a stop word, not by the limit of tokens.
    """

    tokens: tuple[int, ...]
    logprob: float
    ended: bool


class Watch:
    """Both a logits processor and a stopping criterion of `generate`."""

    def __init__(self, tokenizer: Any, stop: Sequence[str], ends: frozenset[int]) -> None:
        """`ends` are the ids of tokens that end an answer."""
        self._tokenizer = tokenizer
        self._stop = tuple(stop)
        self._ends = ends
        self._last: Any = None
        self._chosen: list[Any] = []
        self._stopped: dict[int, int] = {}
        self._steps = 0
        self.cancelled = threading.Event()

    def probabilities(self, input_ids: Any, scores: Any) -> Any:
        """Remember what the step makes of every token; changes nothing."""
        self._settle(input_ids)
        self._last = scores.float().log_softmax(-1)
        self._steps += 1
        return scores

    def done(self, input_ids: Any, scores: Any, **_: Any) -> Any:
        """Which rows have said a stop word, or all where nobody listens any more."""
        import torch

        del scores
        size = input_ids.shape[0]
        if self.cancelled.is_set():
            return torch.ones(size, dtype=torch.bool, device=input_ids.device)
        if self._stop:
            for row, tokens in enumerate(input_ids[:, -self._steps :].tolist()):
                said = self._tokenizer.decode(tokens, skip_special_tokens=True)
                if row not in self._stopped and first_stop(said, self._stop) is not None:
                    self._stopped[row] = self._steps
        flags = [row in self._stopped for row in range(size)]
        return torch.tensor(flags, dtype=torch.bool, device=input_ids.device)

    def rows(self, sequences: Any) -> list[Row]:
        """Each row of what `generate` returned, without the prompt and the padding."""
        self._settle(sequences)
        self._last = None
        if not self._steps:
            return [Row((), 0.0, ended=False) for _ in range(sequences.shape[0])]
        import torch

        chosen = torch.stack(self._chosen, 1).tolist()
        found = []
        for row, tokens in enumerate(sequences[:, -self._steps :].tolist()):
            length, ended = self._length(row, tokens)
            found.append(Row(tuple(tokens[:length]), sum(chosen[row][:length]), ended))
        return found

    def _settle(self, input_ids: Any) -> None:
        """The probability of what the step before has chosen."""
        if self._last is not None:
            tokens = input_ids[:, -1:].to(self._last.device)
            self._chosen.append(self._last.gather(1, tokens)[:, 0].cpu())

    def _length(self, row: int, tokens: Sequence[int]) -> tuple[int, bool]:
        for place, token in enumerate(tokens, 1):
            if token in self._ends:
                return place, True
            if self._stopped.get(row) == place:
                return place, True
        return len(tokens), False


class Held:
    """Pieces of an answer without its stop words, which may begin in one piece and end in another.

    White space before the answer is left out, and held back where it may be the end.
    """

    def __init__(self, stop: Sequence[str]) -> None:
        """Nothing is held yet."""
        self._stop = tuple(stop)
        self._longest = max(map(len, self._stop), default=1) - 1
        self._text = ""
        self._told = 0

    def pieces(self, piece: str) -> Iterator[str]:
        """What can be told now that `piece` came."""
        self._text = (self._text + piece) if self._text else piece.lstrip()
        yield from self._upto(len(self._text) - self._longest)

    def rest(self) -> Iterator[str]:
        """What is left at the end."""
        yield from self._upto(len(self._text))

    def _upto(self, end: int) -> Iterator[str]:
        stop = first_stop(self._text, self._stop)
        end = min(end, len(self._text) if stop is None else stop)
        end = len(self._text[: max(end, 0)].rstrip())
        if end > self._told:
            yield self._text[self._told : end]
            self._told = end


def first_stop(text: str, stop: Sequence[str]) -> int | None:
    """Where the first of the stop words begins; None where there is none."""
    found = [place for word in stop if word and (place := text.find(word)) >= 0]
    return min(found, default=None)
