"""Tiny checkpoints of every family, made from transformers' own classes with seeded weights.

They say nothing sensible; they are there to hold an adapter to what transformers itself does.
"""

from __future__ import annotations

import io
import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch
import transformers as hf
from PIL import Image

WORDS = ["a", "photo", "of", "red", "saree", "blue", "jeans", "what", "is", "this", "cat", "dogs"]


def picture(seed: int, size: tuple[int, int] = (60, 44)) -> Image.Image:
    """Smooth colours, as a photograph has them."""
    random = np.random.default_rng(seed)
    small = random.integers(0, 256, (6, 8, 3), np.uint8)
    return Image.fromarray(small).resize(size, Image.Resampling.BICUBIC)


def two_classes(root: Path, count: int) -> Path:
    """A folder with `count` pictures in turn of two classes, "blue" and "red"."""
    for number in range(count):
        folder = root / ("red" if number % 2 else "blue")
        folder.mkdir(parents=True, exist_ok=True)
        picture(number).save(folder / f"{number}.png")
    return root


def characters() -> list[str]:
    """The 256 characters that stand for bytes in byte-level tokenizers."""
    kept = [*range(33, 127), *range(161, 173), *range(174, 256)]
    others = [byte for byte in range(256) if byte not in kept]
    return [chr(byte) for byte in kept] + [chr(256 + n) for n in range(len(others))]


def seeded(model: Any, folder: Path) -> Path:
    """Weights whose outputs differ, saved as safetensors."""
    with torch.no_grad():
        for name, each in sorted(model.named_parameters()):
            if name in {"logit_scale", "logit_bias"}:
                continue
            random = np.random.default_rng(abs(hash_of(name)))
            values = random.normal(0.0, 0.15, tuple(each.shape)).astype(np.float32)
            each.copy_(torch.from_numpy(values) + (1.0 if each.ndim == 1 and "norm" in name else 0))
    model.save_pretrained(folder)
    return folder


def ending(source: Path, folder: Path, marks: str) -> Path:
    """A copy of a checkpoint whose answers end by themselves, with one of these characters."""
    shutil.copytree(source, folder)
    settings = json.loads((folder / "generation_config.json").read_text())
    tokenizer = hf.AutoTokenizer.from_pretrained(folder, local_files_only=True)
    settings["eos_token_id"] = tokenizer.convert_tokens_to_ids(list(marks))
    (folder / "generation_config.json").write_text(json.dumps(settings))
    return folder


def hash_of(name: str) -> int:
    """The same number for a name in every process."""
    import zlib

    return zlib.crc32(name.encode())


def clip(folder: Path) -> Path:
    """CLIP with its byte-level BPE."""
    letters = characters()
    vocabulary = {each: n for n, each in enumerate([*letters, *(c + "</w>" for c in letters)])}
    for special in ("<|startoftext|>", "<|endoftext|>"):
        vocabulary[special] = len(vocabulary)
    tokenizer = hf.CLIPTokenizer(vocabulary, [], model_max_length=24)
    images = hf.CLIPImageProcessor(
        size={"shortest_edge": 32}, crop_size={"height": 32, "width": 32}
    )
    hf.CLIPProcessor(images, tokenizer).save_pretrained(folder)
    tower = {"hidden_size": 32, "intermediate_size": 48, "num_hidden_layers": 2}
    tower["num_attention_heads"] = 4
    ends = {"bos_token_id": vocabulary["<|startoftext|>"]}
    ends["eos_token_id"] = ends["pad_token_id"] = vocabulary["<|endoftext|>"]
    text = {**tower, **ends, "vocab_size": len(vocabulary), "max_position_embeddings": 24}
    vision = {**tower, "image_size": 32, "patch_size": 8}
    config = hf.CLIPConfig(text_config=text, vision_config=vision, projection_dim=16)
    return seeded(hf.CLIPModel(config), folder)


def siglip(folder: Path) -> Path:
    """SigLIP with its sentencepiece tokenizer."""
    import sentencepiece

    spiece = io.BytesIO()
    lines = [" ".join(WORDS), *WORDS, "abcdefghijklmnopqrstuvwxyz . , ?"]
    sentencepiece.SentencePieceTrainer.train(
        sentence_iterator=iter(lines),
        model_writer=spiece,
        vocab_size=60,
        pad_id=0,
        eos_id=1,
        unk_id=2,
        bos_id=-1,
        pad_piece="<pad>",
        minloglevel=2,
        hard_vocab_limit=False,
    )
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "spiece.model").write_bytes(spiece.getvalue())
    tokenizer = hf.SiglipTokenizer(str(folder / "spiece.model"), model_max_length=16)
    images = hf.SiglipImageProcessor(size={"height": 32, "width": 32})
    hf.SiglipProcessor(images, tokenizer).save_pretrained(folder)
    tower = {"hidden_size": 32, "intermediate_size": 48, "num_hidden_layers": 2}
    tower["num_attention_heads"] = 4
    text = {**tower, "vocab_size": 64, "max_position_embeddings": 16, "projection_size": 32}
    vision = {**tower, "image_size": 32, "patch_size": 8}
    config = hf.SiglipConfig(text_config=text, vision_config=vision)
    model = hf.SiglipModel(config)
    with torch.no_grad():
        model.logit_scale.fill_(2.3)
        model.logit_bias.fill_(-3.1)
    return seeded(model, folder)


def siglip2(folder: Path) -> Path:
    """SigLIP 2, the variant that keeps proportions."""
    vocabulary = {each: n for n, each in enumerate(["<pad>", "<eos>", "<bos>", "<unk>", "<mask>"])}
    for each in [f"<0x{byte:02X}>" for byte in range(256)] + [chr(c) for c in range(97, 123)]:
        vocabulary[each] = len(vocabulary)
    tokenizer = hf.Siglip2Tokenizer(vocabulary, [])
    images = hf.Siglip2ImageProcessor(patch_size=16, max_num_patches=16)
    hf.Siglip2Processor(images, tokenizer).save_pretrained(folder)
    tower = {"hidden_size": 32, "intermediate_size": 48, "num_hidden_layers": 2}
    tower["num_attention_heads"] = 4
    text = {**tower, "vocab_size": len(vocabulary), "max_position_embeddings": 64}
    text |= {"projection_size": 32}
    vision = {**tower, "num_patches": 16, "patch_size": 16}
    config = hf.Siglip2Config(text_config=text, vision_config=vision)
    model = hf.Siglip2Model(config)
    with torch.no_grad():
        model.logit_scale.fill_(2.0)
        model.logit_bias.fill_(-2.5)
    return seeded(model, folder)


CONTRASTIVE: dict[str, Callable[[Path], Path]] = {
    "clip": clip,
    "siglip": siglip,
    "siglip2": siglip2,
}
