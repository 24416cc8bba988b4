"""Captions and class texts as token states, computed once.

The lower layers of the text tower stay frozen, so what enters the tuned layers can be stored: the
states after `FROZEN` layers, float16, all tokens of all texts end to end with offsets beside them.
"""

from __future__ import annotations

import sys
import time
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from tokenizers import Tokenizer
from torch import Tensor, nn

from recipes.starter import data, towers

FROZEN = 3
CHUNK = 128


def tokenizer() -> Tokenizer:
    """The tokenizer of MiniLM, with padding and truncation switched off."""
    out = Tokenizer.from_file(str(towers.model_folder() / "tokenizer.json"))
    out.no_padding()
    out.no_truncation()
    return out


def padded(ids: list[list[int]]) -> tuple[Tensor, Tensor]:
    """Token ids and attention mask [B, T] of texts of different lengths."""
    length = max(len(row) for row in ids)
    mask = torch.tensor([[1] * len(row) + [0] * (length - len(row)) for row in ids])
    return torch.tensor([row + [0] * (length - len(row)) for row in ids]), mask


def by_length(lengths: NDArray[np.int64]) -> list[NDArray[np.int64]]:
    """Row numbers in chunks of similar length, so that little is spent on padding."""
    order = np.argsort(lengths, kind="stable")
    return [order[rows] for rows in data.batches(len(order), CHUNK)]


@dataclass(frozen=True)
class States:
    """Token states after the frozen layers, and the untouched encoder's pooled output."""

    tokens: NDArray[np.float16]  # [all tokens, E]
    starts: NDArray[np.int64]  # [texts + 1]
    pooled: NDArray[np.float32]  # [texts, E]

    @property
    def lengths(self) -> NDArray[np.int64]:
        return np.diff(self.starts)

    def batch(self, rows: NDArray[np.int64]) -> tuple[Tensor, Tensor]:
        """States [B, T, E] and mask [B, T] of some texts."""
        lengths = self.lengths[rows]
        states = np.zeros((len(rows), int(lengths.max()), self.tokens.shape[1]), np.float16)
        for place, row in enumerate(rows):
            states[place, : lengths[place]] = self.tokens[self.starts[row] : self.starts[row + 1]]
        mask = torch.arange(states.shape[1])[None] < torch.from_numpy(lengths)[:, None]
        return torch.from_numpy(states).float(), mask.float()


def compute(texts: list[str], folder: Path, name: str) -> States:
    """Read the states of `texts` from the cache folder, or compute and store them."""
    path = folder / f"text-{name}.npz"
    if not path.exists():
        ids = [encoding.ids[: towers.MAX_TOKENS] for encoding in tokenizer().encode_batch(texts)]
        starts = np.cumsum([0, *map(len, ids)])
        tokens = np.zeros((starts[-1], towers.WIDTH), np.float16)
        pooled = np.zeros((len(ids), towers.WIDTH), np.float32)
        encoder, began = towers.load_encoder().eval(), time.monotonic()
        chunks = by_length(np.diff(starts))
        for number, rows in enumerate(chunks):
            with torch.no_grad():
                input_ids, mask = padded([ids[row] for row in rows])
                states = encoder.lower(input_ids, mask, FROZEN)
                pooled[rows] = encoder.upper(states, mask, FROZEN).numpy()
            for place, row in enumerate(rows):
                tokens[starts[row] : starts[row + 1]] = states[place, : len(ids[row])].numpy()
            if number % 50 == 0:
                left_s = (time.monotonic() - began) * (len(chunks) / (number + 1) - 1)
                print(f"texts {name}: {number}/{len(chunks)}, {left_s:.0f} s left", file=sys.stderr)
        part = path.with_suffix(".part.npz")
        np.savez(part, tokens=tokens, starts=starts, pooled=pooled)
        part.rename(path)
    with np.load(path) as stored:
        return States(stored["tokens"], stored["starts"], stored["pooled"])


def encode(encoder: nn.Module, states: States, rows: NDArray[np.int64]) -> Tensor:
    """Pooled output [B, E] of the tuned upper layers for some texts, in the order of `rows`."""
    chunks = by_length(states.lengths[rows])
    pooled = [encoder.upper(*states.batch(rows[chunk]), FROZEN) for chunk in chunks]
    order = np.concatenate(chunks)
    inverse = np.empty_like(order)
    inverse[order] = np.arange(len(order))
    return torch.cat([part.float() for part in pooled])[torch.from_numpy(inverse)]
