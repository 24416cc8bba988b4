"""The tokenizer and the model over its codes, each by the package's trainer, so each resumes.

Legend of shapes: B drawings, S a sequence of two words and the codes, K codes, D their width,
N vectors, h x w the grid of codes.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from polymodal.nn.transformer import CausalTransformer
from polymodal.nn.vq import Quantized, VQTokenizer
from polymodal.training.loading import Batch, Loader
from polymodal.training.runfolder import begun
from polymodal.training.settings import Recipe
from polymodal.training.trainer import Trainer
from recipes.image_tokens.data import COLOURS, WORDS, Drawings, Rows, fingerprint, stacked
from recipes.image_tokens.measure import bits_a_code, psnr_db
from recipes.image_tokens.settings import DrawingRecipe, TokenizerRecipe

__all__ = ["TrainedCodebook", "Where", "drawer", "sequences", "tokenizer"]

FOLD = 4
"""Convolutions at a sixteenth of the places cost a fraction, and these drawings have few edges."""


@dataclass(frozen=True)
class Where:
    """Where a stage is trained, and whether it goes on."""

    folder: Path
    say: Callable[[str], None]
    resume: bool = False
    accept_changes: bool = False


class TrainedCodebook(nn.Module):
    """A codebook trained by gradients (van den Oord et al. 2017, equation 3), to compare with.

    Fits the place of `VectorQuantizer`. Its loss |sg(v) - c|^2 has weight one there; the tokenizer
    weights what it is given with the commitment's weight, so it is divided by that here.
    """

    def __init__(self, codes: int, width: int, commitment: float) -> None:
        super().__init__()
        self.code_KD = nn.Parameter(torch.randn(codes, width))
        self.commitment = commitment

    def forward(self, vector_ND: Tensor) -> Quantized:
        ids_N = self.nearest(vector_ND)
        code_ND = self.code_KD[ids_N]
        commitment = F.mse_loss(vector_ND, code_ND.detach())
        followed = F.mse_loss(code_ND, vector_ND.detach()) / self.commitment
        through_ND = vector_ND + (code_ND - vector_ND).detach()
        return Quantized(through_ND, ids_N, commitment + followed)

    @torch.no_grad()
    def nearest(self, vector_ND: Tensor) -> Tensor:
        return torch.cdist(vector_ND, self.code_KD).argmin(1)


@dataclass
class _Fitting:
    """Fits `polymodal.training.trainer.Task`: a loss of a batch, a score of the whole."""

    model: nn.Module
    loader: Loader
    device: torch.device
    loss: Callable[..., Tensor]
    score: Callable[[], dict[str, float]]

    def step(self, batch: Batch, scale: float) -> Tensor:
        loss = self.loss(*batch.inputs)
        (loss * scale).backward()
        return loss.detach()

    def after_step(self) -> None:
        """Nothing is clamped."""

    def validate(self) -> dict[str, float]:
        return self.score()


def _fit(
    model: nn.Module,
    columns: tuple[Tensor, ...],
    loss: Callable[..., Tensor],
    score: Callable[[], dict[str, float]],
    *,
    recipe: Recipe,
    where: Where,
    about: dict[str, str],
) -> None:
    resume = where.resume and (where.folder / "run.json").is_file()  # stages come one by one
    run = begun(
        where.folder,
        where.say,
        recipe,
        about,
        resume=resume,
        accept_changes=where.accept_changes,
    )
    loader = Loader(Rows(columns), stacked, recipe.batch, recipe.seed)
    task = _Fitting(model, loader, torch.device("cpu"), loss, score)
    Trainer(task, recipe, run).run()
    model.eval()


def _on(train: tuple[Tensor, ...], dev: tuple[Tensor, ...]) -> dict[str, str]:
    return {
        "model": "random weights",
        "data": fingerprint(*train),
        "validation": fingerprint(*dev),
    }


def tokenizer(train: Drawings, dev: Drawings, recipe: TokenizerRecipe, where: Where) -> VQTokenizer:
    """A tokenizer of `folded` pictures, trained to rebuild."""
    torch.manual_seed(recipe.seed)
    model = VQTokenizer(
        codes=recipe.codes,
        width=recipe.width,
        halvings=recipe.halvings,
        hidden=recipe.hidden,
        channels=3 * FOLD * FOLD,
    )
    if recipe.codebook == "means":
        model.quantizer.restart_below = 0.0
    elif recipe.codebook == "gradients":
        model.quantizer = TrainedCodebook(recipe.codes, recipe.width, model.commitment)

    def loss(pixels_BCHW: Tensor) -> Tensor:
        value: Tensor = model(folded(pixels_BCHW))[1]
        return value

    def score() -> dict[str, float]:
        return {"psnr_db": psnr_db(dev.pixels, rebuilt(model, dev.pixels))}

    about = _on((train.pixels,), (dev.pixels,))
    _fit(model, (train.pixels,), loss, score, recipe=recipe, where=where, about=about)
    return model


def scaled(pixels_BCHW: Tensor) -> Tensor:
    """Bytes as numbers between -1 and 1."""
    return pixels_BCHW.float() / 127.5 - 1


def folded(pixels_BCHW: Tensor) -> Tensor:
    """Bytes as what a tokenizer takes: blocks of FOLD x FOLD pixels, a place with many channels."""
    return F.pixel_unshuffle(scaled(pixels_BCHW), FOLD)


def unfolded(picture_BCHW: Tensor) -> Tensor:
    """The inverse of `folded`, for what a decoder gives."""
    return ((F.pixel_shuffle(picture_BCHW, FOLD).clamp(-1, 1) + 1) * 127.5).round().byte()


def codes_of(model: VQTokenizer, pixels: Tensor) -> Tensor:
    """The codes (n, h, w) of pictures in bytes."""
    return torch.cat([model.encode(folded(part)) for part in pixels.split(200)])


def pictures_of(model: VQTokenizer, ids_Bhw: Tensor) -> Tensor:
    """The pictures, in bytes, that codes stand for."""
    return torch.cat([unfolded(model.decode(part)) for part in ids_Bhw.split(200)])


def rebuilt(model: VQTokenizer, pixels: Tensor) -> Tensor:
    """Pictures in bytes, through their codes and back."""
    return pictures_of(model, codes_of(model, pixels))


def words_of(colour_B: Tensor, shape_B: Tensor, codes: int) -> Tensor:
    """The two words (B, 2) a drawing is asked for with; their ids come after the codes'."""
    return torch.stack([colour_B, len(COLOURS) + shape_B], 1) + codes


def sequences(model: VQTokenizer, drawn: Drawings) -> Tensor:
    """Words and codes (B, 2 + h * w) of drawings whose words are known."""
    codes = len(model.quantizer.code_KD)
    words_B2 = words_of(drawn.colour, drawn.shape, codes)
    return torch.cat([words_B2, codes_of(model, drawn.pixels).flatten(1)], 1)


def code_logits(model: CausalTransformer, ids_BS: Tensor) -> Tensor:
    """The logits of each code, given both words and the codes before it."""
    logit_BSC: Tensor = model(ids_BS[:, :-1])
    return logit_BSC[:, 1:]


def drawer(
    ids: dict[str, Tensor], codes: int, recipe: DrawingRecipe, where: Where
) -> CausalTransformer:
    """A language model of the codes after the words; `ids` holds train and dev (n, S)."""
    torch.manual_seed(recipe.seed)
    model = CausalTransformer(
        codes + len(WORDS),
        width=recipe.width,
        depth=recipe.depth,
        heads=recipe.heads,
        positions=ids["train"].shape[1],
        dropout=recipe.dropout,
    )

    def loss(ids_BS: Tensor) -> Tensor:
        return F.cross_entropy(code_logits(model, ids_BS).transpose(1, 2), ids_BS[:, 2:])

    def score() -> dict[str, float]:
        return {"minus_bits_a_code": -bits(model, ids["dev"])}

    about = _on((ids["train"],), (ids["dev"],))
    _fit(model, (ids["train"],), loss, score, recipe=recipe, where=where, about=about)
    return model


@torch.no_grad()
def bits(model: CausalTransformer, ids_nS: Tensor) -> float:
    """The mean of what a code costs when the words and the codes before are known."""
    parts = [code_logits(model, part).log_softmax(2) for part in ids_nS.split(100)]
    return bits_a_code(torch.cat(parts), ids_nS[:, 2:])
