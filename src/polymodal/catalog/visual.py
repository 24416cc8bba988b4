"""The tokens that a picture takes in a prompt, and the patches that a tower looks at for them.

Notable: each family's own rule, as its processor in transformers applies it, so that the number is
known before anything is downloaded; a test holds them against the processors. What config.json does
not say (how large a picture may be, whether it is split) is in the processor's own file; where that
is not there, the numbers stand for which the families' checkpoints are published.
"""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from polymodal.models.hub_families import BRIDGED

__all__ = ["Seen", "processing_of", "visual_tokens"]

Config = Mapping[str, Any]
QWEN_PIXELS = {"qwen3_vl": (65_536, 16_777_216)}
"""At least and at most, as Qwen3-VL's checkpoints are published."""
USUAL_QWEN_PIXELS = (3_136, 12_845_056)
"""The same of Qwen2-VL and Qwen2.5-VL."""
IDEFICS3_SIDES, LARGEST_PX = 4, 4096
"""Of its squares, to which Idefics3 and SmolVLM stretch a picture's longer side; and its bound."""
IDEFICS2_PX = (378, 980)
"""Of the shorter side at least, of the longer at most."""
IDEFICS2_SPLITS = 5
"""Four quarters, and the picture as a whole."""
INTERNVL_TILES = (1, 12)
LLAVA_NEXT_TILES = ((1, 2), (2, 1), (2, 2), (3, 1), (1, 3))
ONEVISION_TILES, ONEVISION_MOST = 6, 9
"""Tiles along a side; and those beyond which its features are shrunk."""


@dataclass(frozen=True)
class Seen:
    """What becomes of one picture.

    Attributes:
        tokens: in the prompt.
        patches: positions that the tower looks at for them, all tiles together.
    """

    tokens: int
    patches: int


NOTHING = Seen(0, 0)


def processing_of(folder: Path) -> Config:
    """How a checkpoint's pictures are prepared, as its files say; empty where they do not."""
    for name in ("processor_config.json", "preprocessor_config.json"):
        try:
            found = json.loads((folder / name).read_text(encoding="utf-8"))
        except (OSError, ValueError):
            continue
        images = found.get("image_processor", found) if isinstance(found, dict) else {}
        if isinstance(images, dict) and "image_processor_type" in images:
            return images
    return {}


def visual_tokens(
    config: Config, size_px: tuple[int, int], processing: Config | None = None
) -> Seen:
    """What a picture of that width and height takes; nothing of an embedder.

    Args:
        config: a checkpoint's config.json.
        processing: its processor's file, see `processing_of`.
    """
    family, vision = str(config.get("model_type", "")), config.get("vision_config")
    if not isinstance(vision, Mapping):
        return NOTHING
    rule = _RULES.get(family, _by_resolution if family.startswith("qwen") else _whole)
    return rule(_Eyes(config, vision, processing or {}), *size_px)


@dataclass(frozen=True)
class _Eyes:
    """A configuration's numbers about pictures."""

    config: Config
    vision: Config
    processing: Config

    @property
    def patch(self) -> int:
        return _first(self.vision.get("patch_size"), 14)

    @property
    def side(self) -> int:
        """Of a tile, in pixels."""
        return _first(self.vision.get("image_size"), 0)

    @property
    def grid(self) -> int:
        """Patches along a side of a tile."""
        return self.side // self.patch

    @property
    def with_class(self) -> int:
        """1 where the tower's class token goes into the prompt too."""
        is_clip = self.vision.get("model_type", "clip_vision_model") == "clip_vision_model"
        return int(is_clip and self.config.get("vision_feature_select_strategy") == "full")

    def size(self, key: str, default: int) -> int:
        size = self.processing.get("size")
        return _first(size.get(key) if isinstance(size, Mapping) else None, default)


def _whole(eyes: _Eyes, width: int, height: int) -> Seen:
    """LLaVA, PaliGemma: the picture at one size, a token a patch."""
    patches = eyes.grid**2
    return Seen(patches + eyes.with_class, patches)


def _none(eyes: _Eyes, width: int, height: int) -> Seen:
    """By cross-attention, or of an embedder: no token stands for the picture's content."""
    return Seen(0, eyes.grid**2)


def _bridged(eyes: _Eyes, width: int, height: int) -> Seen:
    """Forms of this package: as many tokens as the bridge makes."""
    return Seen(_first(eyes.config.get("image_seq_length"), eyes.grid**2), eyes.grid**2)


def _queried(eyes: _Eyes, width: int, height: int) -> Seen:
    """BLIP-2, InstructBLIP: as many tokens as there are queries."""
    return Seen(_first(eyes.config.get("num_query_tokens"), 32), eyes.grid**2)


def _by_resolution(eyes: _Eyes, width: int, height: int) -> Seen:
    """Qwen: a token for each square of patches, at the picture's own size within bounds."""
    merge = _first(eyes.vision.get("spatial_merge_size"), 2)
    unit = eyes.patch * merge
    family = str(eyes.config.get("model_type", ""))
    usual = next((each for name, each in QWEN_PIXELS.items() if family.startswith(name)), None)
    least, most = usual or USUAL_QWEN_PIXELS
    least = _first(eyes.processing.get("min_pixels"), eyes.size("shortest_edge", least))
    most = _first(eyes.processing.get("max_pixels"), eyes.size("longest_edge", most))
    across, down = round(width / unit), round(height / unit)
    pixels = width * height
    if across * down * unit * unit > most:
        shrink = math.sqrt(pixels / most)
        across, down = (max(1, math.floor(px / shrink / unit)) for px in (width, height))
    elif across * down * unit * unit < least:
        grow = math.sqrt(least / pixels)
        across, down = (math.ceil(px * grow / unit) for px in (width, height))
    return Seen(across * down, across * down * merge * merge)


def _in_squares(eyes: _Eyes, width: int, height: int) -> Seen:
    """Idefics3, SmolVLM: stretched to a size, cut into squares, and once as a whole."""
    limit = eyes.processing.get("max_image_size")
    tile = _first(limit.get("longest_edge") if isinstance(limit, Mapping) else None, eyes.side)
    longest = min(eyes.size("longest_edge", IDEFICS3_SIDES * tile), LARGEST_PX)
    wide = width >= height
    shorter = int(longest / (width / height)) if wide else int(longest * (width / height))
    shorter = max(shorter + shorter % 2, 1)
    ratio = longest / shorter if wide else shorter / longest
    long_tiles = math.ceil(longest / tile)
    rest = int(long_tiles * tile / ratio) if wide else int(long_tiles * tile * ratio)
    squares = long_tiles * math.ceil(rest / tile)
    if squares == 1 or not eyes.processing.get("do_image_splitting", True):
        squares = 0
    across = eyes.grid // _first(eyes.config.get("scale_factor"), 2)
    return Seen(across * across * (squares + 1), eyes.grid**2 * (squares + 1))


def _by_resampler(eyes: _Eyes, width: int, height: int) -> Seen:
    """Idefics2: as many tokens as its resampler has latents, for the quarters too."""
    own = eyes.config.get("perceiver_config")
    latents = _first(own.get("resampler_n_latents") if isinstance(own, Mapping) else None, 64)
    is_split = eyes.processing.get("do_image_splitting", True)
    parts = IDEFICS2_SPLITS if is_split else 1
    least = eyes.size("shortest_edge", IDEFICS2_PX[0])
    shrink = min(1.0, eyes.size("longest_edge", IDEFICS2_PX[1]) / max(width, height))
    across, down = (max(int(px * shrink), least) // eyes.patch for px in (width, height))
    return Seen(latents * parts, across * down * parts)


def _in_tiles(eyes: _Eyes, width: int, height: int) -> Seen:
    """InternVL: tiles in the shape that is closest to the picture's, and once as a whole."""
    across = round(eyes.grid * float(eyes.config.get("downsample_ratio", 0.5)))
    least = _first(eyes.processing.get("min_patches"), INTERNVL_TILES[0])
    most = _first(eyes.processing.get("max_patches"), INTERNVL_TILES[1])
    tile = eyes.size("height", eyes.side)
    shapes = [
        (columns, rows)
        for columns in range(1, most + 1)
        for rows in range(1, most + 1)
        if least <= columns * rows <= most
    ]
    best, apart = (1, 1), math.inf
    for columns, rows in sorted(shapes, key=math.prod):
        distance = abs(width / height - columns / rows)
        # Of shapes that fit as well the larger, while the picture fills half of it.
        is_filled = width * height > 0.5 * tile * tile * columns * rows
        if distance < apart or (distance == apart and is_filled):
            best, apart = (columns, rows), distance
    tiles = math.prod(best)
    tiles += tiles > 1
    return Seen(across * across * tiles, eyes.grid**2 * tiles)


def _any_resolution(eyes: _Eyes, width: int, height: int) -> Seen:
    """LLaVA-NeXT, OneVision: as a whole, and in the tiles of the size that wastes least."""
    side, grid = eyes.side, eyes.grid
    down, across = max(_pinpoints(eyes), key=lambda each: _used(each, width, height))
    rows, columns = grid * (down // side), grid * (across // side)
    if width / height > columns / rows:
        rows -= 2 * ((rows - int(round(height * (columns / width), 7))) // 2)
    else:
        columns -= 2 * ((columns - int(round(width * (rows / height), 7))) // 2)
    limit = str(eyes.config.get("vision_aspect_ratio", ""))
    if eyes.config.get("model_type") == "llava_onevision":
        most = int(limit.removeprefix("anyres_max_") or ONEVISION_MOST)
        shrink = math.sqrt(rows * columns / (most * grid**2))
        if shrink > 1.1:
            rows, columns = int(rows // shrink), int(columns // shrink)
    tiles = (down // side) * (across // side) + 1
    return Seen(grid * grid + eyes.with_class + rows * (columns + 1), grid * grid * tiles)


def _pinpoints(eyes: _Eyes) -> list[tuple[int, int]]:
    """The sizes in pixels, down and across, that a picture may be cut into tiles of."""
    given = eyes.processing.get("image_grid_pinpoints") or eyes.config.get("image_grid_pinpoints")
    if given:
        return [(int(down), int(across)) for down, across in given]
    if eyes.config.get("model_type") == "llava_next":
        tiles: Iterable[tuple[int, int]] = LLAVA_NEXT_TILES
    else:
        along = range(1, ONEVISION_TILES + 1)
        tiles = ((down, across) for down in along for across in along)
    return [(down * eyes.side, across * eyes.side) for down, across in tiles]


def _used(pinpoint: tuple[int, int], width: int, height: int) -> tuple[int, int]:
    """Of the picture's pixels, how many are left in that size; and fewer wasted ones."""
    down, across = pinpoint
    scale = min(across / width, down / height)
    kept = min(int(width * scale) * int(height * scale), width * height)
    return kept, kept - down * across


def _first(value: Any, default: int) -> int:
    """A number, or the first of several; the default where there is none."""
    if isinstance(value, list | tuple) and value:
        value = value[0]
    return int(value) if isinstance(value, int | float) else default


_RULES: dict[str, Callable[[_Eyes, int, int], Seen]] = {
    **dict.fromkeys(("clip", "siglip", "siglip2", "mllama", "idefics"), _none),
    **dict.fromkeys(("blip-2", "instructblip"), _queried),
    **dict.fromkeys(BRIDGED, _bridged),
    **dict.fromkeys(("idefics3", "smolvlm"), _in_squares),
    **dict.fromkeys(("llava_next", "llava_onevision"), _any_resolution),
    "idefics2": _by_resampler,
    "internvl": _in_tiles,
}
