"""Gated layers put into a causal language model of transformers (Flamingo, Alayrac et al. 2022).

Notable: nothing of the language model is replaced or renamed. A hook before every `every`-th of its
layers hands the hidden states to a gated layer first; fresh gates are closed, so the model says to
the bit what it said before. Hooks run again where a layer's activations are recomputed.

Legend of shapes: B items, S words, P pictures of the whole batch, M the most pictures of an item,
K visual tokens of a picture, V their width, W width of the language model.
"""

from __future__ import annotations

from functools import partial
from typing import Any

import torch
from torch import Tensor, nn

from polymodal.nn.gated import GatedCrossAttention, looks_at_latest

__all__ = ["GatedLayers", "decoder_layers"]


def decoder_layers(language_model: nn.Module) -> nn.ModuleList:
    """The layers of a transformer, in order: its longest list of modules.

    Raises:
        ValueError: it has none.
    """
    lists = [each for each in language_model.modules() if isinstance(each, nn.ModuleList)]
    if not lists:
        raise ValueError(f"{type(language_model).__name__} has no list of layers to look between")
    return max(lists, key=len)


class GatedLayers(nn.ModuleList):
    """The gated layers of one language model: `show` them pictures, then run the model.

    Args:
        language_model: whose layers are called with the hidden states (B, S, W) first.
        vision_width: V.
        heads, head_width: of the attention to pictures.
        every: the last of so many layers gets a gated one before it, as in OpenFlamingo.

    Raises:
        ValueError: the model has fewer layers than `every`.
    """

    def __init__(
        self,
        language_model: nn.Module,
        vision_width: int,
        *,
        heads: int = 8,
        head_width: int = 64,
        every: int = 1,
    ) -> None:
        layers = decoder_layers(language_model)
        width = int(language_model.get_input_embeddings().weight.shape[1])
        chosen = range(every - 1, len(layers), every)
        if not chosen:
            raise ValueError(f"a gated layer in {every}, and the model has {len(layers)} layers")
        super().__init__(
            [GatedCrossAttention(width, vision_width, heads, head_width=head_width) for _ in chosen]
        )
        self.vision_width = vision_width
        self._token_BKV: Tensor | None = None
        self._looks_BSK: Tensor | None = None
        for own, place in enumerate(chosen):
            layers[place].register_forward_pre_hook(partial(self._look, own), with_kwargs=True)

    def show(self, token_PKV: Tensor | None, picture_BS: Tensor) -> None:
        """What the words may look at: each at the latest picture before it.

        Args:
            token_PKV: the pictures of the whole batch, in reading order; None for words alone.
            picture_BS: true where a picture's placeholder stands.

        Raises:
            ValueError: the placeholders are not as many as the pictures.
        """
        count_B = picture_BS.sum(1)
        given = 0 if token_PKV is None else len(token_PKV)
        if int(count_B.sum()) != given:
            raise ValueError(
                f"the prompts hold {int(count_B.sum())} placeholders for {given} pictures: each"
                " needs the other"
            )
        if token_PKV is None:  # a token that no word may look at: words before pictures are alike
            gate = next(self.parameters())
            self._token_BKV = gate.new_zeros((len(picture_BS), 1, self.vision_width))
            self._looks_BSK = torch.zeros_like(picture_BS)[..., None]
            return
        most = int(count_B.max())
        number_M = torch.arange(most, device=picture_BS.device)
        token_BMKV = token_PKV.new_zeros((len(picture_BS), most, *token_PKV.shape[1:]))
        place = (number_M < count_B[:, None]).nonzero(as_tuple=True)
        self._token_BKV = token_BMKV.index_put(place, token_PKV).flatten(1, 2)
        self._looks_BSK = looks_at_latest(picture_BS, token_PKV.shape[1], most)

    def go_on(self) -> None:
        """Further words follow those that were shown: they look where the last one did."""
        assert self._looks_BSK is not None
        self._looks_BSK = self._looks_BSK[:, -1:]

    def _look(self, own: int, layer: nn.Module, given: tuple[Any, ...], named: Any) -> Any:
        del layer
        if self._token_BKV is None or self._looks_BSK is None:
            return None
        word_BSW = given[0] if given else named["hidden_states"]
        looks_BSK = self._looks_BSK.expand(-1, word_BSW.shape[1], -1)
        seen_BSW = self[own](word_BSW, self._token_BKV, looks_BSK).to(word_BSW.dtype)
        if given:
            return (seen_BSW, *given[1:]), named
        return given, {**named, "hidden_states": seen_BSW}
