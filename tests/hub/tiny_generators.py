"""Tiny checkpoints of the families that write, with the chat templates that theirs are published
with, as far as a test needs them."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import transformers as hf

from tests.hub.tiny import characters, seeded

CONTEXT = 512
TEXT: dict[str, Any] = {
    "hidden_size": 32,
    "intermediate_size": 48,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "max_position_embeddings": CONTEXT,
    "tie_word_embeddings": False,
}
VISION: dict[str, Any] = {
    "hidden_size": 32,
    "intermediate_size": 48,
    "num_hidden_layers": 3,
    "num_attention_heads": 4,
    "image_size": 32,
    "patch_size": 8,
}
EDGE = {"shortest_edge": 32}
SQUARE = {"height": 32, "width": 32}

LLAVA_TEMPLATE = (
    "{% for message in messages %}{% if message['role'] != 'system' %}"
    "{{ message['role'].upper() + ': '}}{% endif %}"
    "{% for content in message['content'] | selectattr('type', 'equalto', 'image') %}"
    "{{ '<image>\n' }}{% endfor %}"
    "{% for content in message['content'] | selectattr('type', 'equalto', 'text') %}"
    "{{ content['text'] + ' '}}{% endfor %}{% endfor %}"
    "{% if add_generation_prompt %}{{ 'ASSISTANT:' }}{% endif %}"
)
QWEN_TEMPLATE = (
    "{% for message in messages %}{% if loop.first and message['role'] != 'system' %}"
    "<|im_start|>system\nYou are a helpful assistant.<|im_end|>\n{% endif %}"
    "<|im_start|>{{ message['role'] }}\n{% if message['content'] is string %}"
    "{{ message['content'] }}<|im_end|>\n{% else %}{% for content in message['content'] %}"
    "{% if content['type'] == 'image' %}<|vision_start|><|image_pad|><|vision_end|>"
    "{% elif content['type'] == 'video' %}<|vision_start|><|video_pad|><|vision_end|>"
    "{% elif 'text' in content %}{{ content['text'] }}{% endif %}{% endfor %}"
    "<|im_end|>\n{% endif %}{% endfor %}"
    "{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}"
)
IDEFICS_TEMPLATE = (
    "<|im_start|>{% for message in messages %}{{message['role'] | capitalize}}"
    "{% if message['content'][0]['type'] == 'image' %}{{':'}}{% else %}{{': '}}{% endif %}"
    "{% for line in message['content'] %}{% if line['type'] == 'text' %}{{line['text']}}"
    "{% elif line['type'] == 'image' %}{{ '<image>' }}{% endif %}{% endfor %}<end_of_utterance>\n"
    "{% endfor %}{% if add_generation_prompt %}{{ 'Assistant:' }}{% endif %}"
)
INTERNVL_TEMPLATE = (
    "{% for message in messages %}{{'<|im_start|>' + message['role'] + '\n'}}"
    "{% if message['content'] is string %}{{ message['content'] }}{% else %}"
    "{% for content in message['content'] %}{% if content['type'] == 'image' %}"
    "{{ '<IMG_CONTEXT>\n' }}{% elif content['type'] == 'video' %}{{ '<video>\n' }}"
    "{% elif content['type'] == 'text' %}{{ content['text'] }}{% endif %}"
    "{% endfor %}{% endif %}{{'<|im_end|>\n'}}{% endfor %}"
    "{% if add_generation_prompt %}{{'<|im_start|>assistant\n' }}{% endif %}"
)


def byte_level(*special: str, **named: str) -> Any:
    """Qwen's tokenizer: bytes, and special tokens."""
    vocabulary = {each: n for n, each in enumerate(characters())}
    for each in ("<|endoftext|>", *special):
        vocabulary.setdefault(each, len(vocabulary))
    tokenizer = hf.Qwen2Tokenizer(vocabulary, [], **named)
    tokenizer.add_special_tokens({"additional_special_tokens": list(special)})
    return tokenizer


def pieces(*special: str) -> Any:
    """LLaMA's tokenizer: bytes as `<0x41>`, letters, and special tokens."""
    vocabulary = {each: n for n, each in enumerate(["<unk>", "<s>", "</s>", "<pad>"])}
    for each in [f"<0x{byte:02X}>" for byte in range(256)]:
        vocabulary[each] = len(vocabulary)
    for letter in "▁abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ?.:":
        vocabulary[letter] = len(vocabulary)
    tokenizer = hf.LlamaTokenizer(vocab=vocabulary, merges=[], pad_token="<pad>")
    tokenizer.add_special_tokens({"additional_special_tokens": list(special)})
    return tokenizer


def ends(tokenizer: Any, **more: Any) -> dict[str, Any]:
    """What a text configuration says of its tokenizer."""
    return {
        "vocab_size": len(tokenizer),
        "bos_token_id": tokenizer.bos_token_id,
        "eos_token_id": tokenizer.eos_token_id,
        "pad_token_id": tokenizer.pad_token_id,
        **more,
    }


def llava(folder: Path, *, template: str | None = LLAVA_TEMPLATE) -> Path:
    """LLaVA 1.5."""
    tokenizer = pieces("<image>")
    images = hf.CLIPImageProcessor(size=EDGE, crop_size=SQUARE)
    hf.LlavaProcessor(
        images,
        tokenizer,
        patch_size=8,
        vision_feature_select_strategy="default",
        num_additional_image_tokens=1,
        chat_template=template,
    ).save_pretrained(folder)
    config = hf.LlavaConfig(
        vision_config=hf.CLIPVisionConfig(**VISION),
        text_config=hf.LlamaConfig(**TEXT, **ends(tokenizer)),
        image_token_index=tokenizer.convert_tokens_to_ids("<image>"),
    )
    return seeded(hf.LlavaForConditionalGeneration(config), folder)


def llava_bare(folder: Path) -> Path:
    """LLaVA 1.5 without a chat template."""
    return llava(folder, template=None)


def llava_next(folder: Path) -> Path:
    """LLaVA-NeXT on Mistral, without a chat template."""
    tokenizer = pieces("<image>")
    pinpoints = [[32, 64], [64, 32], [64, 64]]
    images = hf.LlavaNextImageProcessor(size=EDGE, crop_size=SQUARE, image_grid_pinpoints=pinpoints)
    hf.LlavaNextProcessor(
        images,
        tokenizer,
        patch_size=8,
        vision_feature_select_strategy="default",
        num_additional_image_tokens=1,
    ).save_pretrained(folder)
    config = hf.LlavaNextConfig(
        vision_config=hf.CLIPVisionConfig(**VISION),
        text_config=hf.MistralConfig(**TEXT, **ends(tokenizer)),
        image_token_index=tokenizer.convert_tokens_to_ids("<image>"),
        image_grid_pinpoints=pinpoints,
    )
    return seeded(hf.LlavaNextForConditionalGeneration(config), folder)


def llava_onevision(folder: Path) -> Path:
    """LLaVA-OneVision on Qwen2, without a chat template."""
    tokenizer = byte_level("<|im_start|>", "<|im_end|>", "<image>", "<video>")
    pinpoints = [[32, 64], [64, 32], [64, 64]]
    images = hf.LlavaOnevisionImageProcessor(size=SQUARE, image_grid_pinpoints=pinpoints)
    hf.LlavaOnevisionProcessor(
        images,
        tokenizer,
        hf.LlavaOnevisionVideoProcessor(size=SQUARE),
        num_image_tokens=16,
        vision_feature_select_strategy="full",
    ).save_pretrained(folder)
    config = hf.LlavaOnevisionConfig(
        vision_config=hf.SiglipVisionConfig(**VISION, vision_use_head=False),
        text_config=hf.Qwen2Config(**TEXT, **ends(tokenizer)),
        image_token_index=tokenizer.convert_tokens_to_ids("<image>"),
        video_token_index=tokenizer.convert_tokens_to_ids("<video>"),
        image_grid_pinpoints=pinpoints,
    )
    return seeded(hf.LlavaOnevisionForConditionalGeneration(config), folder)


QWEN = ("<|im_start|>", "<|im_end|>", "<|vision_start|>", "<|vision_end|>", "<|vision_pad|>")
QWEN += ("<|image_pad|>", "<|video_pad|>")


def qwen(kind: str) -> Callable[[Path], Path]:
    """Qwen2-VL, Qwen2.5-VL or Qwen3-VL."""

    def make(folder: Path) -> Path:
        tokenizer = byte_level(*QWEN, eos_token="<|im_end|>")
        patch = 16 if kind == "Qwen3" else 14
        size = {"shortest_edge": 4 * (2 * patch) ** 2, "longest_edge": 16 * (2 * patch) ** 2}
        images = hf.Qwen2VLImageProcessor(size=size, patch_size=patch)
        videos = hf.Qwen3VLVideoProcessor if kind == "Qwen3" else hf.Qwen2VLVideoProcessor
        processor = getattr(
            hf, f"{kind}VLProcessor" if kind != "Qwen2_5" else "Qwen2_5_VLProcessor"
        )
        processor(images, tokenizer, videos(), chat_template=QWEN_TEMPLATE).save_pretrained(folder)
        ids = {
            f"{name}_token_id": tokenizer.convert_tokens_to_ids(f"<|{token}|>")
            for name, token in (
                ("image", "image_pad"),
                ("video", "video_pad"),
                ("vision_start", "vision_start"),
                ("vision_end", "vision_end"),
            )
        }
        text = {**TEXT, **ends(tokenizer)}
        text["rope_parameters"] = {
            "rope_type": "default",
            "rope_theta": 10000.0,
            "mrope_section": [1, 1, 2],
        }
        if kind == "Qwen2":
            vision = {
                "depth": 2,
                "embed_dim": 32,
                "num_heads": 4,
                "hidden_size": 32,
                "mlp_ratio": 2,
            }
            config = hf.Qwen2VLConfig(text_config=text, vision_config=vision, **ids)
            return seeded(hf.Qwen2VLForConditionalGeneration(config), folder)
        vision = {"depth": 2, "hidden_size": 32, "intermediate_size": 48, "num_heads": 4}
        vision |= {"out_hidden_size": 32}
        if kind == "Qwen2_5":
            vision |= {"fullatt_block_indexes": [1], "window_size": 56}
            config = hf.Qwen2_5_VLConfig(text_config=text, vision_config=vision, **ids)
            return seeded(hf.Qwen2_5_VLForConditionalGeneration(config), folder)
        vision |= {"patch_size": 16, "num_position_embeddings": 64, "deepstack_visual_indexes": [0]}
        text |= {"head_dim": 8}
        config = hf.Qwen3VLConfig(text_config=text, vision_config=vision, **ids)
        return seeded(hf.Qwen3VLForConditionalGeneration(config), folder)

    return make


def _tiled(folder: Path, name: str) -> Path:
    """What Idefics3 and SmolVLM share."""
    special = ["<|im_start|>", "<fake_token_around_image>", "<image>", "<end_of_utterance>"]
    special += ["<global-img>", *(f"<row_{r}_col_{c}>" for r in range(1, 5) for c in range(1, 5))]
    tokenizer = byte_level(*special, eos_token="<end_of_utterance>")
    sizes = {"size": {"longest_edge": 64}, "max_image_size": {"longest_edge": 32}}
    parts = [getattr(hf, f"{name}ImageProcessor")(**sizes), tokenizer]
    if name == "SmolVLM":
        parts.append(hf.SmolVLMVideoProcessor(**sizes))
    processor = getattr(hf, f"{name}Processor")
    processor(*parts, image_seq_len=4, chat_template=IDEFICS_TEMPLATE).save_pretrained(folder)
    config = getattr(hf, f"{name}Config")(
        vision_config={**VISION, "num_hidden_layers": 2},
        text_config=hf.LlamaConfig(**TEXT, **ends(tokenizer)),
        image_token_id=tokenizer.convert_tokens_to_ids("<image>"),
        scale_factor=2,
        pad_token_id=tokenizer.pad_token_id,
    )
    return seeded(getattr(hf, f"{name}ForConditionalGeneration")(config), folder)


def idefics3(folder: Path) -> Path:
    """Idefics3."""
    return _tiled(folder, "Idefics3")


def smolvlm(folder: Path) -> Path:
    """SmolVLM."""
    return _tiled(folder, "SmolVLM")


def internvl(folder: Path) -> Path:
    """InternVL in transformers' layout."""
    special = ("<|im_start|>", "<|im_end|>", "<img>", "</img>", "<IMG_CONTEXT>", "<video>")
    named = {"start_image_token": "<img>", "end_image_token": "</img>"}
    named |= {"context_image_token": "<IMG_CONTEXT>", "video_token": "<video>"}
    tokenizer = byte_level(*special, eos_token="<|im_end|>", extra_special_tokens=named)
    images = hf.GotOcr2ImageProcessor(size=SQUARE, crop_to_patches=True, max_patches=4)
    hf.InternVLProcessor(
        images,
        tokenizer,
        hf.InternVLVideoProcessor(size=SQUARE),
        image_seq_length=4,
        chat_template=INTERNVL_TEMPLATE,
    ).save_pretrained(folder)
    config = hf.InternVLConfig(
        vision_config={
            **VISION,
            "num_hidden_layers": 2,
            "image_size": [32, 32],
            "patch_size": [8, 8],
        },
        text_config=hf.Qwen2Config(**TEXT, **ends(tokenizer)),
        image_token_id=tokenizer.convert_tokens_to_ids("<IMG_CONTEXT>"),
        image_seq_length=4,
    )
    return seeded(hf.InternVLForConditionalGeneration(config), folder)


def paligemma(folder: Path) -> Path:
    """PaliGemma, which has no chat template."""
    vocabulary = {each: n for n, each in enumerate(["<pad>", "<eos>", "<bos>", "<unk>", "<mask>"])}
    for each in [f"<0x{byte:02X}>" for byte in range(256)] + list("▁abcdefghijklmnopqrstuvwxyz?"):
        vocabulary[each] = len(vocabulary)
    tokenizer = hf.GemmaTokenizer(vocabulary, [])
    images = hf.SiglipImageProcessor(size=SQUARE)
    images.image_seq_length = 16
    hf.PaliGemmaProcessor(images, tokenizer).save_pretrained(folder)
    config = hf.PaliGemmaConfig(
        vision_config={**VISION, "model_type": "siglip_vision_model", "vision_use_head": False},
        text_config=hf.GemmaConfig(
            **{**TEXT, "tie_word_embeddings": True}, **ends(tokenizer, head_dim=8)
        ),
        image_token_index=tokenizer.convert_tokens_to_ids("<image>"),
        projection_dim=32,
        hidden_size=32,
    )
    return seeded(hf.PaliGemmaForConditionalGeneration(config), folder)


def _qformer(size: int) -> dict[str, Any]:
    return {
        "vocab_size": size,
        "hidden_size": 32,
        "intermediate_size": 48,
        "num_hidden_layers": 2,
        "num_attention_heads": 4,
        "encoder_hidden_size": 32,
    }


def _opt(tokenizer: Any) -> Any:
    text = {"hidden_size": 32, "ffn_dim": 48, "num_hidden_layers": 2, "num_attention_heads": 4}
    return hf.OPTConfig(
        **text, **ends(tokenizer), word_embed_proj_dim=32, max_position_embeddings=CONTEXT
    )


def _gpt2() -> Any:
    vocabulary = {each: n for n, each in enumerate(["<s>", "<pad>", "</s>", *characters()])}
    named = {"bos_token": "</s>", "eos_token": "</s>", "pad_token": "<pad>", "unk_token": "</s>"}
    return hf.GPT2Tokenizer(vocabulary, [], add_bos_token=True, **named)


def blip2(folder: Path) -> Path:
    """BLIP-2 on OPT."""
    tokenizer = _gpt2()
    images = hf.BlipImageProcessor(size=SQUARE)
    hf.Blip2Processor(images, tokenizer, num_query_tokens=4).save_pretrained(folder)
    config = hf.Blip2Config(
        vision_config={**VISION, "num_hidden_layers": 2},
        qformer_config=_qformer(len(tokenizer)),
        text_config=_opt(tokenizer).to_dict(),
        num_query_tokens=4,
        image_token_index=tokenizer.convert_tokens_to_ids("<image>"),
    )
    return seeded(hf.Blip2ForConditionalGeneration(config), folder)


def instructblip(folder: Path) -> Path:
    """InstructBLIP on LLaMA."""
    tokenizer = pieces()
    words = ["what", "is", "this", "the", "red", "saree", "photo", "in"]
    vocabulary = {
        w: n for n, w in enumerate(["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", *words])
    }
    questions = hf.BertTokenizer(vocabulary)
    images = hf.BlipImageProcessor(size=SQUARE)
    hf.InstructBlipProcessor(images, tokenizer, questions, num_query_tokens=4).save_pretrained(
        folder
    )
    config = hf.InstructBlipConfig(
        vision_config={**VISION, "num_hidden_layers": 2},
        qformer_config=_qformer(len(questions)),
        text_config=hf.LlamaConfig(**TEXT, **ends(tokenizer)).to_dict(),
        num_query_tokens=4,
        image_token_index=tokenizer.convert_tokens_to_ids("<image>"),
    )
    return seeded(hf.InstructBlipForConditionalGeneration(config), folder)


def qwen2_text(folder: Path) -> Path:
    """A language model that sees nothing."""
    tokenizer = byte_level("<|im_start|>", "<|im_end|>", eos_token="<|im_end|>")
    tokenizer.chat_template = QWEN_TEMPLATE
    tokenizer.save_pretrained(folder)
    config = hf.Qwen2Config(**TEXT, **ends(tokenizer))
    return seeded(hf.Qwen2ForCausalLM(config), folder)


GENERATORS: dict[str, Callable[[Path], Path]] = {
    "llava": llava,
    "llava_bare": llava_bare,
    "llava_next": llava_next,
    "llava_onevision": llava_onevision,
    "qwen2_vl": qwen("Qwen2"),
    "qwen2_5_vl": qwen("Qwen2_5"),
    "qwen3_vl": qwen("Qwen3"),
    "idefics3": idefics3,
    "smolvlm": smolvlm,
    "internvl": internvl,
    "paligemma": paligemma,
    "blip2": blip2,
    "instructblip": instructblip,
    "qwen2_text": qwen2_text,
}
