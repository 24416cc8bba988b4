"""The Q-Former of BLIP-2 (Li et al. 2023): learned queries read a picture, with or without words.

Notable: it is a BERT (post-norm) with two feed-forwards, one for the queries and one for words, and
in every second layer the queries attend to the picture. Queries and words meet in the
self-attention only, so which of them may see which is one mask.

Legend of shapes: B items, N visual tokens, V their width, Q queries, S words, W width,
C vocabulary.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from polymodal.nn.attention import Attention

__all__ = ["QFormer"]


class QFormer(nn.Module):
    """Reads pictures with queries, reads words, or both together.

    Args:
        vision_width: V.
        vocabulary: word ids; 30,522 with BERT's tokenizer. 0 makes a Q-Former without words.
        width: W.
        depth: layers.
        heads: of the attention.
        queries: how many vectors a picture becomes.
        every: a layer in so many attends to the picture, the first included.
        positions: the longest text.
        dropout: while training.
    """

    def __init__(
        self,
        vision_width: int,
        *,
        vocabulary: int = 30_522,
        width: int = 768,
        depth: int = 12,
        heads: int = 12,
        queries: int = 32,
        every: int = 2,
        positions: int = 512,
        dropout: float = 0.1,
    ) -> None:
        super().__init__()
        self.query = nn.Parameter(torch.randn(queries, width) * 0.02)
        self.norm = nn.LayerNorm(width, eps=1e-12)
        self.drop = nn.Dropout(dropout)
        words = vocabulary > 0
        if words:
            self.embedding = nn.Embedding(vocabulary, width)
            self.position = nn.Embedding(positions, width)
            nn.init.normal_(self.embedding.weight, std=0.02)
            nn.init.normal_(self.position.weight, std=0.02)
        self.layers = nn.ModuleList(
            [
                _Layer(
                    width,
                    heads,
                    vision_width=vision_width if layer % every == 0 else None,
                    words=words,
                    dropout=dropout,
                )
                for layer in range(depth)
            ]
        )

    def look(self, token_BNV: Tensor, mask_BN: Tensor | None = None) -> Tensor:
        """What the queries (B, Q, W) make of the pictures.

        Args:
            token_BNV: visual tokens.
            mask_BN: true where there is one; all by default.
        """
        x_BQW = self.drop(self.norm(self.query.expand(len(token_BNV), -1, -1)))
        return self._run(x_BQW, x_BQW.shape[1], token_BNV, mask_BN=mask_BN)

    def read(self, ids_BS: Tensor, mask_BS: Tensor | None = None) -> Tensor:
        """The words (B, S, W) on their own; `mask_BS` is true where there is a word."""
        mask = None if mask_BS is None else mask_BS.bool()[:, None, None, :]
        return self._run(self.drop(self.norm(self._embed(ids_BS))), 0, None, mask=mask)

    def look_and_read(
        self,
        token_BNV: Tensor,
        ids_BS: Tensor,
        mask_BS: Tensor | None = None,
        *,
        causal: bool = False,
        mask_BN: Tensor | None = None,
    ) -> tuple[Tensor, Tensor]:
        """Queries (B, Q, W) and words (B, S, W) that see each other.

        Args:
            token_BNV: visual tokens.
            ids_BS: word ids.
            mask_BS: true where there is a word; all by default.
            causal: to write: words see the queries and earlier words, queries see no words.
            mask_BN: true where there is a visual token; all by default.
        """
        queries, words = len(self.query), ids_BS.shape[1]
        query_BQW = self.query.expand(len(ids_BS), -1, -1)
        x_BTW = self.drop(self.norm(torch.cat([query_BQW, self._embed(ids_BS)], 1)))
        if mask_BS is None:
            mask_BS = torch.ones_like(ids_BS)
        seen_BT = torch.cat([mask_BS.new_ones(query_BQW.shape[:2]), mask_BS], 1).bool()
        mask = seen_BT[:, None, None, :]
        if causal:
            allowed_TT = torch.ones(queries + words, queries + words, device=ids_BS.device).tril()
            allowed_TT[:queries, :queries] = 1
            mask = mask & allowed_TT.bool()
        x_BTW = self._run(x_BTW, queries, token_BNV, mask=mask, mask_BN=mask_BN)
        return x_BTW[:, :queries], x_BTW[:, queries:]

    def _embed(self, ids_BS: Tensor) -> Tensor:
        if not hasattr(self, "embedding"):
            raise ValueError("this Q-Former reads no words: make it with a vocabulary")
        length, most = ids_BS.shape[1], self.position.num_embeddings
        if length > most:
            raise ValueError(f"{length} words, and the Q-Former has {most} positions")
        embedded_BSW: Tensor = self.embedding(ids_BS) + self.position.weight[:length]
        return embedded_BSW

    def _run(
        self,
        x_BTW: Tensor,
        queries: int,
        token_BNV: Tensor | None,
        *,
        mask: Tensor | None = None,
        mask_BN: Tensor | None = None,
    ) -> Tensor:
        looks = None if mask_BN is None else mask_BN.bool()[:, None, None, :]
        for layer in self.layers:
            x_BTW = layer(x_BTW, queries, token_BNV, mask, looks)
        return x_BTW


class _Layer(nn.Module):
    def __init__(
        self, width: int, heads: int, *, vision_width: int | None, words: bool, dropout: float
    ) -> None:
        super().__init__()
        self.attention = _Added(Attention(width, heads, dropout=dropout), width, dropout)
        self.cross = None
        if vision_width is not None:
            cross = Attention(width, heads, context_width=vision_width, dropout=dropout)
            self.cross = _Added(cross, width, dropout)
        self.query_feed_forward = _Added(_feed_forward(width), width, dropout)
        self.word_feed_forward = _Added(_feed_forward(width), width, dropout) if words else None

    def forward(
        self,
        x_BTW: Tensor,
        queries: int,
        token_BNV: Tensor | None,
        mask: Tensor | None,
        looks: Tensor | None,
    ) -> Tensor:
        x_BTW = self.attention(x_BTW, mask=mask)
        query_BQW, word_BSW = x_BTW[:, :queries], x_BTW[:, queries:]
        parts = []
        if queries:
            if self.cross is not None:
                query_BQW = self.cross(query_BQW, token_BNV, mask=looks)
            parts.append(self.query_feed_forward(query_BQW))
        if word_BSW.shape[1]:
            assert self.word_feed_forward is not None
            parts.append(self.word_feed_forward(word_BSW))
        return torch.cat(parts, 1) if len(parts) > 1 else parts[0]


class _Added(nn.Module):
    """What a part makes of its input, added to it and normalised (post-norm)."""

    def __init__(self, part: nn.Module, width: int, dropout: float) -> None:
        super().__init__()
        self.part = part
        self.drop = nn.Dropout(dropout)
        self.norm = nn.LayerNorm(width, eps=1e-12)

    def forward(
        self, x_BTW: Tensor, context_BNV: Tensor | None = None, **options: Tensor | None
    ) -> Tensor:
        made_BTW = self.part(x_BTW, context_BNV, **options) if options else self.part(x_BTW)
        added_BTW: Tensor = self.norm(x_BTW + self.drop(made_BTW))
        return added_BTW


def _feed_forward(width: int) -> nn.Sequential:
    return nn.Sequential(nn.Linear(width, 4 * width), nn.GELU(), nn.Linear(4 * width, width))
