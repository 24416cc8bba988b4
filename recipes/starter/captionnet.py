"""The captioner: a projector from the tower's grid and a small transformer decoder.

Notable: all sequences of one photograph (captions, questions) share its keys and values, and
matrix products run over real tokens only; padding exists inside attention alone. Word vectors
start as MiniLM's and are tied with the output layer.

Shapes: B photographs, S sequences of each, T tokens, R real tokens in all, D width, H heads,
M places of the picture (64 and one mean), V words, L layers, P tokens already read.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from recipes.starter import captiongrids

LONGEST = 32


@dataclass(frozen=True)
class Shape:
    """Sizes of the decoder."""

    words: int
    width: int = 256
    heads: int = 4
    layers: int = 3
    inner: int = 512
    dropout: float = 0.2


class Layer(nn.Module):
    """Self-attention, attention to the picture, feed-forward; normalised before each."""

    def __init__(self, shape: Shape) -> None:
        super().__init__()
        width = shape.width
        self.norm1, self.norm2, self.norm3 = (nn.LayerNorm(width) for _ in range(3))
        self.own = nn.Linear(width, 3 * width)
        self.own_out = nn.Linear(width, width)
        self.query = nn.Linear(width, width)
        self.query_out = nn.Linear(width, width)
        self.up = nn.Linear(width, shape.inner)
        self.down = nn.Linear(shape.inner, width)
        self.drop = nn.Dropout(shape.dropout)

    def after_own(self, x: Tensor, attended: Tensor) -> Tensor:
        """Add what self-attention found."""
        return x + self.drop(self.own_out(attended))

    def after_query(self, x: Tensor, attended: Tensor) -> Tensor:
        """Add what the picture gave, and feed forward."""
        x = x + self.drop(self.query_out(attended))
        return x + self.drop(self.down(self.drop(F.gelu(self.up(self.norm3(x))))))


class Captioner(nn.Module):
    """Reduced grids and token numbers to scores of the next word."""

    def __init__(self, shape: Shape) -> None:
        super().__init__()
        self.shape = shape
        self.project = nn.Linear(captiongrids.DIRECTIONS, shape.width)
        self.norm_places = nn.LayerNorm(shape.width)
        self.places = nn.Parameter(torch.randn(captiongrids.PLACES + 1, shape.width) * 0.02)
        self.keys_values = nn.Linear(shape.width, shape.layers * 2 * shape.width)
        self.words = nn.Embedding(shape.words, shape.width)
        nn.init.normal_(self.words.weight, std=0.05)
        self.positions = nn.Parameter(torch.randn(LONGEST, shape.width) * 0.02)
        self.layers = nn.ModuleList([Layer(shape) for _ in range(shape.layers)])
        self.norm = nn.LayerNorm(shape.width)
        self.drop = nn.Dropout(shape.dropout)
        self.bias = nn.Parameter(torch.zeros(shape.words))

    def look(self, grid_BNK: Tensor) -> Tensor:
        """Keys and values of the picture for every layer: [L, 2, B, H, M, D / H]."""
        x = self.project(grid_BNK)
        x = torch.cat([x, x.mean(1, keepdim=True)], 1)
        x = self.drop(self.norm_places(x) + self.places)
        shape = self.shape
        x = self.keys_values(x).unflatten(2, (shape.layers, 2, shape.heads, -1))
        return x.permute(2, 3, 0, 4, 1, 5)

    def score(self, x: Tensor) -> Tensor:
        """Logits over words."""
        return self.norm(x) @ self.words.weight.T + self.bias

    def forward(self, sight: Tensor, ids_BST: Tensor, real: Tensor) -> Tensor:
        """Logits [R, V] of all real tokens; `real` are their places in the flattened ids."""
        B, S, T = ids_BST.shape
        H = self.shape.heads
        place = torch.arange(T).expand(B, S, T).reshape(-1)[real]
        x = self.drop(self.words(ids_BST.reshape(-1)[real]) * 4.0 + self.positions[place])

        def padded(y: Tensor) -> Tensor:
            return y.new_zeros(B * S * T, y.shape[1]).index_copy(0, real, y)

        for number, layer in enumerate(self.layers):
            q, k, v = (
                padded(layer.own(layer.norm1(x))).view(B * S, T, 3, H, -1).permute(2, 0, 3, 1, 4)
            )
            y = F.scaled_dot_product_attention(q, k, v, is_causal=True)
            x = layer.after_own(x, y.transpose(1, 2).reshape(B * S * T, -1)[real])
            q = padded(layer.query(layer.norm2(x))).view(B, S * T, H, -1).transpose(1, 2)
            y = F.scaled_dot_product_attention(q, sight[number, 0], sight[number, 1])
            x = layer.after_query(x, y.transpose(1, 2).reshape(B * S * T, -1)[real])
        return self.score(x)

    def step(self, ids_BST: Tensor, sight: Tensor, past: Tensor) -> tuple[Tensor, Tensor]:
        """Log-probabilities [B, S, T, V] after each token, and the past with these tokens added.

        `past` is [L, 2, B, S, H, P, D / H]: keys and values of the P tokens read before.
        """
        B, S, T = ids_BST.shape
        H, P = self.shape.heads, past.shape[5]
        x = self.words(ids_BST) * 4.0 + self.positions[P : P + T]
        # A token sees all of the past, itself and the new ones before it.
        seen_TK = torch.ones(T, P + T, dtype=torch.bool).tril(P)
        hidden = torch.where(seen_TK, 0.0, -1e9)
        grown = []
        for number, layer in enumerate(self.layers):
            q, k, v = layer.own(layer.norm1(x)).view(B, S, T, 3, H, -1).permute(3, 0, 1, 4, 2, 5)
            k = torch.cat([past[number, 0], k], 3)
            v = torch.cat([past[number, 1], v], 3)
            grown.append(torch.stack([k, v]))
            scale = q.shape[-1] ** -0.5
            weights = ((q @ k.transpose(-1, -2)) * scale + hidden).softmax(-1)
            x = layer.after_own(x, (weights @ v).transpose(2, 3).reshape(B, S, T, -1))
            q = layer.query(layer.norm2(x)).view(B, S * T, H, -1).transpose(1, 2)
            weights = ((q @ sight[number, 0].transpose(-1, -2)) * scale).softmax(-1)
            y = (weights @ sight[number, 1]).transpose(1, 2).reshape(B, S, T, -1)
            x = layer.after_query(x, y)
        return self.score(x).log_softmax(-1), torch.stack(grown)

    def empty_past(self, photographs: int, sequences: int) -> Tensor:
        """The past before the first token."""
        shape = self.shape
        sizes = (shape.layers, 2, photographs, sequences, shape.heads, 0)
        return torch.zeros(*sizes, shape.width // shape.heads)
