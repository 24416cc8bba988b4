"""The strategies, each a whole model of about the same size: picture and question in, answer out.

Notable: they share the tower, the embedding of words and the place where the answer is read (a last
token `<answer>`), so that what differs is where the picture meets the words. `build` picks the
width of each so that all have the same number of parameters.

Legend of shapes: B questions, N visual tokens, W width, S words with the last `<answer>`,
C vocabulary.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from polymodal.nn.fusion import BottleneckFusion, EarlyFusion, LateFusion
from polymodal.nn.gated import GatedCrossAttention
from polymodal.nn.projectors import MLPProjector
from polymodal.nn.qformer import QFormer
from polymodal.nn.resampler import PerceiverResampler
from polymodal.nn.transformer import Block, CausalTransformer

HEADS = 4
LATENTS = 16  # of the Q-Former and the Perceiver, whatever the grid
BOTTLENECK = 4  # as in the paper
DROPOUT = 0.1
ANSWER = 1  # the id of `<answer>`


class Tower(nn.Module):
    """Pixels (B, 3, 64, 64) or a grid of features (B, D, 8, 8) to g * g tokens with positions.

    Args:
        channels: 3 for pixels, the features' number for grids.
        side: g.
        width: of the tokens.
    """

    def __init__(self, channels: int, side: int, width: int) -> None:
        super().__init__()
        self.layers = nn.Sequential(
            *([*_strided(3, 32), *_strided(32, 64)] if channels == 3 else []),
            nn.AdaptiveAvgPool2d(side),
            nn.GroupNorm(1, 64 if channels == 3 else channels),
            nn.Conv2d(64 if channels == 3 else channels, width, 3, padding=1),
        )
        self.position = nn.Parameter(torch.randn(side * side, width) * 0.02)
        self.norm = nn.LayerNorm(width)

    def forward(self, image_BCHW: Tensor) -> Tensor:
        token_BNW: Tensor = self.norm(self.layers(image_BCHW).flatten(2).transpose(1, 2))
        return token_BNW + self.position


def _strided(given: int, wanted: int) -> list[nn.Module]:
    return [
        nn.Conv2d(given, wanted, 3, stride=2, padding=1),
        nn.GroupNorm(8, wanted),
        nn.GELU(),
    ]


class Asking(nn.Module):
    """A language model, and the logits of the word it says at `<answer>`."""

    def __init__(self, vocabulary: int, width: int, depth: int, positions: int) -> None:
        super().__init__()
        self.model = CausalTransformer(
            vocabulary,
            width=width,
            depth=depth,
            heads=HEADS,
            positions=positions,
            dropout=DROPOUT,
        )

    def forward(self, word_BS: Tensor, prefix_BNW: Tensor | None = None) -> Tensor:
        x_BTW = self.model.embedding(word_BS)
        if prefix_BNW is not None:
            x_BTW = torch.cat([prefix_BNW.to(x_BTW.dtype), x_BTW], 1)
        logit_BC: Tensor = self.model.head(self.model.hidden(x_BTW)[:, -1])
        return logit_BC


class QuestionOnly(nn.Module):
    """The floor: the language model alone."""

    visual = 0

    def __init__(self, vocabulary: int, tokens: int, words: int, width: int) -> None:
        super().__init__()
        self.ask = Asking(vocabulary, width, 6, words)

    def forward(self, token_BNW: None, word_BS: Tensor) -> Tensor:
        logit_BC: Tensor = self.ask(word_BS)
        return logit_BC


class Late(nn.Module):
    """Two encoders; their vectors meet in the last layers."""

    visual = 1

    def __init__(self, vocabulary: int, tokens: int, words: int, width: int) -> None:
        super().__init__()
        self.embedding = nn.Embedding(vocabulary, width)
        self.position = nn.Parameter(torch.randn(words, width) * 0.02)
        self.image, self.text = (
            nn.ModuleList([Block(width, HEADS, dropout=DROPOUT) for _ in range(depth)])
            for depth in (2, 3)
        )
        self.join = LateFusion(width, width, width=2 * width, out=vocabulary, dropout=DROPOUT)

    def forward(self, token_BNW: Tensor, word_BS: Tensor) -> Tensor:
        word_BSW = self.embedding(word_BS) + self.position
        for block in self.text:
            word_BSW = block(word_BSW)
        for block in self.image:
            token_BNW = block(token_BNW)
        logit_BC: Tensor = self.join(token_BNW.mean(1), word_BSW[:, -1])
        return logit_BC


class EarlyEncoder(nn.Module):
    """Tokens of both in one encoder that looks both ways."""

    def __init__(self, vocabulary: int, tokens: int, words: int, width: int) -> None:
        super().__init__()
        self.embedding = nn.Embedding(vocabulary, width)
        self.position = nn.Parameter(torch.randn(words, width) * 0.02)
        self.join = EarlyFusion(width, depth=6, heads=HEADS, dropout=DROPOUT)
        self.head = nn.Linear(width, vocabulary)

    def forward(self, token_BNW: Tensor, word_BS: Tensor) -> Tensor:
        _, word_BSW = self.join(token_BNW, self.embedding(word_BS) + self.position)
        logit_BC: Tensor = self.head(word_BSW[:, -1])
        return logit_BC


class EarlyLM(nn.Module):
    """LLaVA: projected tokens before the question in a causal language model."""

    def __init__(self, vocabulary: int, tokens: int, words: int, width: int) -> None:
        super().__init__()
        self.project = MLPProjector(width, width)
        self.ask = Asking(vocabulary, width, 6, tokens + words)

    def forward(self, token_BNW: Tensor, word_BS: Tensor) -> Tensor:
        logit_BC: Tensor = self.ask(word_BS, self.project(token_BNW))
        return logit_BC


class Gated(nn.Module):
    """Flamingo: before each block of the language model the words look at the picture."""

    def __init__(self, vocabulary: int, tokens: int, words: int, width: int) -> None:
        super().__init__()
        self.ask = Asking(vocabulary, width, 3, words)
        self.look = nn.ModuleList([GatedCrossAttention(width, width, HEADS) for _ in range(3)])

    def forward(self, token_BNW: Tensor, word_BS: Tensor) -> Tensor:
        model = self.ask.model
        word_BSW = model.embedding(word_BS) + model.position.weight
        for look, block in zip(self.look, model.blocks, strict=True):
            word_BSW = block(look(word_BSW, token_BNW), causal=True)
        logit_BC: Tensor = model.head(model.norm(word_BSW)[:, -1])
        return logit_BC


class QFormed(nn.Module):
    """BLIP-2: queries read the picture, and stand before the question."""

    visual = LATENTS

    def __init__(self, vocabulary: int, tokens: int, words: int, width: int) -> None:
        super().__init__()
        self.look = QFormer(
            width,
            vocabulary=0,
            width=width,
            depth=2,
            heads=HEADS,
            queries=LATENTS,
            dropout=DROPOUT,
        )
        self.project = nn.Linear(width, width)
        self.ask = Asking(vocabulary, width, 4, LATENTS + words)

    def forward(self, token_BNW: Tensor, word_BS: Tensor) -> Tensor:
        logit_BC: Tensor = self.ask(word_BS, self.project(self.look.look(token_BNW)))
        return logit_BC


class Resampled(nn.Module):
    """A Perceiver's latents before the question."""

    visual = LATENTS

    def __init__(self, vocabulary: int, tokens: int, words: int, width: int) -> None:
        super().__init__()
        self.look = PerceiverResampler(
            width, heads=HEADS, head_width=width // HEADS, depth=2, latents=LATENTS
        )
        self.project = nn.Linear(width, width)
        self.ask = Asking(vocabulary, width, 4, LATENTS + words)

    def forward(self, token_BNW: Tensor, word_BS: Tensor) -> Tensor:
        logit_BC: Tensor = self.ask(word_BS, self.project(self.look(token_BNW)))
        return logit_BC


class Bottleneck(nn.Module):
    """Two streams that meet in four shared tokens a block."""

    visual = BOTTLENECK

    def __init__(self, vocabulary: int, tokens: int, words: int, width: int) -> None:
        super().__init__()
        self.embedding = nn.Embedding(vocabulary, width)
        self.position = nn.Parameter(torch.randn(words, width) * 0.02)
        self.join = BottleneckFusion(
            width, depth=3, heads=HEADS, bottleneck=BOTTLENECK, dropout=DROPOUT
        )
        self.head = nn.Linear(width, vocabulary)

    def forward(self, token_BNW: Tensor, word_BS: Tensor) -> Tensor:
        _, word_BSW, _ = self.join(token_BNW, self.embedding(word_BS) + self.position)
        logit_BC: Tensor = self.head(word_BSW[:, -1])
        return logit_BC


STRATEGIES: dict[str, type[nn.Module]] = {
    "question only": QuestionOnly,
    "late": Late,
    "early, encoder": EarlyEncoder,
    "early, language model": EarlyLM,
    "gated cross-attention": Gated,
    "Q-Former": QFormed,
    "Perceiver": Resampled,
    "bottleneck": Bottleneck,
}


class Answering(nn.Module):
    """A tower and a strategy: pixels as bytes (or grids) and words in, logits of the answer out."""

    def __init__(self, strategy: str, shapes: Shapes, side: int, width: int) -> None:
        super().__init__()
        tokens = side * side
        self.join = STRATEGIES[strategy](shapes.vocabulary, tokens, shapes.words + 1, width)
        self.visual: int = getattr(self.join, "visual", tokens)
        self.tower = Tower(shapes.channels, side, width) if self.visual else None
        self.scale = shapes.scale

    def forward(self, image_BHWC: Tensor, word_BS: Tensor) -> Tensor:
        """Logits (B, C). Pictures as stored: (B, H, W, C); words without `<answer>`."""
        token_BNW = None
        if self.tower is not None:
            token_BNW = self.tower(image_BHWC.permute(0, 3, 1, 2).float() / self.scale)
        logit_BC: Tensor = self.join(token_BNW, F.pad(word_BS, (0, 1), value=ANSWER))
        return logit_BC


class Shapes:
    """What a data set asks of a model.

    Args:
        channels: of a picture or grid.
        vocabulary: C.
        words: of the longest question.
    """

    def __init__(self, channels: int, vocabulary: int, words: int) -> None:
        self.channels = channels
        self.vocabulary = vocabulary
        self.words = words
        self.scale = 255.0 if channels == 3 else 32.0


def parameters(model: nn.Module) -> int:
    """How many numbers are learned, shared ones once."""
    return sum(weight.numel() for weight in model.parameters())


def build(strategy: str, shapes: Shapes, side: int, target: int) -> Answering:
    """The strategy at the width (a multiple of 8) whose size is nearest to `target` parameters."""
    with torch.device("meta"):
        sizes = {
            width: parameters(Answering(strategy, shapes, side, width))
            for width in range(32, 257, 8)
        }
    return Answering(strategy, shapes, side, min(sizes, key=lambda w: abs(sizes[w] - target)))
