"""The Perceiver resampler of Flamingo (Alayrac et al. 2022): any number of tokens to 64 latents.

Legend of shapes: B items, N visual tokens, L latents, V width.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from polymodal.nn.attention import Attention

__all__ = ["PerceiverResampler"]


class PerceiverResampler(nn.Module):
    """Learned latents attend to the visual tokens and to themselves, `depth` times.

    Args:
        width: of the visual tokens and the latents.
        heads: of the attention.
        depth: blocks; 6 in Flamingo.
        latents: how many come out; 64 in Flamingo.
        head_width: of one head; 64 in Flamingo.
        expansion: the hidden width of the feed-forward, as a multiple of `width`.
    """

    def __init__(
        self,
        width: int,
        *,
        heads: int = 8,
        depth: int = 6,
        latents: int = 64,
        head_width: int = 64,
        expansion: int = 4,
    ) -> None:
        super().__init__()
        self.latents = nn.Parameter(torch.randn(latents, width) * 0.02)
        self.blocks = nn.ModuleList(
            [_Block(width, heads, head_width, expansion) for _ in range(depth)]
        )
        self.norm = nn.LayerNorm(width)

    def forward(self, token_BNV: Tensor, mask_BN: Tensor | None = None) -> Tensor:
        """The latents (B, L, V) after looking at the tokens (B, N, V).

        Args:
            token_BNV: visual tokens, of one picture or of several frames one after the other.
            mask_BN: true where there is a token; all by default.
        """
        latent_BLV = self.latents.expand(len(token_BNV), -1, -1)
        mask = None
        if mask_BN is not None:
            own_BL = mask_BN.new_ones(latent_BLV.shape[:2])
            mask = torch.cat([mask_BN, own_BL], 1).bool()[:, None, None, :]
        for block in self.blocks:
            latent_BLV = block(latent_BLV, token_BNV, mask)
        out_BLV: Tensor = self.norm(latent_BLV)
        return out_BLV


class _Block(nn.Module):
    def __init__(self, width: int, heads: int, head_width: int, expansion: int) -> None:
        super().__init__()
        self.token_norm = nn.LayerNorm(width)
        self.latent_norm = nn.LayerNorm(width)
        self.attention = Attention(width, heads, head_width=head_width, bias=False)
        self.feed_forward = nn.Sequential(
            nn.LayerNorm(width),
            nn.Linear(width, expansion * width, bias=False),
            nn.ReLU(),  # the paper's is a squared ReLU, Idefics' published weights are of this one
            nn.Linear(expansion * width, width, bias=False),
        )

    def forward(self, latent_BLV: Tensor, token_BNV: Tensor, mask: Tensor | None) -> Tensor:
        query_BLV = self.latent_norm(latent_BLV)
        # The latents are among the keys, so they see each other too.
        context_BKV = torch.cat([self.token_norm(token_BNV), query_BLV], 1)
        latent_BLV = latent_BLV + self.attention(query_BLV, context_BKV, mask=mask)
        out_BLV: Tensor = latent_BLV + self.feed_forward(latent_BLV)
        return out_BLV
