"""A plain transformer, for encoders and for small language models (pre-norm, as GPT-2's).

Legend of shapes: B items, S length, W width, C vocabulary.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from polymodal.nn.attention import Attention

__all__ = ["Block", "CausalTransformer"]


class Block(nn.Module):
    """Attention, then a feed-forward, each on the normalised input and added to it.

    Args:
        width: of the sequence.
        heads: of the attention.
        expansion: the hidden width of the feed-forward, as a multiple of `width`.
        dropout: on what attention and feed-forward add.
    """

    def __init__(self, width: int, heads: int, *, expansion: int = 4, dropout: float = 0.0) -> None:
        super().__init__()
        self.attention_norm = nn.LayerNorm(width)
        self.attention = Attention(width, heads)
        self.feed_forward = nn.Sequential(
            nn.LayerNorm(width),
            nn.Linear(width, expansion * width),
            nn.GELU(),
            nn.Linear(expansion * width, width),
            nn.Dropout(dropout),
        )
        self.drop = nn.Dropout(dropout)

    def forward(
        self, x_BSW: Tensor, mask_BS: Tensor | None = None, *, causal: bool = False
    ) -> Tensor:
        """The sequence (B, S, W) one block on.

        Args:
            x_BSW: the sequence.
            mask_BS: true where there is a token; all by default.
            causal: a token looks at none after it. With a mask, padding stands on the right.
        """
        mask = None if mask_BS is None or causal else mask_BS.bool()[:, None, None, :]
        attended_BSW = self.attention(self.attention_norm(x_BSW), mask=mask, causal=causal)
        x_BSW = x_BSW + self.drop(attended_BSW)
        out_BSW: Tensor = x_BSW + self.feed_forward(x_BSW)
        return out_BSW


class CausalTransformer(nn.Module):
    """A small language model over ids (of words, or of a picture's codes), GPT-2's shape.

    Args:
        vocabulary: how many ids.
        width: of the sequence.
        depth: blocks.
        heads: of the attention.
        positions: the longest sequence.
        dropout: while training.
    """

    def __init__(
        self,
        vocabulary: int,
        *,
        width: int,
        depth: int,
        heads: int,
        positions: int,
        dropout: float = 0.0,
    ) -> None:
        super().__init__()
        self.embedding = nn.Embedding(vocabulary, width)
        self.position = nn.Embedding(positions, width)
        self.blocks = nn.ModuleList([Block(width, heads, dropout=dropout) for _ in range(depth)])
        self.norm = nn.LayerNorm(width)
        self.head = nn.Linear(width, vocabulary, bias=False)
        self.head.weight = self.embedding.weight
        for embedding in (self.embedding, self.position):
            nn.init.normal_(embedding.weight, std=0.02)

    def hidden(self, embedding_BSW: Tensor) -> Tensor:
        """The last hidden states (B, S, W) of embedded tokens, words and pictures alike.

        Raises:
            ValueError: more tokens than positions.
        """
        length, most = embedding_BSW.shape[1], self.position.num_embeddings
        if length > most:
            raise ValueError(f"{length} tokens, and the model has {most} positions")
        x_BSW = embedding_BSW + self.position.weight[:length]
        for block in self.blocks:
            x_BSW = block(x_BSW, causal=True)
        out_BSW: Tensor = self.norm(x_BSW)
        return out_BSW

    def forward(self, ids_BS: Tensor) -> Tensor:
        """The logits (B, S, C) of the token after each."""
        logit_BSC: Tensor = self.head(self.hidden(self.embedding(ids_BS)))
        return logit_BSC

    def loss(self, ids_BS: Tensor) -> Tensor:
        """The mean cross-entropy, in nats, of each token after the first."""
        logit_BCS = self(ids_BS[:, :-1]).transpose(1, 2)
        return F.cross_entropy(logit_BCS, ids_BS[:, 1:])

    @torch.no_grad()
    def generate(
        self, ids_BS: Tensor, tokens: int, *, temperature: float = 1.0, top: int | None = None
    ) -> Tensor:
        """The ids followed by `tokens` more, sampled one by one.

        Args:
            ids_BS: what stands before.
            tokens: how many to add.
            temperature: 0 takes the likeliest each time.
            top: sample among the likeliest `top` only.
        """
        for _ in range(tokens):
            logit_BC = self(ids_BS)[:, -1]
            if temperature == 0:
                next_B1 = logit_BC.argmax(1, keepdim=True)
            else:
                if top is not None:
                    least_B1 = logit_BC.topk(top).values[:, -1:]
                    logit_BC = logit_BC.masked_fill(logit_BC < least_B1, -torch.inf)
                next_B1 = torch.multinomial((logit_BC / temperature).softmax(1), 1)
            ids_BS = torch.cat([ids_BS, next_B1], 1)
        return ids_BS
