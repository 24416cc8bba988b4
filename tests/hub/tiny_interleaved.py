"""Tiny checkpoints of the families with cross-attention, and of Idefics2, which came of them."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import transformers as hf

from tests.hub.tiny import seeded
from tests.hub.tiny_generators import (
    IDEFICS_TEMPLATE,
    SQUARE,
    TEXT,
    VISION,
    byte_level,
    ends,
    pieces,
)

IDEFICS2_TEMPLATE = IDEFICS_TEMPLATE.removeprefix("<|im_start|>")
LLAMA3_TEMPLATE = (
    "{{- bos_token }}{%- set ns = namespace(images=false) %}{%- for message in messages %}"
    "{%- if message['content'] is not string %}{%- for content in message['content'] %}"
    "{%- if content['type'] == 'image' %}{%- set ns.images = true %}{%- endif %}{%- endfor %}"
    "{%- endif %}{%- endfor %}{%- if ns.images and messages[0]['role'] == 'system' %}"
    "{{- raise_exception('Prompting with images is incompatible with system messages.') }}"
    "{%- endif %}{%- for message in messages %}"
    "{{- '<|start_header_id|>' + message['role'] + '<|end_header_id|>\n\n' }}"
    "{%- if message['content'] is string %}{{- message['content'] }}{%- else %}"
    "{%- for content in message['content'] %}{%- if content['type'] == 'image' %}"
    "{{- '<|image|>' }}{%- elif content['type'] == 'text' %}{{- content['text'] }}{%- endif %}"
    "{%- endfor %}{%- endif %}{{- '<|eot_id|>' }}{%- endfor %}{%- if add_generation_prompt %}"
    "{{- '<|start_header_id|>assistant<|end_header_id|>\n\n' }}{%- endif %}"
)


def mllama(folder: Path) -> Path:
    """Llama 3.2 Vision. Its picture's token is the one beyond the words it can say."""
    special = ("<|begin_of_text|>", "<|start_header_id|>", "<|end_header_id|>", "<|eot_id|>")
    special += ("<|finetune_right_pad_id|>", "<|python_tag|>", "<|image|>")
    tokenizer = byte_level(
        *special,
        bos_token="<|begin_of_text|>",
        eos_token="<|eot_id|>",
        pad_token="<|finetune_right_pad_id|>",
    )
    images = hf.MllamaImageProcessor(size=SQUARE, max_image_tiles=4)
    hf.MllamaProcessor(images, tokenizer, chat_template=LLAMA3_TEMPLATE).save_pretrained(folder)
    image = tokenizer.convert_tokens_to_ids("<|image|>")
    assert image == len(tokenizer) - 1
    text: dict[str, Any] = {**TEXT, **ends(tokenizer), "vocab_size": image}
    vision = {
        "hidden_size": 32,
        "intermediate_size": 48,
        "num_hidden_layers": 2,
        "num_global_layers": 1,
        "attention_heads": 4,
        "image_size": 32,
        "patch_size": 8,
        "intermediate_layers_indices": [0],
        "vision_output_dim": 64,
    }
    config = hf.MllamaConfig(
        vision_config=vision,
        text_config={**text, "num_hidden_layers": 3, "cross_attention_layers": [1]},
        image_token_index=image,
    )
    return seeded(hf.MllamaForConditionalGeneration(config), folder)


def idefics(folder: Path) -> Path:
    """Idefics, the open Flamingo, tuned for dialogues."""
    tokenizer = pieces("<fake_token_around_image>", "<image>", "<end_of_utterance>")
    images = hf.IdeficsImageProcessor(image_size=32)
    hf.IdeficsProcessor(images, tokenizer).save_pretrained(folder)
    shared = {"hidden_size": 32, "intermediate_size": 48, "num_attention_heads": 4}
    config = hf.IdeficsConfig(
        **shared,
        **{**ends(tokenizer), "vocab_size": len(tokenizer) - 2},
        num_hidden_layers=2,
        additional_vocab_size=2,
        max_position_embeddings=512,
        alpha_type="vector",
        use_resampler=True,
        vision_config={
            "embed_dim": 32,
            "intermediate_size": 48,
            "num_hidden_layers": 2,
            "num_attention_heads": 4,
            "image_size": 32,
            "patch_size": 8,
        },
        perceiver_config={
            "use_resampler": True,
            "resampler_n_latents": 4,
            "resampler_depth": 1,
            "resampler_n_heads": 2,
            "resampler_head_dim": 16,
        },
    )
    return seeded(hf.IdeficsForVisionText2Text(config), folder)


def idefics2(folder: Path) -> Path:
    """Idefics2, which resamples pictures and reads them as tokens."""
    tokenizer = pieces("<fake_token_around_image>", "<image>", "<end_of_utterance>")
    tokenizer.eos_token = "<end_of_utterance>"
    sizes = {"shortest_edge": 24, "longest_edge": 48}
    images = hf.Idefics2ImageProcessor(size=sizes, do_image_splitting=False)
    hf.Idefics2Processor(
        images, tokenizer, image_seq_len=4, chat_template=IDEFICS2_TEMPLATE
    ).save_pretrained(folder)
    config = hf.Idefics2Config(
        vision_config={**VISION, "num_hidden_layers": 2, "image_size": 48},
        perceiver_config={
            "hidden_size": 32,
            "resampler_n_latents": 4,
            "resampler_depth": 1,
            "resampler_n_heads": 2,
            "resampler_head_dim": 16,
            "num_key_value_heads": 2,
        },
        text_config=hf.MistralConfig(**TEXT, **ends(tokenizer)).to_dict(),
        image_token_id=tokenizer.convert_tokens_to_ids("<image>"),
    )
    return seeded(hf.Idefics2ForConditionalGeneration(config), folder)


INTERLEAVED: dict[str, Callable[[Path], Path]] = {
    "mllama": mllama,
    "idefics": idefics,
    "idefics2": idefics2,
}
