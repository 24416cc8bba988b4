"""AnyRes tiling against LLaVA-NeXT's processor and model of transformers."""

from __future__ import annotations

import random

import pytest
import torch
import transformers as hf
from transformers.image_processing_utils import select_best_resolution

from polymodal.nn.tiling import best_resolution, pack_tiles, packed_tokens, pad_to_square, tile

GRIDS = [(8, 16), (16, 8), (16, 16), (24, 8), (8, 24)]
SIZES = [(8, 8), (9, 30), (31, 7), (100, 100), (64, 48), (5, 50), (17, 33), (1, 300)]


def test_the_grid_is_the_one_llava_next_takes():
    rng = random.Random(0)
    grids = [(336, 672), (672, 336), (672, 672), (1008, 336), (336, 1008)]
    for _ in range(500):
        size = (rng.randint(1, 2000), rng.randint(1, 2000))
        assert best_resolution(size, grids) == select_best_resolution(size, grids)
    with pytest.raises(ValueError, match="a grid to fit into"):
        best_resolution((3, 3), [])
    with pytest.raises(ValueError, match="0 x 3 px needs pixels"):
        best_resolution((0, 3), grids)


@pytest.mark.parametrize("size", [(80, 50), (50, 130), (200, 200)])
def test_tiles_are_those_of_llava_nexts_processor(size):
    torch.manual_seed(0)
    side, grids = 32, [(32, 64), (64, 32), (64, 64), (96, 32), (32, 96)]
    small = torch.rand(1, 3, 7, 9)
    picture = torch.nn.functional.interpolate(small, size, mode="bicubic").clamp(0, 1)[0]
    picture = (picture * 255).round() / 255
    processor = hf.LlavaNextImageProcessor(
        image_grid_pinpoints=[list(grid) for grid in grids],
        size={"height": side, "width": side},
        crop_size={"height": side, "width": side},
        do_normalize=False,
    )
    theirs = processor((picture * 255).byte(), return_tensors="pt").pixel_values[0]
    ours = tile(picture, grids, side)
    assert ours.shape == theirs.shape
    # They round to bytes between the steps, we do not.
    torch.testing.assert_close(ours, theirs, rtol=0, atol=2.1 / 255)


def model():
    config = hf.LlavaNextConfig(
        vision_config=hf.CLIPVisionConfig(
            hidden_size=6,
            image_size=8,
            patch_size=2,
            num_hidden_layers=1,
            num_attention_heads=2,
            intermediate_size=8,
        ),
        text_config=hf.LlamaConfig(
            hidden_size=6,
            num_hidden_layers=1,
            num_attention_heads=2,
            num_key_value_heads=2,
            intermediate_size=8,
            vocab_size=20,
        ),
        image_grid_pinpoints=[list(grid) for grid in GRIDS],
        image_token_index=19,
    )
    return hf.LlavaNextForConditionalGeneration(config).model


@pytest.mark.parametrize("newline", [True, False])
def test_packed_tokens_are_llava_nexts(newline):
    theirs = model()
    for size in SIZES[:-1]:  # of a row of one pixel they keep nothing and fail
        height, width = best_resolution(size, GRIDS)
        tokens = torch.randn(1 + height // 8 * (width // 8), 16, 6)
        end = torch.randn(6) if newline else None
        expected, _ = theirs.pack_image_features(
            [tokens], torch.tensor([size]), "default", image_newline=end
        )
        packed = pack_tiles(tokens, size, GRIDS, 8, end)
        assert torch.equal(packed, expected[0])
        assert packed_tokens(size, GRIDS, 8, 16, newline=newline) == len(packed)


def test_a_thumbnail_alone_ends_with_a_newline_too():
    tokens, end = torch.randn(1, 16, 6), torch.randn(6)
    expected, _ = model().pack_image_features([tokens], torch.tensor([[8, 8]]), "default", end)
    assert torch.equal(pack_tiles(tokens, (8, 8), GRIDS, 8, end), expected[0])


def test_the_newline_and_the_tokens_learn():
    tokens = torch.randn(3, 16, 6, requires_grad=True)
    end = torch.randn(6, requires_grad=True)
    pack_tiles(tokens, (8, 16), GRIDS, 8, end).sum().backward()
    assert end.grad.tolist() == [4.0] * 6  # four rows
    assert tokens.grad.min() == 1


@pytest.mark.parametrize("size", [(4, 9), (9, 4), (5, 5), (1, 8)])
def test_padding_to_a_square_crops_nothing(size):
    picture = torch.rand(3, *size)
    mean = torch.tensor([0.5, 0.4, 0.3])
    square = pad_to_square(picture, mean)
    longest = max(size)
    assert square.shape == (3, longest, longest)
    top, left = (longest - size[0]) // 2, (longest - size[1]) // 2
    inside = square[:, top : top + size[0], left : left + size[1]].clone()
    assert torch.equal(inside, picture)
    square[:, top : top + size[0], left : left + size[1]] = mean[:, None, None]
    assert torch.equal(square, mean[:, None, None].expand_as(square))


def test_tiles_and_pictures_that_do_not_match_are_refused():
    with pytest.raises(ValueError, match="no grid of tiles of 8 px"):
        tile(torch.rand(3, 9, 9), [(8, 12)], 8)
    with pytest.raises(ValueError, match=r"1 x 2 tiles, and there are tokens of 4"):
        pack_tiles(torch.randn(4, 16, 6), (8, 16), GRIDS, 8)
    with pytest.raises(ValueError, match="leave out the class token"):
        pack_tiles(torch.randn(3, 17, 6), (8, 16), GRIDS, 8)
