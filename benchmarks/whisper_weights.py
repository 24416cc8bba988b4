"""The speech model's weights in another engine: CTranslate2's file read into transformers' Whisper.

Only for comparing engines on the same weights. The file is a list of named arrays (version 6 of the
format); linear layers that read the same input are stored stacked, and are taken apart here.
"""

from __future__ import annotations

import json
import struct
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
import torch

__all__ = ["read_variables", "to_transformers"]

TYPES = {0: np.float32, 1: np.int8, 2: np.int16, 3: np.int32, 4: np.float16}


def read_variables(path: Path) -> dict[str, np.ndarray]:
    """Every array of a `model.bin`, floats as float32; int8 weights times their scale."""
    found: dict[str, np.ndarray] = {}
    with path.open("rb") as file:
        _number(file, "I")
        _text(file)
        _number(file, "I")
        for _ in range(_number(file, "I")):
            name = _text(file)
            shape = [_number(file, "I") for _ in range(_number(file, "B"))]
            kind, size = TYPES[_number(file, "B")], _number(file, "I")
            array = np.frombuffer(file.read(size), kind).reshape(shape)
            found[name] = array.astype(np.float32) if kind == np.float16 else array
    for name in [name for name in found if name.endswith("weight_scale")]:
        weight = name.removesuffix("_scale")
        found[weight] = found[weight] / found[name].reshape(-1, *[1] * (found[weight].ndim - 1))
    return found


def to_transformers(folder: Path) -> tuple[Any, Any]:
    """`WhisperForConditionalGeneration` in float32, ready to generate, and its tokenizer."""
    from tokenizers import Tokenizer
    from transformers import WhisperConfig, WhisperForConditionalGeneration

    source = read_variables(folder / "model.bin")
    width = source["decoder/layer_norm/gamma"].shape[0]
    layers = sum(name.endswith("self_attention/layer_norm/gamma") for name in source) // 2
    vocabulary = source["decoder/embeddings/weight"].shape[0]
    tokenizer = Tokenizer.from_file(str(folder / "tokenizer.json"))
    start, end = (tokenizer.token_to_id(f"<|{n}|>") for n in ("startoftranscript", "endoftext"))
    config = WhisperConfig(
        vocab_size=vocabulary,
        num_mel_bins=source["encoder/conv1/weight"].shape[1],
        d_model=width,
        encoder_layers=layers,
        decoder_layers=layers,
        encoder_attention_heads=width // 64,
        decoder_attention_heads=width // 64,
        encoder_ffn_dim=4 * width,
        decoder_ffn_dim=4 * width,
        bos_token_id=end,
        eos_token_id=end,
        pad_token_id=end,
        decoder_start_token_id=start,
    )
    model = WhisperForConditionalGeneration(config)
    state = {name: torch.from_numpy(np.array(array)) for name, array in _renamed(source, layers)}
    missing, unexpected = model.model.load_state_dict(state, strict=False)
    assert not missing, missing
    assert not unexpected, unexpected
    model.tie_weights()
    model.eval()
    _set_generation(model, json.loads((folder / "config.json").read_text()), tokenizer)
    return model, tokenizer


def _set_generation(model: Any, config: dict[str, Any], tokenizer: Any) -> None:
    generation = model.generation_config
    generation.is_multilingual = True
    generation.lang_to_id = {"<|en|>": tokenizer.token_to_id("<|en|>")}
    generation.task_to_id = {"transcribe": tokenizer.token_to_id("<|transcribe|>")}
    generation.no_timestamps_token_id = tokenizer.token_to_id("<|notimestamps|>")
    generation.suppress_tokens = config["suppress_ids"]
    generation.begin_suppress_tokens = config["suppress_ids_begin"]
    generation.max_length = 448


def _renamed(source: dict[str, np.ndarray], layers: int) -> list[tuple[str, np.ndarray]]:
    """Names and arrays as `WhisperModel.state_dict` has them."""
    pairs: list[tuple[str, np.ndarray]] = [
        ("decoder.embed_tokens.weight", source["decoder/embeddings/weight"])
    ]
    for number in (1, 2):
        pairs += [
            (f"encoder.conv{number}.{part}", source[f"encoder/conv{number}/{part}"])
            for part in ("weight", "bias")
        ]
    for side in ("encoder", "decoder"):
        positions = source[f"{side}/position_encodings/encodings"]
        pairs.append((f"{side}.embed_positions.weight", positions))
        pairs += _norm(source, f"{side}/layer_norm", f"{side}.layer_norm")
        for index in range(layers):
            old, new = f"{side}/layer_{index}", f"{side}.layers.{index}"
            pairs += _attention(source, f"{old}/self_attention", f"{new}.self_attn", stacked=True)
            if side == "decoder":
                pairs += _attention(source, f"{old}/attention", f"{new}.encoder_attn")
            pairs += _norm(source, f"{old}/ffn/layer_norm", f"{new}.final_layer_norm")
            for number in (0, 1):
                pairs += [
                    (f"{new}.fc{number + 1}.{part}", source[f"{old}/ffn/linear_{number}/{part}"])
                    for part in ("weight", "bias")
                ]
    return pairs


def _norm(source: dict[str, np.ndarray], old: str, new: str) -> list[tuple[str, np.ndarray]]:
    return [(f"{new}.weight", source[f"{old}/gamma"]), (f"{new}.bias", source[f"{old}/beta"])]


def _attention(
    source: dict[str, np.ndarray], old: str, new: str, *, stacked: bool = False
) -> list[tuple[str, np.ndarray]]:
    """Query, key, value and output; a self-attention stacks the first three, a cross-attention
    the key and the value. Whisper's keys have no bias."""
    pairs = _norm(source, f"{old}/layer_norm", f"{new}_layer_norm")
    groups = [("q_proj", "k_proj", "v_proj")] if stacked else [("q_proj",), ("k_proj", "v_proj")]
    for number, names in enumerate([*groups, ("out_proj",)]):
        for part in ("weight", "bias"):
            array = source[f"{old}/linear_{number}/{part}"]
            for name, piece in zip(names, np.split(array, len(names)), strict=True):
                if (name, part) != ("k_proj", "bias"):
                    pairs.append((f"{new}.{name}.{part}", piece))
    return pairs


def _number(file: BinaryIO, kind: str) -> int:
    value: int = struct.unpack(f"<{kind}", file.read(struct.calcsize(kind)))[0]
    return value


def _text(file: BinaryIO) -> str:
    return file.read(_number(file, "H"))[:-1].decode()
