"""A picture as a grid of codes (VQ-VAE, van den Oord et al. 2017), for autoregressive models.

Notable: the codebook is not trained by gradients but as the running mean of what chose each code
(appendix A.1 there), and a code that nothing chooses any more restarts at a vector of the batch
(Dhariwal et al. 2020), so that the whole codebook stays in use.

Legend of shapes: B pictures, C channels, H and W pixels, D width of a code, K codes, h and w the
grid of codes, N vectors (B * h * w).
"""

from __future__ import annotations

from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn

__all__ = ["Quantized", "VQTokenizer", "VectorQuantizer"]


class Quantized(NamedTuple):
    """Vectors, each replaced by its nearest code."""

    code_ND: Tensor  # gradients pass straight through to the vectors
    ids_N: Tensor
    commitment: Tensor  # the mean squared distance of the vectors to their codes


class VectorQuantizer(nn.Module):
    """A codebook that follows the vectors it is shown while training.

    Args:
        codes: K.
        width: D.
        decay: of the running means; 0.99 in the paper.
        restart_below: a code chosen by fewer vectors a batch than this, on the running mean,
            restarts; 1 in Dhariwal et al. A batch holds several times more vectors than codes.
    """

    code_KD: Tensor
    count_K: Tensor
    sum_KD: Tensor

    def __init__(
        self, codes: int, width: int, *, decay: float = 0.99, restart_below: float = 1.0
    ) -> None:
        super().__init__()
        if codes < 2 or not 0 < decay < 1:
            raise ValueError(f"two codes or more, and a decay between 0 and 1: {codes}, {decay}")
        self.decay = decay
        self.restart_below = restart_below
        code_KD = torch.randn(codes, width)
        self.register_buffer("code_KD", code_KD)
        self.register_buffer("count_K", torch.ones(codes))
        self.register_buffer("sum_KD", code_KD.clone())

    def forward(self, vector_ND: Tensor) -> Quantized:
        """The nearest code of each vector; while training, the codebook follows."""
        ids_N = self.nearest(vector_ND)
        code_ND = self.code_KD[ids_N]
        commitment = F.mse_loss(vector_ND, code_ND)
        if self.training:
            self._follow(vector_ND.detach(), ids_N)
        return Quantized(vector_ND + (code_ND - vector_ND).detach(), ids_N, commitment)

    @torch.no_grad()
    def nearest(self, vector_ND: Tensor) -> Tensor:
        """The id of the code nearest to each vector (N, D): (N)."""
        # |v - c|^2 without |v|^2, which is the same for all codes.
        distance_NK = self.code_KD.pow(2).sum(1) - 2 * vector_ND @ self.code_KD.T
        return distance_NK.argmin(1)

    @torch.no_grad()
    def _follow(self, vector_ND: Tensor, ids_N: Tensor) -> None:
        codes = len(self.code_KD)
        chosen_K = torch.bincount(ids_N, minlength=codes).to(self.count_K.dtype)
        summed_KD = torch.zeros_like(self.sum_KD).index_add_(0, ids_N, vector_ND.to(self.sum_KD))
        self.count_K.lerp_(chosen_K, 1 - self.decay)
        self.sum_KD.lerp_(summed_KD, 1 - self.decay)
        dead_K = self.count_K < self.restart_below
        drawn_K = torch.randint(len(vector_ND), (codes,), device=vector_ND.device)
        self.sum_KD.copy_(torch.where(dead_K[:, None], vector_ND[drawn_K], self.sum_KD))
        self.count_K.copy_(torch.where(dead_K, 1.0, self.count_K))
        self.code_KD.copy_(self.sum_KD / self.count_K[:, None])


class VQTokenizer(nn.Module):
    """Pictures to grids of codes and back: convolutions, a codebook, convolutions.

    Args:
        codes: how many there are.
        width: of a code.
        halvings: how often the sides are halved: a code stands for 2^halvings pixels a side.
        hidden: channels of the convolutions.
        channels: of the pictures.
        commitment: the weight of the commitment loss; 0.25 in the paper.
    """

    def __init__(
        self,
        *,
        codes: int = 512,
        width: int = 64,
        halvings: int = 2,
        hidden: int = 128,
        channels: int = 3,
        commitment: float = 0.25,
    ) -> None:
        super().__init__()
        self.commitment = commitment
        self.side = 2**halvings
        down: list[nn.Module] = [nn.Conv2d(channels, hidden, 3, padding=1)]
        up: list[nn.Module] = [nn.Conv2d(width, hidden, 3, padding=1), _Residual(hidden)]
        for _ in range(halvings):
            down += [nn.SiLU(), nn.Conv2d(hidden, hidden, 4, stride=2, padding=1)]
            up += [nn.SiLU(), nn.ConvTranspose2d(hidden, hidden, 4, stride=2, padding=1)]
        self.encoder = nn.Sequential(*down, _Residual(hidden), nn.Conv2d(hidden, width, 1))
        self.decoder = nn.Sequential(*up, nn.SiLU(), nn.Conv2d(hidden, channels, 3, padding=1))
        self.quantizer = VectorQuantizer(codes, width)

    def forward(self, picture_BCHW: Tensor) -> tuple[Tensor, Tensor]:
        """The rebuilt pictures (B, C, H, W) and the loss: squared error and commitment."""
        vector_BhwD = self._encoded(picture_BCHW)
        quantized = self.quantizer(vector_BhwD.flatten(0, 2))
        rebuilt_BCHW = self._decoded(quantized.code_ND.view_as(vector_BhwD))
        loss = F.mse_loss(rebuilt_BCHW, picture_BCHW) + self.commitment * quantized.commitment
        return rebuilt_BCHW, loss

    @torch.no_grad()
    def encode(self, picture_BCHW: Tensor) -> Tensor:
        """The codes of pictures: (B, h, w).

        Raises:
            ValueError: sides that are no multiple of a code's.
        """
        vector_BhwD = self._encoded(picture_BCHW)
        return self.quantizer.nearest(vector_BhwD.flatten(0, 2)).view(vector_BhwD.shape[:3])

    @torch.no_grad()
    def decode(self, ids_Bhw: Tensor) -> Tensor:
        """The pictures (B, C, H, W) that codes stand for."""
        return self._decoded(self.quantizer.code_KD[ids_Bhw])

    def _encoded(self, picture_BCHW: Tensor) -> Tensor:
        height, width = picture_BCHW.shape[2:]
        if height % self.side or width % self.side:
            raise ValueError(
                f"pictures of {height} x {width} px; a code stands for {self.side} px a side: "
                "resize or pad to a multiple"
            )
        vector_BhwD: Tensor = self.encoder(picture_BCHW).permute(0, 2, 3, 1)
        return vector_BhwD

    def _decoded(self, code_BhwD: Tensor) -> Tensor:
        picture_BCHW: Tensor = self.decoder(code_BhwD.permute(0, 3, 1, 2))
        return picture_BCHW


class _Residual(nn.Module):
    def __init__(self, width: int) -> None:
        super().__init__()
        self.part = nn.Sequential(
            nn.SiLU(),
            nn.Conv2d(width, width, 3, padding=1),
            nn.SiLU(),
            nn.Conv2d(width, width, 1),
        )

    def forward(self, x_BDhw: Tensor) -> Tensor:
        added_BDhw: Tensor = x_BDhw + self.part(x_BDhw)
        return added_BDhw
