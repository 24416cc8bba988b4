"""BLEU and CIDEr-D over tokenised captions, by their official definitions.

Notable: both follow the scripts of the COCO caption evaluation: corpus BLEU with the closest
reference length (Papineni et al., 2002), CIDEr-D with document frequencies of the references given
(Vedantam et al., 2015). `Rewards` scores single samples against fixed references and frequencies,
fast enough to be a training signal.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Hashable, Sequence

import numpy as np
from numpy.typing import NDArray

LONGEST = 4
SIGMA = 6.0
TINY, SMALL = 1e-15, 1e-9

Tokens = Sequence[Hashable]
Grams = Counter[tuple[Hashable, ...]]
Vector = dict[tuple[Hashable, ...], float]


def grams(tokens: Tokens) -> Grams:
    """Counts of all n-grams up to four tokens."""
    sequence = tuple(tokens)
    counts: Grams = Counter()
    for n in range(1, LONGEST + 1):
        counts.update(sequence[i : i + n] for i in range(len(sequence) - n + 1))
    return counts


def bleu(candidates: Sequence[Tokens], references: Sequence[Sequence[Tokens]]) -> list[float]:
    """Corpus BLEU-1 to BLEU-4 in per cent; brevity against the closest reference length."""
    right, total = np.zeros(LONGEST), np.zeros(LONGEST)
    length, wanted = 0, 0
    for tokens, refs in zip(candidates, references, strict=True):
        most: Grams = Counter()
        for ref in refs:
            most |= grams(ref)
        for gram, count in grams(tokens).items():
            right[len(gram) - 1] += min(count, most[gram])
        total += [max(0, len(tokens) - n) for n in range(LONGEST)]
        length += len(tokens)
        wanted += min((abs(len(ref) - len(tokens)), len(ref)) for ref in refs)[1]
    precision = (right + TINY) / (total + SMALL)
    ratio = (length + TINY) / (wanted + SMALL)
    brevity = 1.0 if ratio >= 1 else math.exp(1 - 1 / ratio)
    return [
        float(100 * brevity * np.prod(precision[: n + 1]) ** (1 / (n + 1))) for n in range(LONGEST)
    ]


class Cider:
    """CIDEr-D with the document frequencies of one set of references."""

    def __init__(self, references: Sequence[Sequence[Tokens]]) -> None:
        """`references`: several a photograph, over all photographs."""
        counted = [[grams(ref) for ref in refs] for refs in references]
        self.frequency: Counter[tuple[Hashable, ...]] = Counter()
        for refs in counted:
            self.frequency.update(set().union(*refs))
        self.log_count = math.log(float(len(references)))
        self.references = [[self.vector(ref) for ref in refs] for refs in counted]

    def vector(self, counts: Grams) -> tuple[Vector, list[float], int]:
        """tf-idf of every n-gram, the norm for each n, and the number of bigrams."""
        weights: Vector = {}
        norms = [0.0] * LONGEST
        bigrams = 0
        for gram, count in counts.items():
            n = len(gram)
            weight = count * (self.log_count - math.log(max(1.0, self.frequency[gram])))
            weights[gram] = weight
            norms[n - 1] += weight * weight
            if n == 2:  # the official script measures length in bigrams
                bigrams += count
        return weights, [math.sqrt(norm) for norm in norms], bigrams

    def score(self, tokens: Tokens, photograph: int) -> float:
        """CIDEr-D x 10 of one candidate for the references of one photograph."""
        mine, my_norms, my_length = self.vector(grams(tokens))
        total = 0.0
        refs = self.references[photograph]
        for theirs, norms, length in refs:
            overlap = [0.0] * LONGEST
            for gram, weight in mine.items():
                other = theirs.get(gram)
                if other is not None:
                    overlap[len(gram) - 1] += min(weight, other) * other
            closeness = math.exp(-((my_length - length) ** 2) / (2 * SIGMA**2))
            for n in range(LONGEST):
                if my_norms[n] and norms[n]:
                    total += closeness * overlap[n] / (my_norms[n] * norms[n])
        return 10.0 * total / (LONGEST * len(refs))


def cider(candidates: Sequence[Tokens], references: Sequence[Sequence[Tokens]]) -> float:
    """Mean CIDEr-D in the usual scale (1.0 is a good caption), times 100."""
    scorer = Cider(references)
    scores = [scorer.score(tokens, number) for number, tokens in enumerate(candidates)]
    return float(100 * np.mean(scores))


def sentence_bleu(tokens: Tokens, most: Grams, lengths: Sequence[int]) -> float:
    """BLEU-4 of one sentence, with one added to the counts of bigrams and longer."""
    right = [0] * LONGEST
    for gram, count in grams(tokens).items():
        right[len(gram) - 1] += min(count, most[gram])
    if not right[0]:
        return 0.0
    product = right[0] / len(tokens)
    for n in range(1, LONGEST):
        product *= (right[n] + 1) / (max(0, len(tokens) - n) + 1)
    wanted = min((abs(length - len(tokens)), length) for length in lengths)[1]
    brevity = min(1.0, math.exp(1 - wanted / len(tokens)))
    return float(brevity * product**0.25)


class Rewards:
    """A mix of CIDEr-D and sentence BLEU-4 against the captions of training photographs."""

    def __init__(self, references: Sequence[Sequence[Tokens]], bleu_weight: float) -> None:
        self.cider = Cider(references)
        self.bleu_weight = bleu_weight
        self.most: list[Grams] = []
        for refs in references:
            most: Grams = Counter()
            for ref in refs:
                most |= grams(ref)
            self.most.append(most)
        self.lengths = [[len(ref) for ref in refs] for refs in references]

    def score(self, samples: Sequence[Tokens], photographs: Sequence[int]) -> NDArray[np.float32]:
        """Reward of each sample."""
        out = [
            self.cider.score(tokens, i)
            + self.bleu_weight * sentence_bleu(tokens, self.most[i], self.lengths[i])
            if len(tokens)
            else 0.0
            for tokens, i in zip(samples, photographs, strict=True)
        ]
        return np.array(out, np.float32)
