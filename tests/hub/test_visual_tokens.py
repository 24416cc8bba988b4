"""The tokens of a picture as they are worked out, against what transformers' processors write."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import transformers as hf

from polymodal.catalog.choices import choice_of, filled
from polymodal.catalog.visual import processing_of, visual_tokens
from tests.hub.tiny import picture
from tests.hub.tiny_generators import byte_level, pieces

Get = Callable[[str], Path]
# PaliGemma's processor, with a numpy newer than it knows.
pytestmark = pytest.mark.filterwarnings("ignore:__array__ implementation:DeprecationWarning")

FAMILIES = (
    *("llava", "llava_next", "llava_onevision", "qwen2_vl", "qwen2_5_vl", "qwen3_vl", "idefics2"),
    *("idefics3", "smolvlm", "internvl", "paligemma", "blip2", "instructblip"),
)
TOKENS = {"qwen2_vl": "<|image_pad|>", "qwen2_5_vl": "<|image_pad|>", "qwen3_vl": "<|image_pad|>"}
TOKENS |= {"internvl": "<IMG_CONTEXT>"}
SIZES = [(112, 112), (300, 120), (90, 260), (40, 33), (641, 480), (1000, 190), (33, 32), (64, 64)]
LARGE = [(1024, 1024), (640, 480), (480, 640), (1920, 1080), (300, 200), (3000, 400), (2500, 2500)]


def configuration(folder: Path) -> Any:
    return filled(json.loads((folder / "config.json").read_text(encoding="utf-8")))


def written(processor: Any, token: str, size: tuple[int, int]) -> int:
    """Tokens of the picture in the prompt that the processor writes."""
    # The processors of BLIP put the picture before the words by themselves.
    words = "what" if "Blip" in type(processor).__name__ else token
    inputs = processor(text=[words], images=[picture(1, size)])
    return list(inputs["input_ids"][0]).count(processor.tokenizer.convert_tokens_to_ids(token))


@pytest.mark.parametrize("family", FAMILIES)
def test_a_picture_takes_as_many_tokens_as_the_processor_writes(
    family: str, checkpoint: Get
) -> None:
    folder = checkpoint(family)
    processor, token = hf.AutoProcessor.from_pretrained(folder), TOKENS.get(family, "<image>")
    config, processing = configuration(folder), processing_of(folder)
    worked_out = [visual_tokens(config, size, processing).tokens for size in SIZES]
    assert worked_out == [written(processor, token, size) for size in SIZES]


@pytest.mark.parametrize("family", ["idefics2", "idefics3", "smolvlm"])
@pytest.mark.parametrize("split", [True, False])
def test_a_processor_that_splits_or_does_not_is_believed(
    family: str, checkpoint: Get, tmp_path: Path, *, split: bool
) -> None:
    folder = shutil.copytree(checkpoint(family), tmp_path / family)
    file = folder / "processor_config.json"
    settings = json.loads(file.read_text(encoding="utf-8"))
    settings["image_processor"]["do_image_splitting"] = split
    file.write_text(json.dumps(settings), encoding="utf-8")
    processor = hf.AutoProcessor.from_pretrained(folder)
    for size in SIZES:
        seen = visual_tokens(configuration(folder), size, processing_of(folder))
        assert seen.tokens == written(processor, "<image>", size)


def patches(processor: Any, token: str, size: tuple[int, int]) -> int:
    """Positions of the tower that the processor makes of a picture."""
    inputs = processor(text=[token], images=[picture(1, size)], return_tensors="pt")
    pixels = inputs["pixel_values"]
    if "image_grid_thw" in inputs:
        return int(pixels.shape[0])
    tiles = pixels.reshape(-1, *pixels.shape[-3:])
    return int(sum((tile.shape[-2] // 8) * (tile.shape[-1] // 8) for tile in tiles))


@pytest.mark.parametrize("family", [each for each in FAMILIES if each != "idefics2"])
def test_the_tower_looks_at_as_many_patches(family: str, checkpoint: Get) -> None:
    folder = checkpoint(family)
    processor, token = hf.AutoProcessor.from_pretrained(folder), TOKENS.get(family, "<image>")
    for size in ((112, 112), (300, 120), (90, 260)):
        seen = visual_tokens(configuration(folder), size, processing_of(folder))
        assert seen.patches == patches(processor, token, size)


Count = Callable[[int, int], int]
"""From a picture's height and width to its tokens, by a processor that opens no picture."""


def smolvlm(side: int, length: int) -> Count:
    sizes = {"size": {"longest_edge": 4 * side}, "max_image_size": {"longest_edge": side}}
    images = hf.SmolVLMImageProcessor(**sizes)
    return lambda height, width: length * images.get_number_of_image_patches(height, width, {})[0]


def qwen(patch: int, least: int, most: int) -> Count:
    tokenizer = byte_level("<|image_pad|>", "<|video_pad|>", "<|vision_start|>", "<|vision_end|>")
    sizes = {"shortest_edge": least, "longest_edge": most}
    images = hf.Qwen2VLImageProcessor(size=sizes, patch_size=patch)
    return _count(hf.Qwen2VLProcessor(images, tokenizer, hf.Qwen2VLVideoProcessor()))


def internvl(side: int, length: int) -> Count:
    images = hf.GotOcr2ImageProcessor(
        size={"height": side, "width": side}, crop_to_patches=True, min_patches=1, max_patches=12
    )
    return lambda height, width: length * images.get_number_of_image_patches(height, width, {})


def onevision() -> Count:
    images, videos = hf.LlavaOnevisionImageProcessor(), hf.LlavaOnevisionVideoProcessor()
    settings = {"num_image_tokens": 729, "vision_feature_select_strategy": "full"}
    tokenizer = byte_level("<image>", "<video>")
    return _count(hf.LlavaOnevisionProcessor(images, tokenizer, videos, **settings))


def llava_next() -> Count:
    settings = {"vision_feature_select_strategy": "default", "num_additional_image_tokens": 1}
    square = {"height": 336, "width": 336}
    images = hf.LlavaNextImageProcessor(size={"shortest_edge": 336}, crop_size=square)
    tokenizer = pieces("<image>")
    return _count(hf.LlavaNextProcessor(images, tokenizer, patch_size=14, **settings))


def _count(processor: Any) -> Count:
    def count(height: int, width: int) -> int:
        found = processor._get_num_multimodal_tokens(image_sizes=[(height, width)])
        return int(found.num_image_tokens[0])

    return count


PUBLISHED: dict[str, Callable[[], Count]] = {
    "HuggingFaceTB/SmolVLM-256M-Instruct": lambda: smolvlm(512, 64),
    "HuggingFaceTB/SmolVLM-Instruct": lambda: smolvlm(384, 81),
    "Qwen/Qwen2-VL-2B-Instruct": lambda: qwen(14, 3_136, 12_845_056),
    "Qwen/Qwen2.5-VL-3B-Instruct": lambda: qwen(14, 3_136, 12_845_056),
    "Qwen/Qwen3-VL-2B-Instruct": lambda: qwen(16, 65_536, 16_777_216),
    "OpenGVLab/InternVL3-1B-hf": lambda: internvl(448, 256),
    "llava-hf/llava-onevision-qwen2-0.5b-ov-hf": onevision,
    "llava-hf/llava-v1.6-mistral-7b-hf": llava_next,
}
"""Cards, and processors with the numbers that their checkpoints are published with."""


@pytest.mark.parametrize("name", PUBLISHED)
def test_a_card_says_what_its_processor_would_make_of_a_picture(name: str) -> None:
    config, count = choice_of(name).config, PUBLISHED[name]()
    worked_out = [visual_tokens(config, size).tokens for size in LARGE]
    assert worked_out == [count(height, width) for width, height in LARGE]
