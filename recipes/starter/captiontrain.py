"""Training of the captioner, stage one: cross-entropy on captions and answers.

Notable: one decoder does every task, told apart by its prompt; the weights that count are a moving
average. Stage two is `captioncritic`.

A prompt is `<caption>`, `<short>` or `<detailed>` (told by the caption's length), `<about>` words
`<caption>`, or `<question>` words `<answer>`.
"""

from __future__ import annotations

import math
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Tensor

from recipes.starter import captiongrids, captionwords, data, questions
from recipes.starter.captionnet import Captioner
from recipes.starter.captionwords import ABOUT, ANSWER, CAPTION, DETAILED, EOS, PAD, QUESTION, SHORT

MOST_WORDS = 20
SHORT_WORDS, DETAILED_WORDS = 8, 14
FILLING = {
    "a",
    "an",
    "the",
    "in",
    "on",
    "is",
    "and",
    "with",
    "of",
    "are",
    "to",
    "at",
    "his",
    "her",
    "it",
    "its",
    "their",
    "while",
    "as",
    "by",
    "for",
    "from",
    "into",
    "this",
    "that",
    "there",
    "some",
    "one",
    "two",
    "three",
    "other",
    "another",
    "near",
    "through",
    "over",
    "up",
    "down",
    "out",
    "off",
}

Sequence_ = tuple[list[int], list[int]]
"""Prompt and target, as token numbers."""


@dataclass(frozen=True)
class Stage:
    """A stretch of cross-entropy training.

    Attributes:
        passes: over the training photographs.
        planned: passes after which the rate, a half cosine, would be at its end.
        captions, questions: at most so many of each photograph a step.
        answer_share: weight of the mean loss of answers beside that of captions; there are thirty
            times as many words in captions.
    """

    passes: int
    planned: int
    rate: float
    warm_up: int
    captions: int
    questions: int
    answer_share: float
    seed: int


@dataclass(frozen=True)
class Plan:
    """What training does.

    Attributes:
        photographs: a step.
        mean_over: share of the moving average of the weights that a step leaves.
        samples: captions drawn of each photograph in the critic's stage.
        critic_share: how much of what the critic changed is kept.
        bleu_weight: of sentence BLEU-4 (0..1) beside CIDEr-D (0..10) in the reward.
    """

    photographs: int = 32
    decay: float = 0.05
    smoothing: float = 0.1
    mean_over: float = 0.998
    words: Stage = Stage(5, 10, 1.2e-3, 200, 5, 1, 0.03, 0)
    answers: Stage = Stage(2, 2, 5e-4, 30, 2, 4, 0.5, 1)
    critic_share: float = 0.5
    seed: int = 2
    critic_passes: float = 2.5
    critic_rate: float = 8e-5
    samples: int = 5
    bleu_weight: float = 2.0


class Examples:
    """Captions and questions of training photographs as token sequences."""

    def __init__(self, root: Path) -> None:
        train = data.flickr(root, "train")
        self.captions = [[captionwords.words(text) for text in row] for row in train.captions]
        asked = questions.derive(train.captions)
        said = [word for item in asked for word in [*item.question.split(), item.answer]]
        flat = [caption for row in self.captions for caption in row]
        self.vocabulary = captionwords.vocabulary(flat, always=said)
        self.asked: list[list[Sequence_]] = [[] for _ in self.captions]
        for item in asked:
            self.asked[item.photograph].append(self.answered(item))

    def answered(self, item: questions.Asked) -> Sequence_:
        """A question as prompt, its answer as target."""
        ids = self.vocabulary.ids
        return [QUESTION, *ids(item.question.split()), ANSWER], [*ids([item.answer]), EOS]

    def captioned(self, caption: list[str], rng: np.random.Generator) -> Sequence_:
        """A caption under one of the prompts that fit it."""
        ids = self.vocabulary.ids
        target = [*ids(caption[:MOST_WORDS]), EOS]
        chance = rng.random()
        if len(caption) <= SHORT_WORDS and chance < 0.3:
            return [SHORT], target
        if len(caption) >= DETAILED_WORDS and chance < 0.5:
            return [DETAILED], target
        if chance > 0.92:
            words = [word for word in caption if word not in FILLING]
            if words:
                picked = sorted(rng.permutation(len(words))[: rng.integers(1, 3)])
                return [ABOUT, *ids([words[i] for i in picked]), CAPTION], target
        return [CAPTION], target

    def of(self, photograph: int, stage: Stage, rng: np.random.Generator) -> list[Sequence_]:
        """Captions of a photograph and some of its questions."""
        said, asked = self.captions[photograph], self.asked[photograph]
        found = [self.captioned(said[i], rng) for i in rng.permutation(len(said))[: stage.captions]]
        return found + [asked[i] for i in rng.permutation(len(asked))[: stage.questions]]


@dataclass(frozen=True)
class Batch:
    """Sequences of several photographs, padded: [B, S, T], and where real tokens are."""

    ids: Tensor
    real: Tensor
    targets: Tensor
    """For each real token the next one, or -100 in prompts."""
    answers: Tensor
    """For each real token whether it belongs to a question."""


def batch(rows: list[list[Sequence_]]) -> Batch:
    """Sequences of photographs as one batch."""
    most = max(map(len, rows))
    longest = max(len(p) + len(t) - 1 for row in rows for p, t in row)
    ids = np.full((len(rows), most, longest), PAD)
    targets = np.full(ids.shape, -100)
    answers = np.zeros(ids.shape, bool)
    for b, row in enumerate(rows):
        for s, (prompt, target) in enumerate(row):
            whole = prompt + target
            ids[b, s, : len(whole) - 1] = whole[:-1]
            targets[b, s, len(prompt) - 1 : len(whole) - 1] = target
            answers[b, s] = prompt[0] == QUESTION
    real = np.flatnonzero(ids.ravel() != PAD)
    flat = (ids, real, targets.ravel()[real], answers.ravel()[real])
    return Batch(*map(torch.from_numpy, flat))


class Mean:
    """An exponential moving average of a network's weights."""

    def __init__(self, network: Captioner, share: float) -> None:
        self.share = share
        self.steps = 0
        self.state = {name: value.clone() for name, value in network.state_dict().items()}

    def update(self, network: Captioner) -> None:
        """Take in the weights of one more step."""
        self.steps += 1
        share = min(self.share, (1 + self.steps) / (10 + self.steps))
        for name, value in network.state_dict().items():
            self.state[name].lerp_(value, 1 - share)


def optimizer(network: Captioner, rate: float, decay: float) -> torch.optim.AdamW:
    """AdamW; biases, norms and embeddings of places do not decay."""
    matrices = [p for p in network.parameters() if p.ndim > 1]
    others = [p for p in network.parameters() if p.ndim <= 1]
    groups = [{"params": matrices, "weight_decay": decay}, {"params": others, "weight_decay": 0.0}]
    return torch.optim.AdamW(groups, lr=rate, betas=(0.9, 0.98), fused=True)


class Sights:
    """Reduced grids of both views of the training photographs."""

    def __init__(self, cache: Path) -> None:
        self.views = [captiongrids.grids(cache, "train", view) for view in (0, 1)]

    def of(self, photographs: NDArray[np.int64], rng: np.random.Generator) -> Tensor:
        """Grids [B, P, K] of photographs, each from one of its views."""
        views = rng.integers(0, 2, len(photographs))
        picked = [self.views[v][i] for v, i in zip(views, photographs, strict=True)]
        return torch.from_numpy(np.stack(picked).astype(np.float32))


def orders(count: int, size: int, seed: int) -> Iterator[NDArray[np.int64]]:
    """Batches of photographs, in a new order every pass, for ever."""
    rng = np.random.default_rng(seed)
    while True:
        order = rng.permutation(count)
        for start in range(0, count - size + 1, size):
            yield order[start : start + size]


def cross_entropy(logits: Tensor, part: Batch, smoothing: float, answer_share: float) -> Tensor:
    """Mean loss of caption words and, weighted, of answers."""
    total = logits.new_zeros(())
    for on, weight in ((~part.answers, 1.0), (part.answers, answer_share)):
        kept = on & (part.targets >= 0)
        if kept.any():
            total = total + weight * F.cross_entropy(
                logits[kept], part.targets[kept], label_smoothing=smoothing
            )
    return total


def fit(
    network: Captioner, examples: Examples, sights: Sights, plan: Plan, stage: Stage
) -> dict[str, Tensor]:
    """One stage of cross-entropy; returns the averaged weights."""
    rng = np.random.default_rng(stage.seed)
    a_pass = len(examples.captions) // plan.photographs
    total, planned = stage.passes * a_pass, stage.planned * a_pass
    adam = optimizer(network, stage.rate, plan.decay)
    mean = Mean(network, plan.mean_over)
    began, losses = time.monotonic(), []
    for step, order in enumerate(orders(len(examples.captions), plan.photographs, stage.seed)):
        if step == total:
            break
        share = min(1.0, (step + 1) / stage.warm_up)
        share *= 0.02 + 0.98 * 0.5 * (1 + math.cos(math.pi * step / planned))
        for group in adam.param_groups:
            group["lr"] = stage.rate * share
        network.train()
        part = batch([examples.of(int(i), stage, rng) for i in order])
        logits = network(network.look(sights.of(order, rng)), part.ids, part.real)
        loss = cross_entropy(logits, part, plan.smoothing, stage.answer_share)
        adam.zero_grad()
        loss.backward()  # type: ignore[no-untyped-call]
        torch.nn.utils.clip_grad_norm_(network.parameters(), 1.0)
        adam.step()
        mean.update(network)
        losses.append(float(loss.detach()))
        if (step + 1) % 25 == 0:
            took_s = time.monotonic() - began
            print(
                f"step {step + 1}/{total} loss {np.mean(losses[-25:]):.3f} {took_s:.0f} s",
                file=sys.stderr, flush=True,
            )  # fmt: skip
    return mean.state


def keep(state: dict[str, Tensor], path: Path) -> None:
    """Save weights, whole or not at all."""
    part = path.with_suffix(".part")
    torch.save(state, part)
    part.rename(path)
