"""Conversations about pictures in LLaVA's format, and which of their tokens are learned.

Notable: only what the assistant says is learned. Where that begins and ends is read from the chat
template itself: the text up to an answer, with the generation prompt, is the beginning of the text
with the answer, so the span between is the answer and what closes it.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from polymodal.errors import MediaError, TrainingError, UsageError
from polymodal.media.pictures import open_picture
from polymodal.media.tables import read_rows
from polymodal.training.loading import TRIES, Sample

__all__ = ["IGNORED", "Conversations", "Dialogue", "Encoder", "grouped_order", "open_conversations"]

IGNORED = -100
"""The label of a token that is not learned."""
PLACEHOLDER = "<image>"
ROLES = {"human": "user", "user": "user", "gpt": "assistant", "assistant": "assistant"}
MEGABATCH = 50
"""Batches that are sorted by length together, as in LLaVA's sampler."""


@dataclass(frozen=True)
class Dialogue:
    """Turns of (role, text) and the picture that the first placeholder stands for."""

    name: str
    turns: tuple[tuple[str, str], ...]
    picture: Path | None

    @property
    def length(self) -> int:
        """Words: what batches are grouped by."""
        return sum(len(text.split()) for _, text in self.turns)


@dataclass(frozen=True)
class Conversations:
    """A data set; `skipped` has a line for each entry that was left out, its name and why."""

    source: str
    items: tuple[Dialogue, ...]
    skipped: tuple[str, ...]

    def __len__(self) -> int:
        return len(self.items)

    @property
    def fingerprint(self) -> str:
        """Of names and turns."""
        digest = hashlib.sha256()
        for item in self.items:
            digest.update(json.dumps([item.name, item.turns]).encode())
        return digest.hexdigest()[:16]


def open_conversations(source: str | Path) -> Conversations:
    """Entries `{"id", "image", "conversations": [{"from": "human", "value"}, ...]}`.

    Pictures are relative to the file. An entry without one is a conversation of text alone.

    Raises:
        UsageError: the file cannot be read or has no usable entry.
    """
    path = Path(source).expanduser()
    items, skipped = [], []
    for number, row in enumerate(read_rows(path), 1):
        name = str(row.get("id", row.get("image", f"entry {number}")))
        try:
            items.append(_dialogue(name, row, path.parent))
        except ValueError as error:
            skipped.append(f"{name}: {error}")
    if not items:
        raise UsageError(f"{path} has no usable conversation. {'; '.join(skipped[:5])}".rstrip())
    return Conversations(str(path), tuple(items), tuple(skipped))


def _dialogue(name: str, row: dict[str, Any], folder: Path) -> Dialogue:
    said = row.get("conversations")
    if not isinstance(said, list) or not said:
        raise ValueError("has no conversations")
    turns = tuple((ROLES.get(str(each.get("from")), ""), str(each["value"])) for each in said)
    if any(not role for role, _ in turns):
        raise ValueError("a turn is from neither human nor gpt")
    if any(role != ("user", "assistant")[at % 2] for at, (role, _) in enumerate(turns)):
        raise ValueError("human and gpt do not take turns")
    if len(turns) < 2 or not all(text.strip() for role, text in turns if role == "assistant"):
        raise ValueError("an answer is missing or empty")
    placeholders = sum(text.count(PLACEHOLDER) for _, text in turns)
    picture = row.get("image")
    pictures = 0 if picture is None else 1
    if placeholders != pictures:
        raise ValueError(f"has {placeholders} times {PLACEHOLDER} and {pictures} pictures")
    if picture is None:
        return Dialogue(name, turns, None)
    file = folder / str(picture)
    if not file.is_file():
        raise ValueError(f"there is no such file: {file}")
    return Dialogue(name, turns, file)


def grouped_order(
    items: Sequence[Dialogue], batch: int, seed: int, epoch: int
) -> NDArray[np.int64]:
    """An order whose batches are of one modality and of similar lengths, shuffled as batches.

    As LLaVA's sampler: shuffle, cut into megabatches, sort each by length. What is left over of the
    two modalities shares batches at the end.
    """
    random = np.random.default_rng((seed, epoch))
    shuffled = random.permutation(len(items))
    whole: list[NDArray[np.int64]] = []
    left: list[NDArray[np.int64]] = []
    for seen in (True, False):
        rows = np.array([n for n in shuffled if (items[n].picture is not None) == seen], np.int64)
        for start in range(0, len(rows), MEGABATCH * batch):
            mega = rows[start : start + MEGABATCH * batch]
            mega = mega[np.argsort([-items[n].length for n in mega], kind="stable")]
            cut = len(mega) // batch * batch
            whole += list(mega[:cut].reshape(-1, batch))
            left.append(mega[cut:])
    order = [whole[n] for n in random.permutation(len(whole))]
    return np.concatenate([*order, *left]).astype(np.int64)


class Encoder:
    """Dialogues to tokens, labels and pixels, by a LLaVA processor."""

    def __init__(self, processor: Any, name: str, most_tokens: int) -> None:
        """Refuse a tokenizer that pictures have no place in.

        Raises:
            UsageError: it has no image token, or no chat template.
        """
        self._processor, self._tokenizer = processor, processor.tokenizer
        self._most = most_tokens
        self._image = str(getattr(processor, "image_token", PLACEHOLDER))
        known = self._tokenizer.get_vocab()
        if self._image not in known:
            raise UsageError(
                f"the tokenizer of {name} has no token {self._image}, so pictures would have no"
                " place in the text: start from `train align`, which adds it."
            )
        if not (processor.chat_template or self._tokenizer.chat_template):
            raise UsageError(f"{name} has no chat template, which says where an answer begins.")

    def __call__(self, dialogue: Dialogue) -> dict[str, Any]:
        """`input_ids` and `labels` (lists), and `pixel_values` (3, S, S) or None.

        Raises:
            MediaError: the picture cannot be opened.
            TrainingError: nothing of it would be learned.
        """
        pixels = None
        if dialogue.picture is not None:
            image = open_picture(dialogue.picture).image
            pixels = self._processor.image_processor(image, return_tensors="pt")["pixel_values"][0]
        text, spans = self.text(dialogue, pixels)
        begun = bool(self._tokenizer.bos_token) and text.startswith(self._tokenizer.bos_token)
        made = self._tokenizer(text, add_special_tokens=not begun, return_offsets_mapping=True)
        ids, places = made["input_ids"][: self._most], made["offset_mapping"][: self._most]
        labels = [
            token if any(start <= at and end <= stop for start, stop in spans) and end > at
            else IGNORED
            for token, (at, end) in zip(ids, places, strict=True)
        ]  # fmt: skip
        if all(label == IGNORED for label in labels):
            raise TrainingError(
                f"{dialogue.name}: no token of an answer is left within {self._most} tokens; set"
                " `most_tokens` higher, or leave it out."
            )
        return {"input_ids": ids, "labels": labels, "pixel_values": pixels}

    def text(self, dialogue: Dialogue, pixels: Tensor | None) -> tuple[str, list[tuple[int, int]]]:
        """The whole conversation, and where in it the answers stand."""
        messages = [_message(role, text) for role, text in dialogue.turns]
        spans = []
        for at, message in enumerate(messages):
            if message["role"] == "assistant":
                before = self._written(messages[:at], pixels, ask=True)
                after = self._written(messages[: at + 1], pixels, ask=False)
                spans.append((_begin(before, after, message["content"][0]["text"]), len(after)))
        whole = self._written(messages, pixels, ask=False)
        start, stop = spans[-1]
        closing = self._tokenizer.eos_token
        if not any(each in whole[start:stop] for each in self._tokenizer.all_special_tokens):
            # This template closes no answer; without an end the model would never stop.
            whole = whole[:stop].rstrip() + closing
            spans[-1] = (start, len(whole))
        return whole, spans

    def _written(self, messages: Sequence[Any], pixels: Tensor | None, *, ask: bool) -> str:
        text: str = self._processor.apply_chat_template(
            list(messages), tokenize=False, add_generation_prompt=ask
        )
        if pixels is None:
            return text
        patch = self._processor.patch_size
        count = (pixels.shape[-1] // patch) * (pixels.shape[-2] // patch)
        count += int(self._processor.num_additional_image_tokens or 0)
        if self._processor.vision_feature_select_strategy == "default":
            count -= 1
        return text.replace(self._image, self._image * count)

    def collate(self, values: Sequence[dict[str, Any]]) -> dict[str, Tensor]:
        """Padded on the right; pictures of the batch one after another."""
        longest = max(len(each["input_ids"]) for each in values)
        pad = self._tokenizer.pad_token_id or 0

        def padded(name: str, filler: int) -> Tensor:
            return torch.tensor([v[name] + [filler] * (longest - len(v[name])) for v in values])

        ids = padded("input_ids", pad)
        mask = torch.tensor(
            [[1] * len(v["input_ids"]) + [0] * (longest - len(v["input_ids"])) for v in values]
        )
        made = {"input_ids": ids, "attention_mask": mask, "labels": padded("labels", IGNORED)}
        pixels = [each["pixel_values"] for each in values if each["pixel_values"] is not None]
        return made | ({"pixel_values": torch.stack(pixels)} if pixels else {})


def _begin(before: str, after: str, answer: str) -> int:
    """Where the answer begins in the text that has it.

    Raises:
        UsageError: the template hides it.
    """
    if after.startswith(before):
        return len(before)
    # Some templates (LLaVA-OneVision's) end the prompt otherwise than they begin an answer.
    pairs = zip(before, after, strict=False)
    shared = next((at for at, (one, other) in enumerate(pairs) if one != other), len(before))
    place = after.find(answer.strip(), shared)
    if place < 0:
        raise UsageError(
            "this chat template changes an answer's words, so what is to be learned cannot be told."
        )
    return place


def _message(role: str, text: str) -> dict[str, Any]:
    """In transformers' form: the picture as a part, the words without its placeholder."""
    parts: list[dict[str, str]] = []
    if PLACEHOLDER in text:
        parts.append({"type": "image"})
        text = text.replace(PLACEHOLDER, "").strip()
    return {"role": role, "content": [*parts, {"type": "text", "text": text}]}


@dataclass(frozen=True)
class DialogueSamples:
    """Fits `Loader`."""

    conversations: Conversations
    encode: Encoder

    def __len__(self) -> int:
        return len(self.conversations)

    def sample(self, epoch: int, index: int) -> Sample:
        """Dialogue `index`; one whose picture cannot be opened is replaced, and named."""
        del epoch
        failures: list[str] = []
        for step in range(min(TRIES, len(self))):
            item = self.conversations.items[(index + step) % len(self)]
            try:
                return Sample(item.name, self.encode(item), tuple(failures))
            except MediaError as error:
                failures.append(f"{item.name}: {error.reason}")
        raise UsageError(
            f"{len(failures)} pictures in a row cannot be opened in {self.conversations.source}."
        )
