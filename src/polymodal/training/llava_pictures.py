"""What the vision tower of a LLaVA is given of a picture: one square, or a thumbnail and tiles.

Notable: tiles are AnyRes (Liu et al. 2024, LLaVA-NeXT), cut and joined again by transformers'
`LlavaNextForConditionalGeneration`, which a tiled model is. How many tokens a picture takes then
follows from its size alone (`polymodal.nn.tiling`), before the tower has seen it.

Legend of shapes: P pictures, N squares, S side of a square.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from PIL import Image
from torch import Tensor, nn

from polymodal.errors import UsageError
from polymodal.models.hub_loading import quietly, transformers
from polymodal.nn.tiling import packed_tokens
from polymodal.training.llava_parts import pixels_of

__all__ = ["Eyes", "Seen", "eyes_of", "tile_model"]


@dataclass(frozen=True)
class Seen:
    """Pictures as the tower takes them.

    Attributes:
        pixels: (N, 3, S, S); without tiles N is P.
        sizes: of tiled pictures before tiling, height and width: (P, 2); else None.
        tokens: that each picture takes.
    """

    pixels: Tensor
    sizes: Tensor | None
    tokens: list[int]


@dataclass(frozen=True)
class Eyes:
    """How pictures are prepared for one model.

    Attributes:
        images: its image processor.
        side_px: S.
        tokens: that a square takes.
        grids_px: height and width of each grid of tiles; none for a model that sees one square.
    """

    images: Any
    side_px: int
    tokens: int
    grids_px: tuple[tuple[int, int], ...] = ()

    @property
    def open_px(self) -> int:
        """Pictures are opened at no less, here and in every verb."""
        return max([self.side_px, *(max(each) for each in self.grids_px)])

    def see(self, pictures: Sequence[Image.Image]) -> Seen:
        """Opened pictures, at least one, made ready for the tower."""
        found = [self.images(images=[each], return_tensors="pt") for each in pictures]
        if not self.grids_px:
            pixels = torch.cat([each["pixel_values"] for each in found])
            return Seen(pixels, None, [self.tokens] * len(pictures))
        pixels = torch.cat([each["pixel_values"][0] for each in found])
        sizes = torch.cat([torch.as_tensor(each["image_sizes"]) for each in found])
        tokens = [
            packed_tokens((height, width), self.grids_px, self.side_px, self.tokens)
            for height, width in sizes.tolist()
        ]
        return Seen(pixels, sizes, tokens)

    def blank(self) -> tuple[Tensor, Tensor | None]:
        """Pixels and sizes of a picture without content, the smallest there is."""
        if not self.grids_px:
            return torch.zeros((1, 3, self.side_px, self.side_px)), None
        height, width = min(self.grids_px, key=lambda grid: grid[0] * grid[1])
        squares = 1 + height * width // self.side_px**2
        size = torch.tensor([[height, width]])
        return torch.zeros((squares, 3, self.side_px, self.side_px)), size


def eyes_of(name: str, config: Any, processor: Any) -> Eyes:
    """How a loaded LLaVA or LLaVA-NeXT sees, by its configuration and processor.

    Raises:
        UsageError: see `pixels_of`.
    """
    token, images = processor.image_token, processor.image_processor
    grids = getattr(config, "image_grid_pinpoints", None)
    if grids is not None:
        side, patch = config.vision_config.image_size, config.vision_config.patch_size
        pinpoints = tuple((int(height), int(width)) for height, width in grids)
        return Eyes(images, int(side), (side // patch) ** 2, pinpoints)
    side = int(pixels_of(name, images).shape[-1])
    inputs = processor(text=token, images=[Image.new("RGB", (side, side))], return_tensors="pt")
    tokens = int((inputs["input_ids"] == config.image_token_id).sum())
    return Eyes(images, side, tokens)


def tile_model(
    name: str, model: Any, processor: Any, grids: Sequence[tuple[int, int]], seed: int
) -> tuple[Any, Any]:
    """The same parts as a LLaVA-NeXT that sees tiles, and its processor.

    Args:
        model: a LLaVA, whose parts are used, or a LLaVA-NeXT, whose grids are replaced.
        grids: rows and columns of tiles, such as (1, 2).
        seed: of the newline token's random weights.

    Raises:
        UsageError: the tower's tokens are no square grid, or its pictures have another side than
            its configuration says; a grid without tiles.
    """
    library = transformers(name)
    eyes = eyes_of(name, model.config, processor)
    if any(rows < 1 or columns < 1 for rows, columns in grids):
        raise UsageError("grids are rows and columns of tiles, 1 or more each, such as [[1, 2]].")
    pinpoints = [[rows * eyes.side_px, columns * eyes.side_px] for rows, columns in grids]
    if eyes.grids_px:
        model.config.image_grid_pinpoints = pinpoints
        processor.image_processor.image_grid_pinpoints = pinpoints
        return model, processor
    vision = model.config.vision_config
    side, patch = getattr(vision, "image_size", None), getattr(vision, "patch_size", None)
    if side != eyes.side_px or not patch or eyes.tokens != (side // patch) ** 2:
        raise UsageError(
            f"the vision tower of {name} cannot see tiles: it gives {eyes.tokens} tokens of a"
            f" picture of {eyes.side_px} px, and by its config.json it has patches of {patch} px in"
            f" pictures of {side} px. Use one such as CLIP ViT-L/14-336 or SigLIP, or leave out"
            " grids."
        )
    with quietly(library):
        whole = _joined_anew(library, model, pinpoints, seed)
        tiled = library.LlavaNextProcessor(
            _tiling(library, eyes, pinpoints),
            processor.tokenizer,
            patch_size=processor.patch_size,
            vision_feature_select_strategy=processor.vision_feature_select_strategy,
            num_additional_image_tokens=processor.num_additional_image_tokens,
            chat_template=processor.chat_template,
            image_token=processor.image_token,
        )
    return whole, tiled


def _joined_anew(library: Any, model: Any, pinpoints: list[list[int]], seed: int) -> Any:
    old, inner = model.config, model.model
    config = library.LlavaNextConfig(
        vision_config=old.vision_config,
        text_config=old.text_config,
        image_token_index=old.image_token_id,
        vision_feature_layer=old.vision_feature_layer,
        vision_feature_select_strategy=old.vision_feature_select_strategy,
        projector_hidden_act=old.projector_hidden_act,
        multimodal_projector_bias=old.multimodal_projector_bias,
        image_grid_pinpoints=pinpoints,
    )
    config.tie_word_embeddings, config.dtype = old.tie_word_embeddings, old.dtype
    with torch.device("meta"):
        whole = library.LlavaNextForConditionalGeneration(config)
    new = whole.model
    new.vision_tower, new.language_model = inner.vision_tower, inner.language_model
    new.multi_modal_projector, whole.lm_head = inner.multi_modal_projector, model.lm_head
    torch.manual_seed(seed)
    width = config.text_config.hidden_size  # its weights begin as those of transformers do
    weight = inner.multi_modal_projector.linear_2.weight
    new.image_newline = nn.Parameter(torch.randn(width).to(weight.dtype) * width**-0.5)
    whole.generation_config = model.generation_config
    return whole.eval()


def _tiling(library: Any, eyes: Eyes, pinpoints: list[list[int]]) -> Any:
    """An image processor that gives squares as the tower's own does, but cuts nothing off."""
    own = eyes.images
    square = {"height": eyes.side_px, "width": eyes.side_px}
    return library.LlavaNextImageProcessor(
        size={"shortest_edge": eyes.side_px},
        crop_size=square,
        resample=own.resample,
        do_normalize=own.do_normalize,
        image_mean=own.image_mean,
        image_std=own.image_std,
        do_rescale=own.do_rescale,
        rescale_factor=own.rescale_factor,
        image_grid_pinpoints=pinpoints,
    )
