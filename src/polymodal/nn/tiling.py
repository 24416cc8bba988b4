"""AnyRes tiling of LLaVA-NeXT (Liu et al. 2024): large pictures as a thumbnail and tiles.

Notable: nothing is cropped. The picture is fitted into the grid of tiles that keeps most of its
pixels, padded, cut up, and after the vision tower the padding's tokens are dropped again. Each row
of what is left ends with a learned newline token, so that the language model sees the shape.

Legend of shapes: C channels, H height, W width, T tiles with the thumbnail, S side of a tile,
N visual tokens of a tile, V their width, L visual tokens in all.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor

__all__ = [
    "best_resolution",
    "pack_tiles",
    "packed_tokens",
    "pad_to_square",
    "tile",
]

Size = tuple[int, int]  # height and width


def best_resolution(size_px: Size, resolutions: Sequence[Size]) -> Size:
    """The resolution that keeps most of a picture's pixels and, among those, wastes the least.

    Args:
        size_px: height and width of the picture.
        resolutions: height and width of each grid of tiles.

    Raises:
        ValueError: no resolutions, or a picture without pixels.
    """
    height, width = size_px
    if not resolutions or min(height, width) < 1:
        raise ValueError(f"a picture of {height} x {width} px needs pixels, and a grid to fit into")

    def kept_and_wasted(resolution: Size) -> tuple[int, int]:
        scale = min(resolution[1] / width, resolution[0] / height)
        kept = min(int(width * scale) * int(height * scale), width * height)
        return kept, kept - resolution[0] * resolution[1]

    return max(resolutions, key=kept_and_wasted)  # the first among equals


def tile(picture_CHW: Tensor, resolutions: Sequence[Size], side_px: int) -> Tensor:
    """A thumbnail of the picture and its tiles, in reading order: (T, C, S, S).

    Args:
        picture_CHW: any size, values from 0 to 1.
        resolutions: height and width of each grid, multiples of `side_px`.
        side_px: S, what the vision tower takes.

    Raises:
        ValueError: a resolution that is no grid of tiles.
    """
    _check_grids(resolutions, side_px)
    height, width = best_resolution((picture_CHW.shape[1], picture_CHW.shape[2]), resolutions)
    fitted_CHW = _padded(_fitted(picture_CHW, (height, width)), (height, width), 0.0)
    rows, columns = height // side_px, width // side_px
    grid = fitted_CHW.unflatten(1, (rows, side_px)).unflatten(3, (columns, side_px))
    tile_TCSS = grid.permute(1, 3, 0, 2, 4).flatten(0, 1)
    return torch.cat([_resized(picture_CHW, (side_px, side_px))[None], tile_TCSS])


def pad_to_square(picture_CHW: Tensor, fill: float | Tensor = 0.0) -> Tensor:
    """The whole picture in the middle of a square, the rest `fill` (a number, or one a channel)."""
    longest = max(picture_CHW.shape[1:])
    return _padded(picture_CHW, (longest, longest), fill)


def pack_tiles(
    token_TNV: Tensor,
    size_px: Size,
    resolutions: Sequence[Size],
    side_px: int,
    newline_V: Tensor | None = None,
) -> Tensor:
    """The visual tokens of a tiled picture as the language model reads them: (L, V).

    First the thumbnail's, then the rows of the whole picture without its padding, each ended by the
    newline token.

    Args:
        token_TNV: of the thumbnail and the tiles, without class tokens; a thumbnail alone will do.
        size_px: height and width of the picture before tiling.
        resolutions: as given to `tile`.
        side_px: as given to `tile`.
        newline_V: the learned token; None ends no rows.

    Raises:
        ValueError: tokens that are no square grid, or tiles of another grid.
    """
    tokens = token_TNV.shape[1]
    side = _side(tokens)
    if len(token_TNV) == 1:
        alone = [token_TNV[0]] if newline_V is None else [token_TNV[0], newline_V[None]]
        return torch.cat(alone)
    height, width = best_resolution(size_px, resolutions)
    rows, columns = height // side_px, width // side_px
    if len(token_TNV) != 1 + rows * columns:
        raise ValueError(
            f"a picture of {size_px[0]} x {size_px[1]} px has a thumbnail and {rows} x {columns} "
            f"tiles, and there are tokens of {len(token_TNV)}"
        )
    grid = token_TNV[1:].unflatten(0, (rows, columns)).unflatten(2, (side, side))
    token_HWV = grid.permute(0, 2, 1, 3, 4).flatten(2, 3).flatten(0, 1)
    top, left = _padding((rows * side, columns * side), size_px)
    token_HWV = token_HWV[top : rows * side - top, left : columns * side - left]
    if newline_V is not None:
        end_H1V = newline_V.expand(len(token_HWV), 1, -1).to(token_HWV)
        token_HWV = torch.cat([token_HWV, end_H1V], 1)
    return torch.cat([token_TNV[0], token_HWV.flatten(0, 1)])


def packed_tokens(
    size_px: Size, resolutions: Sequence[Size], side_px: int, tokens: int, *, newline: bool = True
) -> int:
    """How many visual tokens `pack_tiles` gives a picture: what its placeholder expands to.

    Args:
        size_px: height and width of the picture.
        resolutions: as given to `tile`.
        side_px: as given to `tile`.
        tokens: N, of one tile.
        newline: whether rows end with a newline token.
    """
    side = _side(tokens)
    height, width = best_resolution(size_px, resolutions)
    rows, columns = side * (height // side_px), side * (width // side_px)
    top, left = _padding((rows, columns), size_px)
    return tokens + (rows - 2 * top) * (columns - 2 * left + newline)


def _padding(grid: Size, size: Size) -> Size:
    """Rows above and columns left of the picture that are padding, in a grid it was fitted into."""
    (rows, columns), (height, width) = grid, size
    if width / height > columns / rows:
        # Rounded first: 7.999999999 rows are eight (as in LLaVA's code, since 2024).
        return (rows - int(round(height * (columns / width), 7))) // 2, 0
    return 0, (columns - int(round(width * (rows / height), 7))) // 2


def _fitted(picture_CHW: Tensor, size: Size) -> Tensor:
    """As large as fits into `size` with its aspect kept."""
    height, width = picture_CHW.shape[1:]
    by_height, by_width = size[0] / height, size[1] / width
    if by_width < by_height:
        return _resized(picture_CHW, (min(math.ceil(height * by_width), size[0]), size[1]))
    return _resized(picture_CHW, (size[0], min(math.ceil(width * by_height), size[1])))


def _resized(picture_CHW: Tensor, size: Size) -> Tensor:
    resized = F.interpolate(picture_CHW[None], size, mode="bicubic", antialias=True)[0]
    return resized.clamp(0, 1)  # bicubic overshoots at edges


def _padded(picture_CHW: Tensor, size: Size, fill: float | Tensor) -> Tensor:
    channels, height, width = picture_CHW.shape
    top, left = (size[0] - height) // 2, (size[1] - width) // 2
    colour = torch.as_tensor(fill, dtype=picture_CHW.dtype, device=picture_CHW.device)
    padded_CHW = colour.reshape(-1, 1, 1).expand(channels, *size).clone()
    padded_CHW[:, top : top + height, left : left + width] = picture_CHW
    return padded_CHW


def _check_grids(resolutions: Sequence[Size], side_px: int) -> None:
    for height, width in resolutions:
        if height % side_px or width % side_px:
            raise ValueError(f"{height} x {width} px is no grid of tiles of {side_px} px")


def _side(tokens: int) -> int:
    side = math.isqrt(tokens)
    if side * side != tokens:
        raise ValueError(f"{tokens} visual tokens are no square grid: leave out the class token")
    return side
