"""Decoding bound to a JSON Schema or to a few answers, for checkpoints, by llguidance.

Notable: the grammar is asked at every step which tokens may come, and every other one is set to
minus infinity before one is chosen; so an answer that ends fits, whatever the model would rather
have said. Keywords that the grammar does not know are left out of it: what it writes is validated
afterwards in any case. Why this library: `python -m benchmarks.constrained`.
"""

from __future__ import annotations

import json
import re
import threading
from collections.abc import Sequence
from importlib.util import find_spec
from typing import Any

from polymodal.models.messages import Constrains, GenerationOptions

__all__ = ["CONSTRAINS", "Bound", "Grammars"]

CONSTRAINS: frozenset[Constrains] = frozenset(
    {"json_schema", "choices"} if find_spec("llguidance") is not None else ()
)
"""What checkpoints decode under, with the library as it is installed."""
BLANKS = r"\n?[ ]{0,8}"
"""Between the parts of JSON; without a bound, a model can write blanks until it is cut off."""


class Grammars:
    """The grammars of one checkpoint's tokenizer, which is read once. Safe between threads."""

    def __init__(self, tokenizer: Any, ends: frozenset[int]) -> None:
        """Nothing is read yet; `ends` are the ids of tokens that end an answer."""
        self._tokenizer = tokenizer
        self.ends = sorted(ends)
        self._read: tuple[int, Any] | None = None
        self._lock = threading.Lock()

    def matcher(self, options: GenerationOptions, size: int) -> Any | None:
        """What watches one answer; None where nothing binds it, or the grammar cannot say it.

        Args:
            size: of the model's scores.
        """
        if options.json_schema is None and not options.choices:
            return None
        import llguidance

        grammar: str
        if options.json_schema is not None:
            settings: Any = {"lenient": True, "whitespace_pattern": BLANKS}
            schema = json.dumps(options.json_schema)
            grammar = llguidance.LLMatcher.grammar_from_json_schema(schema, overrides=settings)
        else:
            either = "|".join(re.escape(choice) for choice in options.choices)
            grammar = llguidance.LLMatcher.grammar_from_regex(f"({either})")
        matcher = llguidance.LLMatcher(self._vocabulary(size), grammar, log_level=0)
        return None if matcher.is_error() else matcher

    def _vocabulary(self, size: int) -> Any:
        import llguidance.hf

        size = max(size, len(self._tokenizer))
        with self._lock:
            if self._read is None or self._read[0] != size:
                found = llguidance.hf.from_tokenizer(
                    self._tokenizer, n_vocab=size, eos_token=self.ends
                )
                self._read = size, found
            return self._read[1]


class Bound:
    """A logits processor of `generate`, which forbids what the grammar does not allow."""

    def __init__(self, grammars: Grammars, options: GenerationOptions) -> None:
        """For one call of `generate`."""
        self._grammars = grammars
        self._options = options
        self._rows: Sequence[Any] | None = None

    def __call__(self, input_ids: Any, scores: Any) -> Any:
        """Scores of a step, shape (rows, vocabulary), with what is not allowed at -inf."""
        size = scores.shape[-1]
        if self._rows is None:
            first = self._grammars.matcher(self._options, size)
            count = scores.shape[0]
            self._rows = [] if first is None else [first.deep_copy() for _ in range(count)]
        elif self._rows:
            for matcher, token in zip(self._rows, input_ids[:, -1].tolist(), strict=True):
                if not matcher.is_stopped():
                    matcher.consume_token(token)
        for row, matcher in enumerate(self._rows):
            scores[row, self._forbidden(matcher, size, scores.device)] = -float("inf")
        return scores

    def _forbidden(self, matcher: Any, size: int, device: Any) -> Any:
        import torch

        if matcher.is_stopped():  # the answer is whole: nothing but its end may follow
            forbidden = torch.ones(size, dtype=torch.bool)
            forbidden[[end for end in self._grammars.ends if end < size]] = False
        else:
            allowed = torch.frombuffer(bytearray(matcher.compute_logit_bias()), dtype=torch.uint8)
            forbidden = allowed[:size] == 0
        return forbidden.to(device)
