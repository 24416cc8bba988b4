"""Three ways to join two modalities without a language model: late, early and bottleneck fusion.

Legend of shapes: B items, N tokens of a picture, S words, K bottleneck tokens, W width, E width of
an encoder's vector, O numbers out.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from polymodal.nn.transformer import Block

__all__ = ["BottleneckFusion", "EarlyFusion", "LateFusion"]


class LateFusion(nn.Module):
    """Each modality is a vector before they meet (Antol et al. 2015 multiply them so).

    What goes into the last layers: both vectors and their product, so that neither is lost where
    the other is small.

    Args:
        image_width: of the picture's vector.
        text_width: of the text's.
        width: both are brought to it.
        out: how many numbers come out (classes, or a vector's width).
        dropout: before the last map.
    """

    def __init__(
        self, image_width: int, text_width: int, *, width: int, out: int, dropout: float = 0.0
    ) -> None:
        super().__init__()
        self.image = nn.Linear(image_width, width)
        self.text = nn.Linear(text_width, width)
        self.head = nn.Sequential(
            nn.LayerNorm(3 * width),
            nn.Linear(3 * width, width),
            nn.GELU(),
            nn.Dropout(dropout),
            nn.Linear(width, out),
        )

    def forward(self, image_BE: Tensor, text_BE: Tensor) -> Tensor:
        """The joined pairs: (B, O)."""
        image_BW, text_BW = self.image(image_BE), self.text(text_BE)
        out_BO: Tensor = self.head(torch.cat([image_BW, text_BW, image_BW * text_BW], 1))
        return out_BO


class EarlyFusion(nn.Module):
    """Tokens of both in one sequence from the first block on (Li et al. 2019; Kim et al. 2021).

    Args:
        width: of all tokens.
        depth: blocks.
        heads: of the attention.
        dropout: while training.
    """

    def __init__(self, width: int, *, depth: int, heads: int, dropout: float = 0.0) -> None:
        super().__init__()
        self.kind = nn.Parameter(torch.randn(2, width) * 0.02)  # which modality a token is of
        self.blocks = nn.ModuleList([Block(width, heads, dropout=dropout) for _ in range(depth)])
        self.norm = nn.LayerNorm(width)

    def forward(
        self, token_BNW: Tensor, word_BSW: Tensor, mask_BS: Tensor | None = None
    ) -> tuple[Tensor, Tensor]:
        """The tokens of the picture and the words, each having seen all.

        Args:
            token_BNW: the picture's tokens, their positions added.
            word_BSW: the words, their positions added.
            mask_BS: true where there is a word; all by default.
        """
        tokens = token_BNW.shape[1]
        x_BTW = torch.cat([token_BNW + self.kind[0], word_BSW + self.kind[1]], 1)
        mask_BT = None
        if mask_BS is not None:
            mask_BT = torch.cat([mask_BS.new_ones(token_BNW.shape[:2]), mask_BS], 1)
        for block in self.blocks:
            x_BTW = block(x_BTW, mask_BT)
        x_BTW = self.norm(x_BTW)
        return x_BTW[:, :tokens], x_BTW[:, tokens:]


class BottleneckFusion(nn.Module):
    """Two streams that meet only in a few shared tokens (Nagrani et al. 2021).

    In each block a stream attends to itself and to the K shared tokens; what the two streams made
    of those is averaged. The cost grows with N^2 + S^2 and not with (N + S)^2.

    Args:
        width: of all tokens.
        depth: blocks, each with weights of its own for each stream.
        heads: of the attention.
        bottleneck: K; 4 in the paper.
        dropout: while training.
    """

    def __init__(
        self, width: int, *, depth: int, heads: int, bottleneck: int = 4, dropout: float = 0.0
    ) -> None:
        super().__init__()
        self.shared = nn.Parameter(torch.randn(bottleneck, width) * 0.02)
        self.image_blocks, self.text_blocks = (
            nn.ModuleList([Block(width, heads, dropout=dropout) for _ in range(depth)])
            for _ in range(2)
        )
        self.image_norm, self.text_norm = nn.LayerNorm(width), nn.LayerNorm(width)

    def forward(
        self, token_BNW: Tensor, word_BSW: Tensor, mask_BS: Tensor | None = None
    ) -> tuple[Tensor, Tensor, Tensor]:
        """The picture's tokens, the words and the shared tokens (B, K, W) after the last block.

        Args:
            token_BNW: the picture's tokens, their positions added.
            word_BSW: the words, their positions added.
            mask_BS: true where there is a word; all by default.
        """
        shared_BKW = self.shared.expand(len(token_BNW), -1, -1)
        mask_BT = None
        if mask_BS is not None:
            mask_BT = torch.cat([mask_BS, mask_BS.new_ones(shared_BKW.shape[:2])], 1)
        tokens, words = token_BNW.shape[1], word_BSW.shape[1]
        for image_block, text_block in zip(self.image_blocks, self.text_blocks, strict=True):
            image_BTW = image_block(torch.cat([token_BNW, shared_BKW], 1))
            text_BTW = text_block(torch.cat([word_BSW, shared_BKW], 1), mask_BT)
            token_BNW, word_BSW = image_BTW[:, :tokens], text_BTW[:, :words]
            shared_BKW = (image_BTW[:, tokens:] + text_BTW[:, words:]) / 2
        return self.image_norm(token_BNW), self.text_norm(word_BSW), shared_BKW
