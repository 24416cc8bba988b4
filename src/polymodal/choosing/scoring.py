"""How an answer is scored against what is right: one number an item, and their mean.

Sources: accuracy of questions counts an exact match after VQA's normalisation (Antol et al. 2015);
ANLS is that of DocVQA (Biten et al. 2019); ROUGE-L is the F measure of the longest common
subsequence of words (Lin 2004); the word error rate is edits over words of all items together.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Any, TypeVar

import numpy as np

from polymodal.runtime.intervals import wilson

__all__ = [
    "METRICS",
    "anls",
    "bootstrap",
    "edits",
    "exact",
    "mean_interval",
    "normal",
    "rouge_l",
    "words_of",
]

METRICS = {
    "classify": "accuracy",
    "few-shot": "accuracy",
    "moderate": "accuracy",
    "search": "text to image R@1",
    "caption": "ROUGE-L",
    "vqa": "accuracy",
    "complex-vqa": "accuracy",
    "document": "ANLS",
    "transcribe": "word error rate",
}
ARTICLES = {"a", "an", "the"}
ANLS_THRESHOLD = 0.5
SAMPLES, SEED = 2000, 0
Item = TypeVar("Item")


def normal(text: str) -> str:
    """Lower case, without punctuation and articles."""
    words = re.sub(r"[^\w\s.]|\.(?!\d)", " ", text.lower()).split()
    return " ".join(word for word in words if word not in ARTICLES)


def words_of(text: str) -> list[str]:
    """Words in lower case."""
    return re.findall(r"\w+(?:'\w+)?", text.lower())


def exact(answer: str, truths: Sequence[str]) -> float:
    """1 where the answer is one of the truths."""
    return float(normal(answer) in {normal(truth) for truth in truths})


def edits(left: Sequence[Item], right: Sequence[Item]) -> int:
    """Levenshtein's distance: insertions, deletions and replacements."""
    row = list(range(len(right) + 1))
    for number, one in enumerate(left, 1):
        before, row[0] = row[0], number
        for place, other in enumerate(right, 1):
            changed = before + (one != other)
            before, row[place] = row[place], min(row[place] + 1, row[place - 1] + 1, changed)
    return row[-1]


def anls(answer: str, truths: Sequence[str]) -> float:
    """Of the closest truth: 1 less the share of its letters that differ; 0 where half do."""
    best = 0.0
    for truth in truths:
        one, other = answer.strip().lower(), truth.strip().lower()
        longest = max(len(one), len(other))
        apart = edits(one, other) / longest if longest else 0.0
        best = max(best, 1 - apart if apart < ANLS_THRESHOLD else 0.0)
    return best


def rouge_l(answer: str, truths: Sequence[str]) -> float:
    """Of the closest truth: F measure of the longest common subsequence of words."""
    return max((_f_measure(words_of(answer), words_of(truth)) for truth in truths), default=0.0)


def _f_measure(left: Sequence[str], right: Sequence[str]) -> float:
    row = [0] * (len(right) + 1)
    for one in left:
        before = 0
        for place, other in enumerate(right, 1):
            longer = before + 1 if one == other else max(row[place], row[place - 1])
            before, row[place] = row[place], longer
    return 2 * row[-1] / (len(left) + len(right)) if left or right else 0.0


def mean_interval(values: Sequence[float], weights: Sequence[float]) -> tuple[float, float, float]:
    """Weighted mean and its 95 % interval: Wilson's for right or wrong, else by bootstrap."""
    total = sum(weights)
    mean = sum(v * w for v, w in zip(values, weights, strict=True)) / total if total else 0.0
    if set(values) <= {0.0, 1.0} and set(weights) <= {1.0}:
        return mean, *wilson(round(sum(values)), len(values))
    low, high = bootstrap(values, weights)
    return mean, low, high


def bootstrap(values: Sequence[float], weights: Sequence[float]) -> tuple[float, float]:
    """Percentiles of the mean over items drawn with replacement (Efron 1979); seeded."""
    random: Any = np.random.default_rng(SEED)
    numbers, heavy = np.asarray(values, np.float64), np.asarray(weights, np.float64)
    drawn = random.integers(0, len(numbers), (SAMPLES, len(numbers)))
    means = (numbers[drawn] * heavy[drawn]).sum(1) / np.maximum(heavy[drawn].sum(1), 1e-9)
    low, high = np.quantile(means, [0.025, 0.975])
    return float(low), float(high)
