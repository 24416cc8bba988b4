"""Says colour and shape of a drawing by measuring it: no second model has to be believed.

Notable: the shapes stand upright, so how much of its box a shape fills tells them apart: all of it
(rectangle), pi / 4 (circle), half (triangle). The means of real drawings are what is compared with.

Legend of shapes: n drawings, 3 channels, H and W pixels, K names.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

from recipes.image_tokens.data import COLOURS, SHAPES, Drawings

__all__ = ["Judge"]

CONTRAST = 40
"""A drawing in which no pixel differs from the background by more shows nothing."""
NOTHING = -1


@dataclass(frozen=True)
class Judge:
    """The mean colour (K, 3) of each colour's name, and the mean share (K) each shape fills."""

    tint_K3: Tensor
    fill_K: Tensor

    @classmethod
    def of(cls, drawn: Drawings) -> Judge:
        """By drawings of which all words are known."""
        tint_n3, fill_n, _ = _measured(drawn.pixels)
        return cls(
            torch.stack([tint_n3[drawn.colour == at].mean(0) for at in range(len(COLOURS))]),
            torch.stack([fill_n[drawn.shape == at].mean() for at in range(len(SHAPES))]),
        )

    def says(self, pixels: Tensor) -> tuple[Tensor, Tensor]:
        """Colours (n) and shapes (n); -1 where nothing is drawn."""
        tint_n3, fill_n, shown_n = _measured(pixels)
        colour_n = torch.cdist(tint_n3, self.tint_K3).argmin(1)
        shape_n = (fill_n[:, None] - self.fill_K).abs().argmin(1)
        return (
            colour_n.masked_fill(~shown_n, NOTHING),
            shape_n.masked_fill(~shown_n, NOTHING),
        )


def _measured(pixels_n3HW: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """The median colour of the ink (n, 3), the share of its box that it fills, if there is any."""
    background_n311 = pixels_n3HW.flatten(2).median(2).values[:, :, None, None].float()
    far_nHW = (pixels_n3HW.float() - background_n311).abs().amax(1)
    most_n = far_nHW.flatten(1).amax(1)
    ink_nHW = far_nHW > most_n[:, None, None] / 2  # the edge of a blurred shape is half way
    near_nHW = F.avg_pool2d(ink_nHW.float()[:, None], 3, stride=1, padding=1).squeeze(1) * 9
    ink_nHW &= near_nHW > 3.5  # itself and three beside it: no lone dots
    box_n = _extent(ink_nHW.any(2)) * _extent(ink_nHW.any(1))
    fill_n = ink_nHW.flatten(1).sum(1) / box_n.clamp(min=1)
    shown_n = (most_n > CONTRAST) & ink_nHW.flatten(1).any(1)
    tint_n3 = torch.zeros(len(pixels_n3HW), 3)
    for at in torch.nonzero(shown_n)[:, 0].tolist():
        tint_n3[at] = pixels_n3HW[at][:, ink_nHW[at]].median(1).values.float()
    return tint_n3, fill_n, shown_n


def _extent(any_nL: Tensor) -> Tensor:
    """From the first to the last true place (n), both counted."""
    first_n = any_nL.int().argmax(1)
    last_n = any_nL.shape[1] - 1 - any_nL.int().flip(1).argmax(1)
    return (last_n - first_n + 1) * any_nL.any(1)
