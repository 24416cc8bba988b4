"""Gated cross-attention of Flamingo (Alayrac et al. 2022): pictures for a frozen language model.

Notable: both gates start at tanh(0) = 0, so a fresh layer is the identity and the language model
says what it said before; training opens them.

Legend of shapes: B items, S words, K visual tokens, P pictures, W width of the language model,
V width of the visual tokens.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from polymodal.nn.attention import Attention

__all__ = ["GatedCrossAttention", "looks_at_latest"]


class GatedCrossAttention(nn.Module):
    """Words attend to visual tokens, then a feed-forward; each behind a tanh gate.

    Args:
        width: of the words.
        vision_width: of the visual tokens.
        heads: of the attention.
        head_width: of one head; `width / heads` by default.
        expansion: the hidden width of the feed-forward, as a multiple of `width`.
    """

    def __init__(
        self,
        width: int,
        vision_width: int,
        heads: int,
        *,
        head_width: int | None = None,
        expansion: int = 4,
    ) -> None:
        super().__init__()
        self.attention_norm = nn.LayerNorm(width)
        self.attention = Attention(
            width, heads, context_width=vision_width, head_width=head_width, bias=False
        )
        self.attention_gate = nn.Parameter(torch.zeros(1))
        self.feed_forward = nn.Sequential(
            nn.LayerNorm(width),
            nn.Linear(width, expansion * width, bias=False),
            nn.GELU(),
            nn.Linear(expansion * width, width, bias=False),
        )
        self.feed_forward_gate = nn.Parameter(torch.zeros(1))

    def forward(
        self, word_BSW: Tensor, token_BKV: Tensor, looks_BSK: Tensor | None = None
    ) -> Tensor:
        """The words (B, S, W), having looked.

        Args:
            word_BSW: the words.
            token_BKV: the visual tokens of all pictures of an item, one after the other.
            looks_BSK: true where a word may look at a visual token (`looks_at_latest`); everywhere
                by default. The attention adds nothing to a word that may look at none.
        """
        query_BSW = self.attention_norm(word_BSW)
        if looks_BSK is None:
            seen_BSW = self.attention(query_BSW, token_BKV)
        else:
            any_BS1 = looks_BSK.any(2, keepdim=True)
            # A row without any key has no softmax: let it look everywhere, then drop what it saw.
            seen_BSW = self.attention(query_BSW, token_BKV, mask=(looks_BSK | ~any_BS1)[:, None])
            seen_BSW = seen_BSW * any_BS1
        word_BSW = word_BSW + self.attention_gate.tanh() * seen_BSW
        out_BSW: Tensor = word_BSW + self.feed_forward_gate.tanh() * self.feed_forward(word_BSW)
        return out_BSW


def looks_at_latest(picture_BS: Tensor, tokens: int, pictures: int) -> Tensor:
    """Which visual tokens a word looks at: those of the picture that stands before it.

    Flamingo's masking (section 2.4): one picture a word, and the self-attention of the language
    model carries the earlier ones.

    Args:
        picture_BS: true where a picture's placeholder stands in the text.
        tokens: visual tokens of each picture.
        pictures: how many pictures the visual tokens of an item hold (padded to the most).

    Returns:
        (B, S, pictures * tokens), false throughout for words before the first picture.

    Raises:
        ValueError: an item has more placeholders than pictures.
    """
    latest_BS = picture_BS.long().cumsum(1)  # 0 before the first picture
    most = int(latest_BS.max()) if latest_BS.numel() else 0
    if most > pictures:
        raise ValueError(f"an item holds {most} placeholders for {pictures} pictures")
    number_P = torch.arange(1, pictures + 1, device=picture_BS.device)
    return (latest_BS[..., None] == number_P).repeat_interleave(tokens, dim=2)
