"""How well the answers to a question fit a picture, and how sure that makes the best one.

Notable: two witnesses. The model that answers gives each candidate a probability; the embedder
compares the picture with what each candidate would make true of it ("a brown dog" beside "a black
dog"). A weighted sum of their logarithms ranks the candidates; the weights, one pair a kind of
question, and the logistic function that turns the outcome into a confidence are fitted on
development data and come with the model's card.

A model without such a card answers by itself, and the embedder moves the odds that it is right: by
how much more probable than an even share its answer looks among the alternatives.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from polymodal.models.describing import AnswerCalibration, AnswerWeights
from polymodal.tasks.calibration import Doubles, sigmoid, softmax
from polymodal.tasks.questions import Kind

__all__ = [
    "Weighed",
    "anywhere",
    "features",
    "log_odds",
    "logits",
    "looks_there",
    "margins",
    "moved",
    "normalized",
    "presence",
    "weigh",
]

LOWEST = -30.0
"""Stands for the logarithm of what has no probability."""
MOST_MOVED = 3.0
"""Log-odds that the embedder may move another model's confidence by at most."""
LIKELY_THERE = 0.2
"""Of the things that are there, 95 % look at least this likely; of those that are not, 53 %. What
other values buy: the table of `recipes.starter.answers`, on the half of dev that nothing was fitted
on."""


@dataclass(frozen=True)
class Weighed:
    """Candidates best first.

    Attributes:
        share: of each in what both witnesses say together.
        said, seen: of each by the model and by the embedder alone.
        confidence: probability that the first is right.
    """

    answers: tuple[str, ...]
    share: tuple[float, ...]
    said: tuple[float, ...]
    seen: tuple[float, ...]
    confidence: float


def margins(kind: Kind, cosines: Sequence[float], others: Sequence[float]) -> Doubles:
    """What the embedder says of each candidate.

    Args:
        cosines: of the candidates' statements with the picture.
        others: for a yes-or-no question, of statements about other things: "yes" has what the
            thing asked about is ahead of them, "no" has 0.
    """
    values = np.array(cosines, np.float64)
    if kind == "yesno" and len(others):
        values = np.array([values[0] - np.mean(others), 0.0])
    return values


def weigh(
    kind: Kind,
    answers: Sequence[str],
    logprobs: Sequence[float],
    seen: Doubles,
    calibration: AnswerCalibration,
) -> Weighed:
    """Rank the candidates of one question.

    Args:
        logprobs: of the candidates by the model; -inf where it cannot say one.
        seen: see `margins`.
    """
    weights = calibration.kinds[kind]
    said = normalized(logprobs)
    alone = logits(kind, np.zeros(len(answers)), seen, weights, alone=True)
    both = logits(kind, said, seen, weights)
    order = np.argsort(-both, kind="stable")
    shares = [softmax(values)[order] for values in (both, said, alone)]
    odds = features(*(float(each[0]) for each in shares))
    fitted = (calibration.share, calibration.decoder, calibration.embedder)
    confidence = float(sigmoid(np.array(weights.trust + np.dot(fitted, odds))))
    both_, said_, alone_ = map(_floats, shares)
    return Weighed(tuple(answers[i] for i in order), both_, said_, alone_, confidence)


def _floats(values: Doubles) -> tuple[float, ...]:
    return tuple(map(float, values))


def presence(
    kind: Kind, seen: Doubles, calibration: AnswerCalibration, likely: float = LIKELY_THERE
) -> float:
    """What the confidence in an answer about a thing is multiplied by; 1 where it looks there.

    Args:
        seen: `margins` of the yes-or-no question whether the thing is there.
        likely: probability from which it does.
    """
    weights = calibration.kinds.get("yesno")
    if weights is None or kind == "yesno":
        return 1.0
    return min(1.0, looks_there(seen, weights) / likely)


def looks_there(seen: Doubles, weights: AnswerWeights) -> float:
    """How likely the embedder alone finds it that a thing is there; see `presence`."""
    return float(softmax(logits("yesno", seen * 0, seen, weights, alone=True))[0])


def features(*shares: float) -> list[float]:
    """Log-odds of the best candidate's shares: what the confidence is a logistic function of."""
    return [log_odds(share) for share in shares]


def normalized(logprobs: Sequence[float]) -> Doubles:
    """Log-probabilities that add up to 1 over the candidates."""
    values = np.maximum(np.array(logprobs, np.float64), LOWEST)
    logs: Doubles = values - values.max()
    shares: Doubles = logs - np.log(np.exp(logs).sum())
    return shares


def logits(
    kind: Kind, said: Doubles, seen: Doubles, weights: AnswerWeights, *, alone: bool = False
) -> Doubles:
    """What ranks the candidates: by both witnesses, or by the embedder `alone`."""
    slope, bias = (weights.alone, weights.alone_bias) if alone else (weights.embedder, weights.bias)
    values: Doubles = (0.0 if alone else weights.decoder) * said + slope * seen
    if kind == "yesno":
        values = values + np.array([bias, 0.0])
    return values


def moved(prior: float, shares: Doubles, chosen: int) -> float:
    """The probability that an answer is right, after the embedder has looked.

    Args:
        prior: how far the model is trusted before.
        shares: what the embedder gives each alternative; they add up to 1.
    """
    odds = math.log(max(float(shares[chosen]) * len(shares), 1e-9))
    moved_by = min(max(odds, -MOST_MOVED), MOST_MOVED)
    return float(sigmoid(np.array(log_odds(prior) + moved_by)))


def anywhere(logits: Doubles) -> Doubles:
    """Log-odds that something is so in one of several pictures, from those of each.

    The mean of the odds: any of the pictures may be the one. What fits one frame of eight is so
    eight times less sure than what fits all of them, and many frames make nothing likelier.

    Args:
        logits: shape (pictures, ...).

    Returns:
        Shape (...); of one picture what came in.
    """
    found: Doubles = np.logaddexp.reduce(logits, axis=0) - math.log(len(logits))
    return found


def log_odds(probability: float) -> float:
    """Kept finite: a probability is never quite 0 or 1."""
    inside = min(max(probability, 1e-4), 1 - 1e-4)
    return math.log(inside / (1 - inside))
