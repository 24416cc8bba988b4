"""What answers cost, and a budget that is never passed.

Notable: before a request is sent, the most that it could cost is set aside; where that does not fit
into what is left, the request is not sent. So a budget holds with many requests under way, and
although nobody knows beforehand how long an answer gets. What comes back is counted as it was.
"""

from __future__ import annotations

import threading
from collections.abc import Iterator, Sequence

from polymodal.errors import BudgetExceeded, ModelError, PolymodalError, UsageError
from polymodal.models.messages import (
    GREEDY,
    Conversation,
    Generation,
    GenerationOptions,
    GeneratorInfo,
)
from polymodal.models.protocols import Generator, Priced, StreamingGenerator

__all__ = ["BudgetedGenerator", "Spending"]

MAYBE_CHARGED = {"timeout", "malformed"}
"""Failures after which the vendor may have answered, and charged, all the same."""


class Spending:
    """A count of answers and money, shared by everything that spends it. Safe between threads.

    Attributes:
        limit_usd: what may be spent; None counts only.
        spent_usd: so far, as far as prices are known.
        answers: that were counted.
        unpriced: those of them whose price is not known.
    """

    def __init__(self, limit_usd: float | None = None) -> None:
        """Nothing is spent yet.

        Raises:
            UsageError: a limit that is not above 0.
        """
        if limit_usd is not None and not 0.0 < limit_usd < float("inf"):
            raise UsageError(f"a budget is an amount in US dollars above 0, not {limit_usd}.")
        self.limit_usd = limit_usd
        self.spent_usd = 0.0
        self.answers = 0
        self.unpriced = 0
        self._aside_usd = 0.0
        self._lock = threading.Lock()

    def set_aside(self, most_usd: float) -> bool:
        """Set money aside for one request; False where the rest of the budget may not suffice."""
        with self._lock:
            would_be = self.spent_usd + self._aside_usd + most_usd
            if self.limit_usd is not None and would_be > self.limit_usd:
                return False
            self._aside_usd += most_usd
            return True

    def settle(self, most_usd: float, answer: Generation | PolymodalError | None) -> None:
        """Count what a request cost, and give back what was set aside for it.

        Args:
            answer: what came of it; None where it was not sent after all.
        """
        with self._lock:
            self._aside_usd -= most_usd
            if isinstance(answer, Generation):
                self.answers += 1
                self.unpriced += answer.cost_usd is None
                if answer.cost_usd is not None:
                    self.spent_usd += answer.cost_usd
                    return
            elif not isinstance(answer, ModelError) or answer.reason not in MAYBE_CHARGED:
                return
            if self.limit_usd is not None:  # what is not known counts as the worst
                self.spent_usd += most_usd

    def describe(self) -> str:
        """One line for a person; "" where nothing was asked."""
        if not self.answers and not self.spent_usd:
            return ""
        count = f"{self.answers} answer{'' if self.answers == 1 else 's'}"
        if self.unpriced == self.answers and self.limit_usd is None:
            return f"{count}; {'its' if self.answers == 1 else 'their'} price is not known"
        of = "" if self.limit_usd is None else f" of {_dollars(self.limit_usd)}"
        unknown = f" ({self.unpriced} without a known price)" if self.unpriced else ""
        return f"${self.spent_usd:.4f}{of} for {count}{unknown}"


class BudgetedGenerator:
    """A generator whose answers are counted; to the verb that uses it, it is any generator."""

    def __init__(self, generator: Generator, spending: Spending) -> None:
        """Counts into `spending`.

        Raises:
            UsageError: there is a limit, and the generator does not know what it costs.
        """
        self._generator = generator
        self._spending = spending
        if spending.limit_usd is not None and self._most([], GREEDY) is None:
            raise UsageError(
                f"no price of {generator.info.model} is known, so a budget cannot be kept. Leave"
                " the budget out, or use a model with a price: see docs/models.md."
            )

    @property
    def info(self) -> GeneratorInfo:
        """See `Generator.info`."""
        return self._generator.info

    def generate(
        self, batch: Sequence[Conversation], options: GenerationOptions = GREEDY
    ) -> list[Generation | PolymodalError]:
        """See `Generator.generate`; what does not fit into the budget is a `BudgetExceeded`."""
        outcomes: dict[int, Generation | PolymodalError] = {}
        waiting = list(range(len(batch)))
        while waiting:
            taken: list[tuple[int, float]] = []
            for place in waiting:
                most = self._most(batch[place], options)
                if not self._fits(most):
                    break
                taken.append((place, most or 0.0))
            if not taken:
                refusal = self._refusal(self._most(batch[waiting[0]], options))
                outcomes |= dict.fromkeys(waiting, refusal)
                break
            for (place, _), answer in zip(taken, self._asked(batch, taken, options), strict=True):
                outcomes[place] = answer
            waiting = waiting[len(taken) :]
        return [outcomes[place] for place in range(len(batch))]

    def stream(
        self, conversation: Conversation, options: GenerationOptions = GREEDY
    ) -> Iterator[str | Generation]:
        """See `StreamingGenerator.stream`.

        Raises:
            UsageError: the generator does not stream.
            BudgetExceeded: it could cost more than is left.
        """
        if not isinstance(self._generator, StreamingGenerator):
            raise UsageError(f"{self.info.model} says its answer at once; it cannot be streamed.")
        most = self._most(conversation, options)
        if not self._fits(most):
            raise self._refusal(most)
        # Left early or broken off, it is charged for what was said, which then nobody counts.
        outcome: Generation | PolymodalError | None = ModelError(
            self.info.model, "malformed", "a stream that was left"
        )
        begun = False
        try:
            for piece in self._generator.stream(conversation, options):
                if isinstance(piece, Generation):
                    outcome = piece
                begun = True
                yield piece
        except PolymodalError as error:
            outcome = outcome if begun else error
            raise
        finally:
            self._spending.settle(most or 0.0, outcome)

    def most_usd(
        self, conversation: Conversation, options: GenerationOptions = GREEDY
    ) -> float | None:
        """See `Priced.most_usd`."""
        return self._most(conversation, options)

    def _asked(
        self,
        batch: Sequence[Conversation],
        taken: Sequence[tuple[int, float]],
        options: GenerationOptions,
    ) -> Sequence[Generation | PolymodalError]:
        answers: Sequence[Generation | PolymodalError | None] = [None] * len(taken)
        try:
            found = self._generator.generate([batch[place] for place, _ in taken], options)
            answers = found
        finally:
            for (_, most), answer in zip(taken, answers, strict=True):
                self._spending.settle(most, answer)
        return found

    def _most(self, conversation: Conversation, options: GenerationOptions) -> float | None:
        if not isinstance(self._generator, Priced):
            return None
        return self._generator.most_usd(conversation, options)

    def _fits(self, most_usd: float | None) -> bool:
        if most_usd is None and self._spending.limit_usd is not None:
            return False
        return self._spending.set_aside(most_usd or 0.0)

    def _refusal(self, most_usd: float | None) -> BudgetExceeded:
        spending, name = self._spending, self.info.model
        if most_usd is None:
            return BudgetExceeded(
                f"{name}: not sent: the price of such a prompt (its length, or sound) is not known,"
                " and there is a budget."
            )
        return BudgetExceeded(
            f"{name}: not sent: it could cost up to ${most_usd:.4f}, and"
            f" ${spending.spent_usd:.4f} of the budget of {_dollars(spending.limit_usd or 0.0)} is"
            " spent."
        )


def _dollars(limit_usd: float) -> str:
    """A budget, with as many digits as it needs to be above 0."""
    return f"${limit_usd:.2f}" if limit_usd >= 0.1 else f"${limit_usd:.4f}"
