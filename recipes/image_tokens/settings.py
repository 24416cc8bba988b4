"""What is trained and how: one recipe a stage, with where each value is from."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Literal

from polymodal.training.settings import Recipe

__all__ = ["CODEBOOKS", "DrawingRecipe", "Plan", "TokenizerRecipe", "planned", "shortened"]

Codebook = Literal["restarts", "means", "gradients"]
CODEBOOKS: tuple[Codebook, ...] = ("restarts", "means", "gradients")
"""Running means with restarts of dead codes, running means alone, gradients. The first is used."""


@dataclass(frozen=True, kw_only=True)
class TokenizerRecipe(Recipe):
    """A tokenizer's values; see `polymodal.nn.vq.VQTokenizer`."""

    codebook: Codebook = "restarts"
    codes: int = 256
    width: int = 32
    halvings: int = 1
    hidden: int = 64


@dataclass(frozen=True, kw_only=True)
class DrawingRecipe(Recipe):
    """The values of the model over codes; see `polymodal.nn.transformer.CausalTransformer`."""

    width: int = 96
    depth: int = 3
    heads: int = 4
    dropout: float = 0.1


@dataclass(frozen=True)
class Plan:
    """All of it.

    Attributes:
        asked: drawings to draw of each colour and shape.
    """

    tokenizer: TokenizerRecipe
    drawing: DrawingRecipe
    asked: int = 20

    def of(self, codebook: Codebook) -> TokenizerRecipe:
        """The tokenizer's recipe with another codebook."""
        return replace(self.tokenizer, codebook=codebook)


def planned() -> Plan:
    """The plan that docs/image-tokens.md reports."""
    return Plan(
        tokenizer=TokenizerRecipe(
            name="vq tokenizer",
            sources={
                "codes, width, halvings": "LOG.md; 64 codes of 8 x 8 px for a drawing",
                "codebook": "van den Oord et al. 2017, appendix A.1; Dhariwal et al. 2020",
                "rates, batch, epochs": "LOG.md",
            },
            rates=(("*", 3e-3),),
            batch=32,
            epochs=12,
            warmup=0.05,
            log_every=100,
        ),
        drawing=DrawingRecipe(
            name="drawing by codes",
            sources={"all": "LOG.md; the shape is GPT-2's (Radford et al. 2019)"},
            rates=(("*", 1e-3),),
            batch=64,
            epochs=16,
            warmup=0.1,
            decay=0.05,
            log_every=100,
        ),
    )


def shortened(plan: Plan, fraction: float) -> Plan:
    """The plan with that share of the passes, to try it."""
    recipes = (plan.tokenizer, plan.drawing)
    return Plan(*(replace(each, epochs=each.epochs * fraction) for each in recipes), plan.asked)
