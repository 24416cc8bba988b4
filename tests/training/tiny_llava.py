"""Tiny parts of a LLaVA, and conversations about coloured shapes."""

import json
from pathlib import Path

import numpy as np
import transformers as hf
from PIL import Image, ImageDraw

from polymodal.models.hub_loading import Source
from polymodal.models.tensorfiles import find_weight_files
from polymodal.training.conversations import open_dialogues
from polymodal.training.llava_model import assemble, load_llava
from tests.hub import tiny, tiny_generators

SHAPES = {"red": (210, 30, 30), "green": (30, 170, 50), "blue": (40, 60, 220)}
QUESTION = "What colour is the shape?"


def shape(colour, kind, seed, side=48):
    """A circle or a square somewhere on grey."""
    random = np.random.default_rng(seed)
    image = Image.new("RGB", (side, side), (150,) * 3)
    size = int(random.integers(18, 30))
    left, top = (int(each) for each in random.integers(2, side - size - 2, 2))
    box = (left, top, left + size, top + size)
    draw = ImageDraw.Draw(image)
    (draw.ellipse if kind == "circle" else draw.rectangle)(box, fill=SHAPES[colour])
    return image


def shapes(root, each=4, **row):
    """`captions.jsonl` and `talk.json` over the same pictures."""
    root.mkdir(parents=True, exist_ok=True)
    captions, talk = [], []
    for colour in SHAPES:
        for kind in ("circle", "square"):
            for seed in range(each):
                name = f"{colour}-{kind}-{seed}.png"
                shape(colour, kind, seed).save(root / name)
                captions.append({"image": name, "caption": f"a {colour} {kind}"})
                talk.append(conversation(name, (f"<image>\n{QUESTION}", colour), **row))
    (root / "captions.jsonl").write_text("\n".join(map(json.dumps, captions)), encoding="utf-8")
    (root / "talk.json").write_text(json.dumps(talk), encoding="utf-8")
    return root


def conversation(image, *rounds, system=None, name=None):
    """An item of LLaVA's format."""
    said = [{"from": "system", "value": system}] if system else []
    for question, answer in rounds:
        said += [{"from": "human", "value": question}, {"from": "gpt", "value": answer}]
    item = {"id": name or image, "conversations": said}
    return item | ({"image": image} if image else {})


def source(folder):
    folder = Path(folder)
    return Source(str(folder), folder, find_weight_files(folder))


def llama(folder, **more):
    """A language model without a chat template, whose tokenizer knows no pictures."""
    tokenizer = tiny_generators.pieces()
    tokenizer.save_pretrained(folder)
    text = {**tiny_generators.TEXT, **tiny_generators.ends(tokenizer), **more}
    return tiny.seeded(hf.LlamaForCausalLM(hf.LlamaConfig(**text)), folder)


def gpt2(folder):
    """A language model of another build: tied, learnt positions, Conv1D."""
    tokenizer = tiny_generators.byte_level()
    tokenizer.save_pretrained(folder)
    config = hf.GPT2Config(
        n_embd=32, n_layer=2, n_head=4, n_positions=256, **tiny_generators.ends(tokenizer)
    )
    return tiny.seeded(hf.GPT2LMHeadModel(config), folder)


def dinov2(folder):
    """A tower that is no part of a contrastive model."""
    size = {"height": 32, "width": 32}
    hf.BitImageProcessor(size={"shortest_edge": 32}, crop_size=size).save_pretrained(folder)
    vision = {**tiny_generators.VISION, "patch_size": 8}
    vision.pop("intermediate_size")
    return tiny.seeded(hf.Dinov2Model(hf.Dinov2Config(**vision)), folder)


TOWERS = {"clip": tiny.clip, "siglip": tiny.siglip, "dinov2": dinov2}
LANGUAGES = {"llama": llama, "qwen2": tiny_generators.qwen2_text, "gpt2": gpt2}


def joined(vision, language, folder, seed=0):
    """A saved, untrained model of two checkpoints."""
    assemble(source(vision), source(language), seed=seed).save(folder)
    return load_llava(source(folder))


def dialogues(root, *rows, images=None):
    """Opened conversations."""
    file = root / "talk.json"
    file.write_text(json.dumps(rows), encoding="utf-8")
    return open_dialogues(file, images=images)
