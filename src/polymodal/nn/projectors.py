"""Projectors: from the tokens of a vision tower to the width of a language model.

Legend of shapes: B pictures, N visual tokens, V width of the vision tower, W width of the language
model, r the side of the square of tokens that a shuffle joins.
"""

from __future__ import annotations

import math

from torch import Tensor, nn

__all__ = ["LinearProjector", "MLPProjector", "PixelShuffleProjector", "pixel_shuffle"]


class LinearProjector(nn.Linear):
    """One linear map, as in LLaVA (Liu et al. 2023a)."""

    def __init__(self, vision_width: int, width: int) -> None:
        super().__init__(vision_width, width)


class MLPProjector(nn.Module):
    """Two linear maps with a GELU between: LLaVA 1.5's mlp2x_gelu (Liu et al. 2023b)."""

    def __init__(self, vision_width: int, width: int) -> None:
        super().__init__()
        self.linear_1 = nn.Linear(vision_width, width)  # named as in the published checkpoints
        self.act = nn.GELU()
        self.linear_2 = nn.Linear(width, width)

    def forward(self, token_BNV: Tensor) -> Tensor:
        """Visual tokens (B, N, V) in the language model's width: (B, N, W)."""
        token_BNW: Tensor = self.linear_2(self.act(self.linear_1(token_BNV)))
        return token_BNW


class PixelShuffleProjector(nn.Module):
    """Squares of r x r tokens joined into one, then a linear map (Idefics3, Laurençon et al. 2024).

    A picture takes r * r times fewer tokens in the language model.
    """

    def __init__(self, vision_width: int, width: int, factor: int = 2) -> None:
        super().__init__()
        self.factor = factor
        self.proj = nn.Linear(vision_width * factor * factor, width, bias=False)

    def forward(self, token_BNV: Tensor) -> Tensor:
        """Visual tokens (B, N, V) of a square grid as (B, N / r / r, W)."""
        token_BNW: Tensor = self.proj(pixel_shuffle(token_BNV, self.factor))
        return token_BNW


def pixel_shuffle(token_BNV: Tensor, factor: int) -> Tensor:
    """Join each square of `factor` x `factor` tokens: (B, N / factor^2, V * factor^2).

    The tokens are a square grid in reading order. Those of a square follow each other in reading
    order too (space to depth; Shi et al. 2016 the other way round).

    Raises:
        ValueError: the tokens are no square grid, or its side is no multiple of `factor`.
    """
    tokens = token_BNV.shape[1]
    side = math.isqrt(tokens)
    if side * side != tokens or side % factor:
        raise ValueError(
            f"{tokens} visual tokens are no square grid whose side is a multiple of {factor}: "
            "leave out the class token, or take another factor"
        )
    grid = token_BNV.unflatten(1, (side // factor, factor, side // factor, factor))
    return grid.permute(0, 1, 3, 2, 4, 5).flatten(3).flatten(1, 2)
