"""Training of the captioner, stage two: captions are drawn, scored, and made likelier or less.

Notable: the gradient of the expected CIDEr-D and BLEU-4 (self-critical training, Rennie et al.,
2017), each sample against the mean of the others of its photograph (Luo, 2020). Styles, guided
captions and answers keep a share of every step, so that none is forgotten.
"""

from __future__ import annotations

import sys
import time
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Tensor

from recipes.starter import captionmetrics, captionwords
from recipes.starter.captionnet import Captioner
from recipes.starter.captiontrain import (
    MOST_WORDS,
    Examples,
    Mean,
    Plan,
    Sequence_,
    Sights,
    batch,
    keep,
    optimizer,
    orders,
)
from recipes.starter.captionwords import CAPTION, EOS

TAUGHT, ANSWERED = 0.1, 0.2
"""Weights of the cross-entropy that keeps styles and guided captions, and of that of answers."""


@torch.no_grad()
def sample(
    network: Captioner, grids: Tensor, count: int, rng: torch.Generator
) -> list[list[list[int]]]:
    """`count` captions of each photograph, drawn word by word; token numbers without the end."""
    sight, photographs = network.look(grids), len(grids)
    past = network.empty_past(photographs, count)
    ids = torch.full((photographs, count, 1), CAPTION)
    drawn = []
    open_BS = torch.ones(photographs, count, dtype=torch.bool)
    for _ in range(MOST_WORDS):
        logprobs, past = network.step(ids, sight, past)
        chances = logprobs[:, :, -1].exp()
        chances[..., : len(captionwords.SPECIAL)] *= (
            torch.arange(len(captionwords.SPECIAL)) == EOS
        ).float()
        ids = torch.multinomial(chances.flatten(0, 1), 1, generator=rng).view(photographs, count, 1)
        drawn.append(torch.where(open_BS, ids[..., 0], EOS))
        open_BS &= ids[..., 0] != EOS
        if not open_BS.any():
            break
    rows = torch.stack(drawn, 2).tolist()
    return [[row[: row.index(EOS)] if EOS in row else row for row in each] for each in rows]


def advantages(rewards_BS: NDArray[np.float32]) -> NDArray[np.float32]:
    """Reward of each sample above the mean of the others of its photograph."""
    count = rewards_BS.shape[1]
    out: NDArray[np.float32] = (rewards_BS - rewards_BS.mean(1, keepdims=True)) * (
        count / (count - 1)
    )
    return out


def criticise(
    network: Captioner, examples: Examples, sights: Sights, plan: Plan, out: Path
) -> dict[str, Tensor]:
    """Stage two; returns the averaged weights, and keeps them in `out` twice a pass."""
    rng = np.random.default_rng(plan.seed + 1)
    draws = torch.Generator().manual_seed(plan.seed + 1)
    ids = examples.vocabulary.ids
    # The end mark is part of what is scored: without it, captions learn to break off.
    refs = [[[*ids(c), EOS] for c in row] for row in examples.captions]
    reward = captionmetrics.Rewards(refs, plan.bleu_weight)
    total = int(plan.critic_passes * len(refs) / plan.photographs)
    adam = optimizer(network, plan.critic_rate, 0.0)
    mean = Mean(network, 0.99)
    began, kept = time.monotonic(), []
    for step, order in enumerate(orders(len(refs), plan.photographs, plan.seed + 1)):
        if step == total:
            break
        for group in adam.param_groups:
            group["lr"] = plan.critic_rate * min(1.0, (step + 1) / 30) * (1 - 0.9 * step / total)
        grids = sights.of(order, rng)
        network.eval()
        drawn = sample(network, grids, plan.samples, draws)
        flat = [([*row, EOS], int(i)) for i, each in zip(order, drawn, strict=True) for row in each]
        rewards = reward.score([row for row, _ in flat], [i for _, i in flat])
        gains = advantages(rewards.reshape(len(order), -1))
        kept.append(rewards.mean())
        loss = critic_loss(network, examples, grids, order, drawn, gains, rng)
        adam.zero_grad()
        loss.backward()  # type: ignore[no-untyped-call]
        torch.nn.utils.clip_grad_norm_(network.parameters(), 1.0)
        adam.step()
        mean.update(network)
        if (step + 1) % 25 == 0:
            took_s = time.monotonic() - began
            print(
                f"critic {step + 1}/{total} reward {np.mean(kept[-25:]):.4f} {took_s:.0f} s",
                file=sys.stderr, flush=True,
            )  # fmt: skip
        if (step + 1) % (len(refs) // plan.photographs // 2) == 0:
            keep(mean.state, out)
    return mean.state


def critic_loss(
    network: Captioner,
    examples: Examples,
    grids: Tensor,
    order: NDArray[np.int64],
    drawn: Sequence[Sequence[list[int]]],
    gains: NDArray[np.float32],
    rng: np.random.Generator,
) -> Tensor:
    """Policy gradient on samples; cross-entropy on another caption and two questions beside it."""
    rows: list[list[Sequence_]] = []
    weights: list[float] = []
    drawn_at: list[bool] = []
    for i, each, gain in zip(order, drawn, gains, strict=True):
        row: list[Sequence_] = [([CAPTION], [*tokens, EOS]) for tokens in each]
        # Styles and questions are kept alive; plain captions are what the reward is for.
        other = examples.captioned(examples.captions[i][rng.integers(0, 5)], rng)
        asked = examples.asked[i]
        others = [other] if other[0] != [CAPTION] else []
        others += [asked[j] for j in rng.permutation(len(asked))[:2]]
        rows.append(row + others)
        for (_, target), value in zip(row, gain, strict=True):
            weights += [float(value)] * len(target)
            drawn_at += [True] * len(target)
        for _, target in others:
            weights += [0.0] * len(target)
            drawn_at += [False] * len(target)
    part = batch(rows)
    network.train()
    logits = network(network.look(grids), part.ids, part.real)
    on = part.targets >= 0
    losses = F.cross_entropy(logits[on], part.targets[on], reduction="none")
    chosen, asked_at = torch.tensor(drawn_at), part.answers[on]
    total = (losses * torch.tensor(weights))[chosen].mean()
    for which, weight in ((~chosen & ~asked_at, TAUGHT), (asked_at, ANSWERED)):
        if which.any():
            total = total + weight * losses[which].mean()
    return total
