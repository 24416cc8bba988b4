"""Conversations as token ids, and which of them are answers: what the loss is taken of.

Notable: borders come from the chat template itself, by prefix tokenisation: the conversation up to
an answer, written as a prompt, is tokenised and counted, then up to the answer's end. So what is
trained on is to the token what the checkpoint is asked with. A token that spans a border belongs to
the answer. The end token is part of the answer; a template that ends no turn (LLaVA 1.5's on the
hub) gets one after the last answer, or the model would never learn to stop.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal

from polymodal.errors import UsageError
from polymodal.models.hub_families import FAMILIES, Family
from polymodal.models.hub_prompts import Writer

__all__ = ["PLACEHOLDER", "Chat", "Encoded", "Turn"]

PLACEHOLDER = "<image>"
"""Where a picture goes in the texts of LLaVA's format."""


@dataclass(frozen=True)
class Turn:
    """What one side says; `<image>` in what the user says stands for a picture."""

    role: Literal["system", "user", "assistant"]
    text: str


@dataclass(frozen=True)
class Encoded:
    """A conversation in tokens.

    Attributes:
        ids: each picture is as many image tokens as it has features.
        answers: for each id whether the model is to say it.
    """

    ids: list[int]
    answers: list[bool]

    def upto(self, limit: int) -> Encoded:
        """The first `limit` tokens."""
        return Encoded(self.ids[:limit], self.answers[:limit])


class Chat:
    """Writes conversations for one checkpoint."""

    def __init__(self, name: str, processor: Any, model_type: str, text_type: str) -> None:
        """For a processor, or the tokenizer of a model that sees nothing.

        Args:
            model_type, text_type: transformers' names of the model's and language model's families.

        Raises:
            UsageError: there is no chat template, or the tokenizer does not know the image token.
        """
        family = FAMILIES.get(model_type, Family())
        self._name, self._processor = name, processor
        self._writer = Writer(name, processor, family, text_type)
        self._tokenizer = getattr(processor, "tokenizer", processor)
        self._sees = self._tokenizer is not processor
        if self._writer.template is None:
            raise UsageError(
                f"{name} has no chat template, so its answers cannot be told from its questions."
            )
        self.image_token = str(getattr(processor, "image_token", PLACEHOLDER))
        vocabulary = self._tokenizer.get_vocab()
        if self._sees and self.image_token not in vocabulary:
            raise UsageError(
                f"the tokenizer of {name} has no image token {self.image_token!r}, so pictures have"
                " no place in its prompts. Build the model with `polymodal train align`, which adds"
                " it."
            )
        self.image_id = vocabulary.get(self.image_token, -1)
        self._specials = tuple(map(str, self._tokenizer.all_special_tokens)) + tuple(
            map(str, self._tokenizer.get_added_vocab())
        )
        plain = self._ids("a")
        with_ends = list(self._tokenizer("a").input_ids)
        self._leading = with_ends[: len(with_ends) - len(plain)]
        if with_ends != self._leading + plain:
            raise UsageError(
                f"the tokenizer of {name} puts an end after every text, so it cannot go on writing:"
                " load it with add_eos_token=False and save it again."
            )

    def encode(self, turns: Sequence[Turn], tokens: Sequence[int]) -> Encoded:
        """A conversation by the chat template, up to the end of its last answer.

        Args:
            tokens: that each picture takes, in order.

        Raises:
            UsageError: the template writes earlier turns otherwise once later ones follow, or has
                no place for a picture.
        """
        text, spans = self._marked(list(turns))
        ids = self._ids(text)
        answers = [False] * len(ids)
        for start, stop in spans:
            first, _ = _shared(self._ids(text[:start]), ids)
            last, whole = _shared(self._ids(text[:stop]), ids)
            last += not whole
            answers[first:last] = [True] * (last - first)
        if not text.endswith(self._specials):
            ids.append(self._tokenizer.eos_token_id)
            answers.append(True)
        bos = self._tokenizer.bos_token
        said = bool(bos) and text.startswith(bos)
        return self._expanded(Encoded(ids, answers), said=said, tokens=tokens)

    def plain(self, text: str, tokens: int) -> Encoded:
        """A picture, then its text and a new line, and nothing else: LLaVA's form of stage 1."""
        ids = self._ids(f"{self._writer.harmless(text)}\n")
        encoded = Encoded([self.image_id, *ids], [False] + [True] * len(ids))
        return self._expanded(encoded, said=False, tokens=[tokens])

    def end_id(self) -> int:
        """Id of the token that ends an answer."""
        encoded = self.encode([Turn("user", "a"), Turn("assistant", "b")], [])
        return encoded.ids[-1]

    def _marked(self, turns: Sequence[Turn]) -> tuple[str, list[tuple[int, int]]]:
        """The text, and from where to where each answer goes in it.

        Before an answer stands what the checkpoint is asked with, also where the template writes
        turns that have been answered otherwise (LLaVA-OneVision's does, by a space).
        """
        text, done = "", ""
        spans: list[tuple[int, int]] = []
        for number, turn in enumerate(turns):
            if turn.role != "assistant":
                continue
            head = self._written(turns[:number], prompt=False)
            asked = self._written(turns[:number], prompt=True)
            whole = self._written(turns[: number + 1], prompt=False)
            prompt, piece = asked[len(head) :], whole[len(head) :]
            at = piece.rfind(self._writer.harmless(turn.text.strip()))
            grows = head.startswith(done) and asked.startswith(head) and whole.startswith(head)
            if not grows or not (piece.startswith(prompt) or at >= 0):
                raise UsageError(
                    f"the chat template of {self._name} writes a turn otherwise once others follow"
                    " it, so its answers cannot be marked: use conversations of one question."
                )
            if not piece.startswith(prompt):
                piece = prompt + piece[at:]
            text += head[len(done) :]
            spans.append((len(text) + len(prompt), len(text) + len(piece.rstrip())))
            text, done = text + piece, whole
        return text[: spans[-1][1]], spans

    def _written(self, turns: Sequence[Turn], *, prompt: bool) -> str:
        if not turns:
            return ""
        from jinja2 import TemplateError

        try:
            return self._templated(turns, prompt=prompt)
        except TemplateError:  # as `Writer` does where there is no system role
            if turns[0].role != "system" or len(turns) < 2:
                raise
            first = Turn(turns[1].role, f"{turns[0].text}\n{turns[1].text}")
            return self._templated([first, *turns[2:]], prompt=prompt)

    def _templated(self, turns: Sequence[Turn], *, prompt: bool) -> str:
        messages = [{"role": each.role, "content": self._content(each)} for each in turns]
        text: str = self._processor.apply_chat_template(
            messages,
            chat_template=self._writer.template,
            tokenize=False,
            add_generation_prompt=prompt,
        )
        return text

    def _content(self, turn: Turn) -> Any:
        if not self._sees:
            return self._writer.harmless(turn.text.strip())
        parts = turn.text.split(PLACEHOLDER) if turn.role == "user" else [turn.text]
        content: list[dict[str, str]] = []
        for number, part in enumerate(parts):
            if number:
                content.append({"type": "image"})
            if part.strip():
                content.append({"type": "text", "text": self._writer.harmless(part.strip())})
        return content

    def _ids(self, text: str) -> list[int]:
        return list(self._tokenizer(text, add_special_tokens=False).input_ids)

    def _expanded(self, encoded: Encoded, *, said: bool, tokens: Sequence[int]) -> Encoded:
        """With what the tokenizer puts before a text, and room for each picture."""
        places = encoded.ids.count(self.image_id) if self._sees else 0
        if self._sees and places != len(tokens):
            raise UsageError(
                f"the chat template of {self._name} has {places} place(s) for {len(tokens)}"
                " picture(s): use a checkpoint whose template writes them all."
            )
        room = iter(tokens)
        ids = [] if said else list(self._leading)
        answers = [False] * len(ids)
        for token, answer in zip(encoded.ids, encoded.answers, strict=True):
            count = next(room) if self._sees and token == self.image_id else 1
            ids += [token] * count
            answers += [answer] * count
        return Encoded(ids, answers)


def _shared(part: Sequence[int], whole: Sequence[int]) -> tuple[int, bool]:
    """How many tokens both begin with, and whether these are all of `part`."""
    count = 0
    for mine, theirs in zip(part, whole, strict=False):
        if mine != theirs:
            break
        count += 1
    return count, count == len(part)
