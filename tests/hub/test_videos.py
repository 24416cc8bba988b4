"""Videos to the families that take them, against transformers itself."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
import transformers as hf
from transformers.video_utils import VideoMetadata

import polymodal as pm
from polymodal.catalog.hub_models import open_hub_generator
from polymodal.models import hub_generator
from tests.hub import tiny
from tests.hub.test_generators import CHATML, CLASSES, SYSTEM

Get = Callable[[str], Path]
NEW = 6
TIMES_S = (0.0, 0.5, 1.0, 1.5)
SEEN = "<|vision_start|><|video_pad|><|vision_end|>"
QWEN = SYSTEM + f"<|im_start|>user\n{SEEN}{{}}" + CHATML
GOLDEN = {
    "qwen2_vl": QWEN,
    "qwen2_5_vl": QWEN,
    "qwen3_vl": QWEN,
    "llava_onevision": "<|im_start|>user <video>\n{}<|im_end|><|im_start|>assistant\n",
    "smolvlm": "<|im_start|>User: <video>{}<end_of_utterance>\nAssistant:",
    "internvl": "<|im_start|>user\n<video>\n{}" + CHATML,
}


def clip(seed: int) -> pm.VideoPart:
    frames = [tiny.picture(seed + n, (64, 64)) for n in range(len(TIMES_S))]
    return pm.VideoPart(frames, TIMES_S)


def directly(family: str, folder: Path, asked: list[tuple[str, pm.VideoPart]]) -> list[list[int]]:
    """Ids that transformers generates for frames at two a second."""
    processor = hf.AutoProcessor.from_pretrained(folder)
    processor.tokenizer.padding_side = "left"
    model = CLASSES[family].from_pretrained(folder, dtype=torch.float32).eval()
    known = [
        VideoMetadata(total_num_frames=4, fps=2.0, duration=2.0, frames_indices=[0, 1, 2, 3])
        for _ in asked
    ]
    inputs = processor(
        text=[GOLDEN[family].format(question) for question, _ in asked],
        videos=[list(video.frames) for _, video in asked],
        video_metadata=known,
        do_sample_frames=False,
        padding=True,
        return_tensors="pt",
    )
    with torch.inference_mode():
        out = model.generate(**inputs, max_new_tokens=NEW, do_sample=False)
    return out[:, inputs["input_ids"].shape[1] :].tolist()  # type: ignore[no-any-return]


@pytest.mark.parametrize("family", sorted(GOLDEN))
def test_a_video_is_answered_as_by_transformers(
    checkpoint: Get, monkeypatch: pytest.MonkeyPatch, family: str
) -> None:
    asked = [("What happens?", clip(1)), ("Why does it happen?", clip(7))]
    ids: dict[int, list[int]] = {}
    plain = hub_generator._generation

    def noted(loaded: Any, row: Any, ready: Any, *more: Any) -> pm.Generation:
        ids[ready.place] = list(row.tokens)
        return plain(loaded, row, ready, *more)

    monkeypatch.setattr(hub_generator, "_generation", noted)
    generator = open_hub_generator(str(checkpoint(family)), device="cpu")
    assert "video" in generator.info.media
    conversations = [[pm.Message.user(video, question)] for question, video in asked]
    answers = generator.generate(conversations, pm.GenerationOptions(max_tokens=NEW))
    assert all(isinstance(each, pm.Generation) for each in answers), answers
    assert [ids[0], ids[1]] == directly(family, checkpoint(family), asked)


def test_a_family_without_videos_refuses_them(checkpoint: Get) -> None:
    generator = open_hub_generator(str(checkpoint("llava")), device="cpu")
    with pytest.raises(pm.UsageError, match="takes text and image, no video"):
        generator.generate([[pm.Message.user(clip(1), "What happens?")]])
