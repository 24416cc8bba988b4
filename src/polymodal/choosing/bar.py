"""What candidates are held against: the best that was measured here, or that is published.

Notable: only scores of one test are compared, the one that most of the candidates were put to. A
model behind an API does not raise the bar for those that run here, and the starter's own scores are
nobody's bar where others were published.
"""

from __future__ import annotations

from collections.abc import Sequence

from polymodal.catalog.choices import Choice, Score
from polymodal.runtime.measurements import Measurement

__all__ = ["Bar", "counts_down", "is_useless"]

SHARE_OF_BEST = 0.9
"""Of the best published score, that a capable model reaches."""


class Bar:
    """What the candidates are held against.

    Attributes:
        metric: the test whose published scores are compared.
        measured: what was measured here, of all that fit.
        best: the best published score, of a model that runs here if there is one.
    """

    def __init__(
        self, task: str, choices: Sequence[Choice], measured: Sequence[Measurement]
    ) -> None:
        self.metric = _usual_test(choices, task)
        self.measured = measured
        found = [
            (each.behind_api, score)
            for each in choices
            if (score := each.score(task, self.metric)) is not None and self.compares(score)
        ]
        here = [score for api, score in found if not api] or [score for _, score in found]
        sign = -1 if here and here[0].less_is_better else 1
        self.best = max(here, key=lambda each: sign * each.value, default=None)

    def compares(self, score: Score | None) -> bool:
        """Whether a published score is of the same test."""
        return score is not None and score.metric == self.metric

    def reached_by(self, own: Measurement | None, score: Score | None) -> bool:
        """Whether a model with these is capable."""
        if self.measured:
            best = _best_measured(self.measured)
            if own is None:
                return False
            # Word error rates count down, everything else counts up, and nothing right is useless.
            if is_useless(own):
                return False
            return own.low <= best.high if counts_down(own.metric) else own.high >= best.low
        if score is None or self.best is None or not self.compares(score):
            return False
        if score.less_is_better:
            return score.value <= self.best.value / SHARE_OF_BEST
        return score.value >= self.best.value * SHARE_OF_BEST

    def in_words(self) -> str:
        """The best there is."""
        if self.measured:
            best = _best_measured(self.measured)
            return f"{best.model}, {100 * best.value:.1f}"
        return "" if self.best is None else f"{self.best.value:g}"


def counts_down(metric: str) -> bool:
    """Whether a smaller value of a measurement is the better one."""
    return metric.startswith("word error rate")


def is_useless(own: Measurement) -> bool:
    """Whether nothing was right."""
    return own.value >= 1 if counts_down(own.metric) else own.value <= 0


def _best_measured(measured: Sequence[Measurement]) -> Measurement:
    down = counts_down(measured[0].metric)
    return min(measured, key=lambda each: each.value if down else -each.value)


def _usual_test(choices: Sequence[Choice], task: str) -> str:
    """The test that most of them have a published score of; of several, the first there is.

    What this project measured of the starter counts only where nothing is published.
    """
    found = [score for each in choices for score in each.scores_for(task)]
    metrics = [score.metric for score in found if not score.own] or [each.metric for each in found]
    return max(metrics, key=metrics.count, default="")
