"""Pictures between the words: Idefics against transformers itself, and examples of all families."""

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
from tests.hub.test_generators import CASES, CLASSES, NEW, ours

Get = Callable[[str], Path]
END = "<end_of_utterance>"


def interleaved(question: str, images: list[Image.Image]) -> list[Any]:
    """A question about pictures, as the processor's documentation writes a dialogue."""
    if not images:
        return [f"User: {question}{END}\nAssistant:"]
    return ["User:", *images, f"{question}{END}\nAssistant:"]


def idefics(folder: Path, prompts: list[list[Any]]) -> list[tuple[list[int], float]]:
    """Ids and their logarithms of probability, as the model's card asks for an answer."""
    processor = hf.AutoProcessor.from_pretrained(folder)
    processor.tokenizer.padding_side = "left"
    model = hf.IdeficsForVisionText2Text.from_pretrained(folder, dtype=torch.float32).eval()
    inputs = processor(text=prompts, padding=True, add_end_of_utterance_token=False)
    end = processor.tokenizer.convert_tokens_to_ids(END)
    unwanted = processor.tokenizer(["<image>", "<fake_token_around_image>"]).input_ids
    with torch.inference_mode():
        out = model.generate(
            **inputs,
            max_new_tokens=NEW,
            do_sample=False,
            eos_token_id=[processor.tokenizer.eos_token_id, end],
            bad_words_ids=[each[-1:] for each in unwanted],
            return_dict_in_generate=True,
            output_scores=True,
        )
    found = []
    for row in range(len(prompts)):
        ids = out.sequences[row, inputs["input_ids"].shape[1] :].tolist()
        steps = [each[row].log_softmax(-1) for each in out.scores]
        found.append((ids, sum(float(step[t]) for step, t in zip(steps, ids, strict=True))))
    return found


@pytest.mark.parametrize("case", sorted(CASES))
def test_idefics_says_what_transformers_says(
    checkpoint: Get, monkeypatch: pytest.MonkeyPatch, case: str
) -> None:
    folder = checkpoint("idefics")
    wanted = idefics(folder, [interleaved(*each) for each in CASES[case]])
    got = ours(folder, CASES[case], monkeypatch)
    assert [ids for ids, _ in got] == [ids for ids, _ in wanted]
    for (_, answer), (_, logprob) in zip(got, wanted, strict=True):
        assert answer.logprob == pytest.approx(logprob, abs=1e-3)


FAMILIES = ("idefics", "idefics2", "llava", "llava_onevision", "mllama", "qwen2_vl", "smolvlm")
QWEN = "<|im_start|>{}\n{}<|im_end|>\n"
SEEN = "<|vision_start|><|image_pad|><|vision_end|>"
HEADER = "<|start_header_id|>{}<|end_header_id|>\n\n{}"
FEW_SHOT = {
    "idefics": "User:<image>What?<end_of_utterance>\nAssistant: a saree<end_of_utterance>\n"
    "User:<image>And this?<end_of_utterance>\nAssistant: jeans<end_of_utterance>\n"
    "User:<image>Here?<end_of_utterance>\nAssistant:",
    "idefics2": "User:<image>What?<end_of_utterance>\nAssistant: a saree<end_of_utterance>\n"
    "User:<image>And this?<end_of_utterance>\nAssistant: jeans<end_of_utterance>\n"
    "User:<image>Here?<end_of_utterance>\nAssistant:",
    "mllama": "<|begin_of_text|>"
    + HEADER.format("user", "<|image|>What?<|eot_id|>")
    + HEADER.format("assistant", "a saree<|eot_id|>")
    + HEADER.format("user", "<|image|>And this?<|eot_id|>")
    + HEADER.format("assistant", "jeans<|eot_id|>")
    + HEADER.format("user", "<|image|>Here?<|eot_id|>")
    + HEADER.format("assistant", ""),
    "qwen2_vl": QWEN.format("system", "You are a helpful assistant.")
    + QWEN.format("user", f"{SEEN}What?")
    + QWEN.format("assistant", "a saree")
    + QWEN.format("user", f"{SEEN}And this?")
    + QWEN.format("assistant", "jeans")
    + QWEN.format("user", f"{SEEN}Here?")
    + "<|im_start|>assistant\n",
}


def few_shot() -> list[pm.Message]:
    shown = [pm.ImagePart(tiny.picture(n)) for n in (1, 2, 3)]
    return [
        pm.Message.user(shown[0], "What?"),
        pm.Message.assistant("a saree"),
        pm.Message.user(shown[1], "And this?"),
        pm.Message.assistant("jeans"),
        pm.Message.user(shown[2], "Here?"),
    ]


@pytest.mark.parametrize("family", sorted(FEW_SHOT))
def test_examples_are_turns_of_the_family_s_own_form(checkpoint: Get, family: str) -> None:
    writer = open_hub_generator(str(checkpoint(family)))._load().writer
    prompt = writer.write(few_shot())
    assert prompt.text == FEW_SHOT[family]
    assert len(prompt.images) == 3


@pytest.mark.parametrize("family", ["idefics", "idefics2", "mllama"])
def test_an_answer_after_examples_is_that_of_transformers(
    checkpoint: Get, monkeypatch: pytest.MonkeyPatch, family: str
) -> None:
    folder, images = checkpoint(family), [tiny.picture(n) for n in (1, 2, 3)]
    if family == "idefics":
        words = FEW_SHOT[family].split("<image>")
        parts = [words[0], images[0], words[1], images[1], words[2], images[2], words[3]]
        ((wanted, _),) = idefics(folder, [parts])
    else:
        processor = hf.AutoProcessor.from_pretrained(folder)
        model = CLASSES[family].from_pretrained(folder, dtype=torch.float32).eval()
        inputs = processor(text=[FEW_SHOT[family]], images=[images], return_tensors="pt")
        with torch.inference_mode():
            out = model.generate(**inputs, max_new_tokens=NEW, do_sample=False)
        wanted = out[0, inputs["input_ids"].shape[1] :].tolist()
    ids: list[int] = []
    plain = hub_generator._generation

    def noted(loaded: Any, row: Any, *more: Any) -> pm.Generation:
        ids.extend(row.tokens)
        return plain(loaded, row, *more)

    monkeypatch.setattr(hub_generator, "_generation", noted)
    generator = open_hub_generator(str(folder), device="cpu")
    (answer,) = generator.generate([few_shot()], pm.GenerationOptions(max_tokens=NEW))
    assert isinstance(answer, pm.Generation)
    assert ids == wanted


@pytest.mark.parametrize("family", FAMILIES)
def test_another_example_changes_the_answer_s_probability(checkpoint: Get, family: str) -> None:
    generator = open_hub_generator(str(checkpoint(family)), device="cpu")
    other = few_shot()
    other[0] = pm.Message.user(pm.ImagePart(tiny.picture(9)), "What?")
    first, second = generator.generate([few_shot(), other], pm.GenerationOptions(max_tokens=2))
    assert isinstance(first, pm.Generation)
    assert isinstance(second, pm.Generation)
    assert first.logprob != pytest.approx(second.logprob, abs=1e-6)


def test_who_takes_examples_and_who_does_not(checkpoint: Get) -> None:
    takes = {
        family: (info := open_hub_generator(str(checkpoint(family))).info).few_shot
        and info.max_media > 1
        for family in (*FAMILIES, "blip2", "instructblip", "paligemma", "qwen2_text")
    }
    assert {family for family, yes in takes.items() if yes} == set(FAMILIES)


def test_no_words_are_taken_for_an_address_to_fetch(
    checkpoint: Get, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fetched(_: Any, images: Any) -> Any:
        assert not isinstance(images, str), "an address would be fetched"
        return images

    monkeypatch.setattr(hf.IdeficsImageProcessor, "fetch_images", fetched)
    generator = open_hub_generator(str(checkpoint("idefics")), device="cpu")
    address = "https://127.0.0.1:9/secret.png"
    asked = [pm.Message.user(pm.ImagePart(tiny.picture(1)), address)]
    (answer,) = generator.generate([asked], pm.GenerationOptions(max_tokens=2))
    assert isinstance(answer, pm.Generation)


def test_a_base_checkpoint_without_turn_ends_is_spoken_to_without_them(
    checkpoint: Get, monkeypatch: pytest.MonkeyPatch
) -> None:
    writer = open_hub_generator(str(checkpoint("idefics")))._load().writer
    monkeypatch.setattr(writer, "_turn_end", "")
    text = writer.write([pm.Message.system("Be brief."), *few_shot()]).text
    assert text == (
        "User:<image>Be brief.\n\nWhat?\nAssistant: a saree\nUser:<image>And this?\n"
        "Assistant: jeans\nUser:<image>Here?\nAssistant:"
    )
