"""Checkpoints that write, against transformers itself: the same prompts, the same tokens."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
import transformers as hf
from PIL import Image

import polymodal as pm
from polymodal.catalog.hub_models import open_hub_generator
from polymodal.models import hub_generator
from tests.hub import tiny

Get = Callable[[str], Path]
NEW = 10

SYSTEM = "<|im_start|>system\nYou are a helpful assistant.<|im_end|>\n"
SEEN = "<|vision_start|><|image_pad|><|vision_end|>"
HEADER = "<|start_header_id|>{}<|end_header_id|>\n\n"
CHATML = "<|im_end|>\n<|im_start|>assistant\n"
GOLDEN: dict[str, tuple[str, str]] = {
    "llava": ("USER: {}{} ASSISTANT:", "<image>\n"),
    "llava_bare": ("USER: {}{} ASSISTANT:", "<image>\n"),
    "llava_next": ("[INST] {}{} [/INST]", "<image>\n"),
    "llava_onevision": (
        "<|im_start|>user {}\n{}<|im_end|><|im_start|>assistant\n",
        "<image>",
    ),
    "qwen2_vl": (SYSTEM + "<|im_start|>user\n{}{}" + CHATML, SEEN),
    "qwen2_5_vl": (SYSTEM + "<|im_start|>user\n{}{}" + CHATML, SEEN),
    "qwen3_vl": (SYSTEM + "<|im_start|>user\n{}{}" + CHATML, SEEN),
    "idefics3": ("<|im_start|>User:{}{}<end_of_utterance>\nAssistant:", "<image>"),
    "smolvlm": ("<|im_start|>User:{}{}<end_of_utterance>\nAssistant:", "<image>"),
    "idefics2": ("User:{}{}<end_of_utterance>\nAssistant:", "<image>"),
    "mllama": (
        f"<|begin_of_text|>{HEADER.format('user')}{{}}{{}}<|eot_id|>{HEADER.format('assistant')}",
        "<|image|>",
    ),
    "internvl": ("<|im_start|>user\n{}{}" + CHATML, "<IMG_CONTEXT>\n"),
    "paligemma": ("{}answer en {}", "<image>"),
    "blip2": ("{}Question: {} Answer:", ""),
    "instructblip": ("{}{}", ""),
}
"""What a question about a picture is in the words of each family, and what stands for a picture."""
ONE_PICTURE = {"blip2", "instructblip"}
NEEDS_PICTURE = {*ONE_PICTURE, "paligemma"}
CLASSES = {
    "llava": hf.LlavaForConditionalGeneration,
    "llava_bare": hf.LlavaForConditionalGeneration,
    "llava_next": hf.LlavaNextForConditionalGeneration,
    "llava_onevision": hf.LlavaOnevisionForConditionalGeneration,
    "qwen2_vl": hf.Qwen2VLForConditionalGeneration,
    "qwen2_5_vl": hf.Qwen2_5_VLForConditionalGeneration,
    "qwen3_vl": hf.Qwen3VLForConditionalGeneration,
    "idefics3": hf.Idefics3ForConditionalGeneration,
    "idefics2": hf.Idefics2ForConditionalGeneration,
    "mllama": hf.MllamaForConditionalGeneration,
    "smolvlm": hf.SmolVLMForConditionalGeneration,
    "internvl": hf.InternVLForConditionalGeneration,
    "paligemma": hf.PaliGemmaForConditionalGeneration,
    "blip2": hf.Blip2ForConditionalGeneration,
    "instructblip": hf.InstructBlipForConditionalGeneration,
}
# PaliGemma's processor, with a numpy newer than it knows.
pytestmark = pytest.mark.filterwarnings("ignore:__array__ implementation:DeprecationWarning")
each_family = pytest.mark.parametrize("family", sorted(GOLDEN))


def golden(family: str, question: str, pictures: int = 1) -> str:
    form, token = GOLDEN[family]
    # Idefics' template says "User: " where no picture comes first.
    if family in {"idefics2", "idefics3", "smolvlm"} and not pictures:
        question = f" {question}"
    return form.format(token * pictures, question)


def directly(family: str, folder: Path, asked: list[tuple[str, list[Image.Image]]]) -> list[Any]:
    """Token ids and summed logarithms of probability, as transformers' documentation asks."""
    processor = hf.AutoProcessor.from_pretrained(folder)
    processor.tokenizer.padding_side = "left"
    model = CLASSES[family].from_pretrained(folder, dtype=torch.float32).eval()
    texts = [golden(family, question, len(images)) for question, images in asked]
    pictures: Any = [images for _, images in asked]
    if family in ONE_PICTURE:
        pictures = [images[0] for images in pictures]
    given = {"images": pictures} if any(pictures) else {}
    inputs = processor(text=texts, **given, padding=True, return_tensors="pt")
    settings = {"do_sample": False, "return_dict_in_generate": True, "output_logits": True}
    with torch.inference_mode():
        out = model.generate(**inputs, max_new_tokens=NEW, **settings)
    found = []
    for row in range(len(asked)):
        ids = out.sequences[row, inputs["input_ids"].shape[1] :].tolist()
        if 2 in ids and family == "instructblip":  # LLaMA's end
            ids = ids[: ids.index(2) + 1]
        steps = [each[row].log_softmax(-1) for each in out.logits]
        logprob = sum(float(step[token]) for step, token in zip(steps, ids, strict=False))
        found.append((ids, logprob))
    return found


def ours(
    folder: Path, asked: list[tuple[str, list[Image.Image]]], patch: pytest.MonkeyPatch
) -> list[tuple[list[int], pm.Generation]]:
    """The same through the adapter, with the ids that it decoded."""
    ids: dict[int, list[int]] = {}
    plain = hub_generator._generation

    def noted(loaded: Any, row: Any, ready: Any, *more: Any) -> pm.Generation:
        ids[ready.place] = list(row.tokens)
        return plain(loaded, row, ready, *more)

    patch.setattr(hub_generator, "_generation", noted)
    conversations = [
        [pm.Message.user(*(pm.ImagePart(image) for image in images), question)]
        for question, images in asked
    ]
    generator = open_hub_generator(str(folder), device="cpu")
    answers = generator.generate(conversations, pm.GenerationOptions(max_tokens=NEW))
    assert all(isinstance(each, pm.Generation) for each in answers)
    return [(ids[n], each) for n, each in enumerate(answers)]  # type: ignore[misc]


CASES: dict[str, list[tuple[str, list[Image.Image]]]] = {
    "one picture": [("What is this?", [tiny.picture(1)])],
    "two pictures": [("What is in both?", [tiny.picture(1), tiny.picture(2, (48, 70))])],
    "uneven batch": [
        ("What is shown in the picture, and which colour has it?", [tiny.picture(3, (80, 40))]),
        ("What?", [tiny.picture(4)]),
        ("What is this?", [tiny.picture(5, (33, 64))]),
    ],
    "text alone": [("What is a saree?", []), ("What?", [])],
}


@each_family
@pytest.mark.parametrize("case", sorted(CASES))
def test_tokens_are_exactly_those_of_transformers(
    checkpoint: Get, monkeypatch: pytest.MonkeyPatch, family: str, case: str
) -> None:
    if case == "two pictures" and family in ONE_PICTURE:
        pytest.skip("the family takes one picture")
    if case == "text alone" and family in NEEDS_PICTURE:
        pytest.skip("the family needs a picture")
    wanted = directly(family, checkpoint(family), CASES[case])
    got = ours(checkpoint(family), CASES[case], monkeypatch)
    assert [ids for ids, _ in got] == [ids for ids, _ in wanted]
    for (ids, answer), (_, logprob) in zip(got, wanted, strict=True):
        assert answer.logprob == pytest.approx(logprob, abs=1e-3)
        assert answer.tokens == len(ids)
        assert 0 < (answer.confidence or 0) < 1
        assert answer.finish_reason == ("length" if len(ids) == NEW else "stop")


@each_family
def test_prompts_are_those_that_the_family_documents(checkpoint: Get, family: str) -> None:
    writer = open_hub_generator(str(checkpoint(family)))._load().writer
    picture = pm.ImagePart(tiny.picture(1))
    asked = writer.write([pm.Message.user(picture, "What is this?")])
    assert asked.text == golden(family, "What is this?")
    assert asked.images == (picture.image,)


TURNS: dict[str, str] = {
    "llava_bare": "Be brief. USER: <image>\nWhat? ASSISTANT: A cat</s>USER: Which? ASSISTANT:",
    "llava_next": "[INST] <image>\nBe brief.\nWhat? [/INST] A cat</s>[INST] Which? [/INST]",
    "llava_onevision": "<|im_start|>system \nBe brief.<|im_end|><|im_start|>user <image>\nWhat?"
    "<|im_end|><|im_start|>assistant \nA cat<|im_end|><|im_start|>user \nWhich?<|im_end|>"
    "<|im_start|>assistant\n",
    "qwen2_vl": "<|im_start|>system\nBe brief.<|im_end|>\n<|im_start|>user\n<|vision_start|>"
    "<|image_pad|><|vision_end|>What?<|im_end|>\n<|im_start|>assistant\nA cat<|im_end|>\n"
    "<|im_start|>user\nWhich?<|im_end|>\n<|im_start|>assistant\n",
    "smolvlm": "<|im_start|>System: Be brief.<end_of_utterance>\nUser:<image>What?"
    "<end_of_utterance>\nAssistant: A cat<end_of_utterance>\nUser: Which?<end_of_utterance>\n"
    "Assistant:",
    "blip2": "Question: What? Answer: A cat. Question: Which? Answer:",
    "instructblip": "Which?",
    "paligemma": "<image>answer en Which?",
}


@pytest.mark.parametrize("family", sorted(TURNS))
def test_conversations_of_several_turns(checkpoint: Get, family: str) -> None:
    writer = open_hub_generator(str(checkpoint(family)))._load().writer
    conversation = [
        pm.Message.system("Be brief."),
        pm.Message.user(pm.ImagePart(tiny.picture(1)), "What?"),
        pm.Message.assistant("A cat"),
        pm.Message.user("Which?"),
    ]
    assert writer.write(conversation).text == TURNS[family]


@pytest.mark.parametrize(("family", "prompt"), [("paligemma", "<image>caption en"), ("blip2", "")])
def test_a_picture_without_words_asks_for_a_caption(
    checkpoint: Get, family: str, prompt: str
) -> None:
    generator = open_hub_generator(str(checkpoint(family)), device="cpu")
    bare = [pm.Message.user(pm.ImagePart(tiny.picture(1)))]
    assert generator.info.describes_bare
    assert generator._load().writer.write(bare).text == prompt
    (answer,) = generator.generate([bare], pm.GenerationOptions(max_tokens=4))
    assert isinstance(answer, pm.Generation)


def test_a_mixed_batch_keeps_its_order(checkpoint: Get) -> None:
    generator = open_hub_generator(str(checkpoint("llava")), device="cpu")
    conversations = [
        [pm.Message.user(*([pm.ImagePart(tiny.picture(n))] if n % 2 else []), "What " * (n + 1))]
        for n in range(11)
    ]
    options = pm.GenerationOptions(max_tokens=4)
    together = generator.generate(conversations, options)
    alone = [generator.generate([each], options)[0] for each in conversations]
    assert [each.prompt_tokens for each in together] == [each.prompt_tokens for each in alone]  # type: ignore[union-attr]
    assert [each.text for each in together] == [each.text for each in alone]  # type: ignore[union-attr]
