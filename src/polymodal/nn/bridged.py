"""A vision tower, a projector and a language model as one (LLaVA, Liu et al. 2023).

Works with any vision tower and any causal language model of transformers, or with modules that are
called alike: the tower with `pixel_values`, the language model with `inputs_embeds`.

Legend of shapes: P pictures, N visual tokens, V width of the tower, W width of the language model,
B items, S length of a sequence.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from torch import Tensor, nn

from polymodal.nn.merging import merge

__all__ = ["Bridged", "visual_tokens"]


def visual_tokens(
    tower: nn.Module, pixels: Tensor, *, layer: int = -2, drop_first: bool = True
) -> Tensor:
    """The tokens (P, N, V) of pictures at a layer of a vision tower of transformers.

    Args:
        tower: called with `pixel_values` and `output_hidden_states`.
        pixels: (P, 3, H, W), normalised as the tower wants them.
        layer: of its hidden states; LLaVA takes the last but one. -1 takes the last hidden state.
        drop_first: leave out the first token, a class token. SigLIP's towers have none.
    """
    if layer == -1:
        token_PNV = tower(pixel_values=pixels).last_hidden_state
    else:
        output = tower(pixel_values=pixels, output_hidden_states=True)
        token_PNV = output.hidden_states[layer]
    if token_PNV.ndim == 4:  # a convolutional tower: (P, V, h, w)
        token_PNV = token_PNV.flatten(2).transpose(1, 2)
    tokens: Tensor = token_PNV[:, 1:] if drop_first else token_PNV
    return tokens


class Bridged(nn.Module):
    """Pictures and words in, what the language model gives out.

    Args:
        tower: any vision tower of transformers.
        projector: from V to W: a projector of `nn.projectors`, or a resampler and a linear map.
        language_model: any causal language model of transformers.
        placeholder: the id in the text that stands for one visual token.
        layer: see `visual_tokens`.
        drop_first: see `visual_tokens`.
    """

    def __init__(
        self,
        tower: nn.Module,
        projector: nn.Module,
        language_model: nn.Module,
        *,
        placeholder: int,
        layer: int = -2,
        drop_first: bool = True,
    ) -> None:
        super().__init__()
        self.tower = tower
        self.projector = projector
        self.language_model = language_model
        self.placeholder = placeholder
        self.layer = layer
        self.drop_first = drop_first

    def project(self, pixels: Tensor) -> Tensor:
        """The visual tokens of pictures (P, 3, H, W) in the language model's width: (P, N, W)."""
        token_PNW: Tensor = self.projector(
            visual_tokens(self.tower, pixels, layer=self.layer, drop_first=self.drop_first)
        )
        return token_PNW

    def embed(self, ids_BS: Tensor, visual: Tensor | Sequence[Tensor]) -> Tensor:
        """Words and visual tokens in one sequence (B, S, W); `merge` says what can be wrong."""
        # A word model may have no row for the placeholder: any will do, its row is replaced.
        known_BS = ids_BS.masked_fill(ids_BS == self.placeholder, 0)
        embedding_BSW = self.language_model.get_input_embeddings()(known_BS)
        return merge(embedding_BSW, ids_BS, visual, placeholder=self.placeholder)

    def forward(self, ids_BS: Tensor, pixels: Tensor | None = None, **options: Any) -> Any:
        """The language model's own output.

        Args:
            ids_BS: expanded ids (`nn.merging.expand`).
            pixels: of all pictures of the batch in reading order; None for words alone.
            options: go to the language model: `attention_mask`, `position_ids`, `labels`, ...
        """
        visual = [] if pixels is None else self.project(pixels)
        return self.language_model(inputs_embeds=self.embed(ids_BS, visual), **options)

    def generate(self, ids_BS: Tensor, pixels: Tensor | None = None, **options: Any) -> Tensor:
        """The ids that the language model's own `generate` adds, padding on the left."""
        visual = [] if pixels is None else self.project(pixels)
        ids: Tensor = self.language_model.generate(
            inputs_embeds=self.embed(ids_BS, visual), **options
        )
        return ids
