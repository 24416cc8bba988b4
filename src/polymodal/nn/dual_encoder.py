"""A dual encoder: any two towers whose vectors meet in one space (Radford et al. 2021).

Legend of shapes: B items, T tokens, W width of a tower, D width of the shared space.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Literal

import torch
import torch.nn.functional as F
from torch import Tensor, nn

__all__ = ["DualEncoder", "Pooled"]

Pooling = Literal["model", "first", "mean", "last"]


class Pooled(nn.Module):
    """A tower of transformers (or any that gives tokens) as one vector an item.

    Args:
        model: called with the batch; gives a tensor (B, T, W) or (B, W), or an output of
            transformers with `last_hidden_state`.
        how: `model` takes the model's own pooled vector (`image_embeds`, `text_embeds` or
            `pooler_output`); `first`, `mean` and `last` pool its tokens, and heed the
            `attention_mask` (1 for words, padded on either side) when the batch has one.
    """

    def __init__(self, model: nn.Module, how: Pooling = "mean") -> None:
        super().__init__()
        self.model = model
        self.how = how

    def forward(self, *args: Any, **batch: Any) -> Tensor:
        """The pooled vectors (B, W).

        Raises:
            ValueError: `how="model"` and the model pools nothing.
        """
        output = self.model(*args, **batch)
        if self.how == "model":
            return _own_pooling(output)
        token_BTW = output if isinstance(output, Tensor) else output.last_hidden_state
        if token_BTW.ndim == 2:
            return token_BTW
        return pool(token_BTW, self.how, batch.get("attention_mask"))


def pool(token_BTW: Tensor, how: Pooling, mask_BT: Tensor | None = None) -> Tensor:
    """The `first`, the `last` or the `mean` of the tokens that the mask keeps: (B, W)."""
    if mask_BT is None:
        mask_BT = token_BTW.new_ones(token_BTW.shape[:2])
    if how == "mean":
        weight_BT1 = mask_BT[..., None].to(token_BTW.dtype)
        return (token_BTW * weight_BT1).sum(1) / weight_BT1.sum(1).clamp(min=1)
    place_T = torch.arange(token_BTW.shape[1], device=token_BTW.device)
    if how == "first":
        at_B = torch.where(mask_BT > 0, place_T, place_T.numel() - 1).amin(1)
    else:
        at_B = torch.where(mask_BT > 0, place_T, 0).amax(1)
    return token_BTW[torch.arange(len(token_BTW), device=token_BTW.device), at_B]


def _own_pooling(output: Any) -> Tensor:
    for name in ("image_embeds", "text_embeds", "pooler_output"):
        vector_BW = getattr(output, name, None)
        if vector_BW is not None:
            pooled: Tensor = vector_BW.flatten(1)  # convolutional towers pool to (B, W, 1, 1)
            return pooled
    raise ValueError(
        f"{type(output).__name__} has no pooled vector of its own: take how='mean', 'first' "
        "or 'last'"
    )


class DualEncoder(nn.Module):
    """Two towers and the linear maps that bring their vectors to one width, at unit length.

    Args:
        image: the picture tower: gives (B, image_width).
        text: the text tower: gives (B, text_width).
        image_width: what the picture tower gives.
        text_width: what the text tower gives.
        width: of the shared space. None takes the towers' vectors as they are, for towers that
            already share one (CLIP's own, with their projections).

    Towers that give tokens or outputs of transformers go through `Pooled` first. A tower on frozen
    features (the starter's, as arrays) is `torch.nn.Identity()`.
    """

    def __init__(
        self,
        image: nn.Module,
        text: nn.Module,
        *,
        image_width: int,
        text_width: int,
        width: int | None = None,
    ) -> None:
        super().__init__()
        if width is None and image_width != text_width:
            raise ValueError(
                f"the towers give {image_width} and {text_width} numbers: set `width` to bring "
                "them to one"
            )
        self.image = image
        self.text = text
        self.image_projection = _projection(image_width, width)
        self.text_projection = _projection(text_width, width)

    def encode_image(self, batch: Any) -> Tensor:
        """Unit vectors (B, D) of a batch: a tensor, or a mapping passed on as keywords."""
        return F.normalize(self.image_projection(_call(self.image, batch)), dim=-1)

    def encode_text(self, batch: Any) -> Tensor:
        """Unit vectors (B, D) of a batch: a tensor, or a mapping passed on as keywords."""
        return F.normalize(self.text_projection(_call(self.text, batch)), dim=-1)

    def forward(self, images: Any, texts: Any) -> tuple[Tensor, Tensor]:
        """The unit vectors of pictures and texts: what the losses of `nn.losses` take."""
        return self.encode_image(images), self.encode_text(texts)


def _call(tower: nn.Module, batch: Any) -> Tensor:
    vector: Tensor = tower(**batch) if isinstance(batch, Mapping) else tower(batch)
    return vector


def _projection(given: int, width: int | None) -> nn.Module:
    if width is None:
        return nn.Identity()
    linear = nn.Linear(given, width, bias=False)
    nn.init.normal_(linear.weight, std=given**-0.5)  # as CLIP's, so that lengths are kept
    return linear
