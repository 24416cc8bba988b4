"""The families of checkpoints that are known by name: what they take and how they are spoken to.

Notable: a table, read without importing transformers. A generator that is not in it works too where
its processor brings a chat template; a family that has none needs its documented prompt form, and
is here for that.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

__all__ = ["BRIDGED", "CONTRASTIVE", "FAMILIES", "STAGE_ONE", "Family", "PromptForm"]

PromptForm = Literal["chat", "dialogue", "question", "plain", "prefix"]

BRIDGED = ("polymodal_bridged", "polymodal_gated")
"""Forms of `hub_bridged`, which transformers has not."""
STAGE_ONE = "polymodal_qformer"
"""A tower with a Q-Former: what `train qformer` leaves, for `train align` to go on from."""
CONTRASTIVE = frozenset({"clip", "siglip", "siglip2"})
"""Model types whose two towers embed pictures and texts."""
SIGMOID = frozenset({"siglip", "siglip2"})
"""Those of them that were trained with a sigmoid for each pair."""

USER_ASSISTANT = (
    "{% for m in messages %}{% if m.role == 'system' %}"
    "{% for p in m.content %}{{ p.text + ' ' }}{% endfor %}{% else %}"
    "{{ m.role | upper }}: {% for p in m.content %}"
    "{% if p.type == 'image' %}<image>\n{% else %}{{ p.text }}{% endif %}{% endfor %}"
    "{{ ' ' if m.role == 'user' else '</s>' }}{% endif %}{% endfor %}"
    "{% if add_generation_prompt %}ASSISTANT:{% endif %}"
)
"""Vicuna's form: `USER: <image>\\nWhat is this? ASSISTANT:`; a picture stands where it is meant."""
INST = (
    "{% for m in messages %}{% if m.role == 'user' %}[INST] "
    "{% for p in m.content if p.type == 'image' %}<image>\n{% endfor %}"
    "{% for p in m.content if p.type == 'text' %}{{ p.text }}{% endfor %} [/INST]"
    "{% elif m.role == 'assistant' %} {% for p in m.content %}{{ p.text }}{% endfor %}</s>"
    "{% else %}{{ raise_exception('no system role') }}{% endif %}{% endfor %}"
)
"""Mistral's form: `[INST] <image>\\nWhat is this? [/INST]`; it has no system role."""
CHATML = (
    "{% for m in messages %}<|im_start|>{{ m.role }} "
    "{% for p in m.content if p.type == 'image' %}<image>{% endfor %}"
    "{% for p in m.content if p.type == 'video' %}<video>{% endfor %}"
    "{% for p in m.content if p.type == 'text' %}{{ '\n' + p.text }}{% endfor %}<|im_end|>"
    "{% endfor %}{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}"
)
"""LLaVA-OneVision's form of ChatML."""


@dataclass(frozen=True)
class Family:
    """How a family of generators is spoken to.

    Attributes:
        form: "chat" by a chat template; "dialogue" as `User:` and `Assistant:` with pictures
            between the words; "question" as `Question: ... Answer:`; "plain" as the
            words are; "prefix" as a task's word, a language and the question.
        template: for a checkpoint that brings no chat template, by the language model's type; ""
            is for any.
        max_media: pictures in one conversation.
        needs_picture: it cannot answer without one.
        videos: its processor takes frames with their times.
        ends: tokens that end a turn, where the tokenizer has them and the checkpoint's generation
            settings do not name them.
        never: tokens that stand for pictures and are never to be said.
    """

    form: PromptForm = "chat"
    template: tuple[tuple[str, str], ...] = ()
    max_media: int = 32
    needs_picture: bool = False
    videos: bool = False
    ends: tuple[str, ...] = ()
    never: tuple[str, ...] = ()

    def fallback(self, text_type: str) -> str | None:
        """The template for a checkpoint without one."""
        known = dict(self.template)
        return known.get(text_type, known.get(""))


FAMILIES: dict[str, Family] = {
    "llava": Family(template=(("", USER_ASSISTANT),)),
    **dict.fromkeys(BRIDGED, Family(template=(("", USER_ASSISTANT),))),
    "llava_next": Family(
        template=(("mistral", INST), ("llama", USER_ASSISTANT), ("qwen2", CHATML))
    ),
    "llava_onevision": Family(template=(("", CHATML),), videos=True),
    "qwen2_vl": Family(videos=True),
    "qwen2_5_vl": Family(videos=True),
    "qwen3_vl": Family(videos=True),
    "mllama": Family(),
    "idefics": Family(
        "dialogue",
        ends=("<end_of_utterance>",),
        never=("<image>", "<fake_token_around_image>"),
    ),
    "idefics2": Family(),
    "idefics3": Family(),
    "smolvlm": Family(videos=True),
    "internvl": Family(videos=True),
    "paligemma": Family("prefix", needs_picture=True),
    "blip-2": Family("question", max_media=1, needs_picture=True),
    "instructblip": Family("plain", max_media=1, needs_picture=True),
}
"""By transformers' `model_type`."""
