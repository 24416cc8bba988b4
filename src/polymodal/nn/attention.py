"""Multi-head attention of one sequence over another (Vaswani et al. 2017), shared by the blocks.

Legend of shapes: B items, Q queries, K keys, W width of the queries, E width of the keys, H heads,
d width of a head.
"""

from __future__ import annotations

import torch.nn.functional as F
from torch import Tensor, nn

__all__ = ["Attention"]


class Attention(nn.Module):
    """Queries attend to keys; torch's fused kernels do the work.

    Args:
        width: of the queries and of what comes out.
        heads: how many.
        context_width: of the keys and values; `width` by default.
        head_width: of one head; `width / heads` by default.
        bias: whether the maps have one. BERT's do, Flamingo's do not.
        dropout: on the attention weights while training.
    """

    def __init__(
        self,
        width: int,
        heads: int,
        *,
        context_width: int | None = None,
        head_width: int | None = None,
        bias: bool = True,
        dropout: float = 0.0,
    ) -> None:
        super().__init__()
        if head_width is None:
            if width % heads:
                raise ValueError(f"{heads} heads do not share a width of {width} evenly")
            head_width = width // heads
        inner = heads * head_width
        self.heads = heads
        self.dropout = dropout
        self.query = nn.Linear(width, inner, bias=bias)
        self.key = nn.Linear(context_width or width, inner, bias=bias)
        self.value = nn.Linear(context_width or width, inner, bias=bias)
        self.out = nn.Linear(inner, width, bias=bias)

    def forward(
        self,
        x_BQW: Tensor,
        context_BKE: Tensor | None = None,
        *,
        mask: Tensor | None = None,
        causal: bool = False,
    ) -> Tensor:
        """The attended queries (B, Q, W).

        Args:
            x_BQW: the queries.
            context_BKE: what they attend to; themselves by default.
            mask: True where a query may look; broadcasts to (B, heads, Q, K).
            causal: query q looks at keys up to q; not together with a mask.
        """
        context_BKE = x_BQW if context_BKE is None else context_BKE
        mixed_BHQd = F.scaled_dot_product_attention(
            self._split(self.query(x_BQW)),
            self._split(self.key(context_BKE)),
            self._split(self.value(context_BKE)),
            attn_mask=mask,
            dropout_p=self.dropout if self.training else 0.0,
            is_causal=causal,
        )
        attended_BQW: Tensor = self.out(mixed_BHQd.transpose(1, 2).flatten(2))
        return attended_BQW

    def _split(self, x_BTI: Tensor) -> Tensor:
        return x_BTI.unflatten(2, (self.heads, -1)).transpose(1, 2)
