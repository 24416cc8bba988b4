"""Conversations in the words of a checkpoint: its chat template, or its family's documented form.

Notable: what a user says, or what was read from a picture, cannot speak the tokenizer's control
tokens (`<image>`, `<|im_start|>`, ...): they are broken up in it. A template without a system role
gets the system's words before the user's. Forms that are no chat leave them out: a model that was
never instructed only reads them as part of the question.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from polymodal.errors import DamagedWeights, ModelUnavailable, UsageError
from polymodal.models.hub_families import Family
from polymodal.models.messages import Conversation, ImagePart, Message, TextPart, VideoPart

if TYPE_CHECKING:
    from PIL import Image

__all__ = ["Prompt", "Writer"]

NAMES = {"user": "User", "assistant": "Assistant"}
IMAGE = "<image>"
CAPTION, ANSWER, LANGUAGE = "caption", "answer", "en"
"""PaliGemma's words for its tasks."""


@dataclass(frozen=True, eq=False)
class Prompt:
    """A conversation as a checkpoint takes it: its text, with a token where each picture goes."""

    text: str
    images: tuple[Image.Image, ...]
    videos: tuple[VideoPart, ...] = ()

    @property
    def shape(self) -> tuple[bool, bool]:
        """Whether it has pictures and videos: what only others of the same shape go with."""
        return bool(self.images), bool(self.videos)


class Writer:
    """Writes prompts for one checkpoint.

    Attributes:
        template: of the chat: the checkpoint's own, or its family's; None where there is neither.
    """

    def __init__(self, name: str, processor: Any, family: Family, text_type: str) -> None:
        """For a processor (or a tokenizer alone, for a model that takes no pictures).

        Args:
            text_type: transformers' `model_type` of the language model.
        """
        self._name = name
        self._processor = processor
        self._family = family
        self._tokenizer = getattr(processor, "tokenizer", processor)
        self._is_processor = self._tokenizer is not processor
        own = getattr(processor, "chat_template", None) or self._tokenizer.chat_template
        if isinstance(own, dict):  # several by name, as some tokenizers bring them
            own = own.get("default")
        self.template: str | None = own or family.fallback(text_type)
        self._control = _control_tokens(processor, self._tokenizer)
        videos: Any = getattr(processor, "video_processor", None)
        if getattr(videos, "cap_pixels_per_frame", True) is None:
            videos.cap_pixels_per_frame = True  # as the vendor's own code; soon the default
        vocabulary = self._tokenizer.get_vocab()
        self._turn_end = next((each for each in family.ends if each in vocabulary), "")
        if family.form == "dialogue":
            # Its processor takes a part that is an address for a picture to fetch.
            self._control += ("://",)

    def write(self, conversation: Conversation) -> Prompt:
        """The prompt.

        Raises:
            UsageError: the conversation has no form in this family.
            ModelUnavailable: the checkpoint brings no chat template, and its family has no form.
            DamagedWeights: its chat template cannot be read.
        """
        images = tuple(
            part.image for m in conversation for part in m.parts if isinstance(part, ImagePart)
        )
        if self._family.needs_picture and not images:
            raise UsageError(f"{self._name} answers about a picture, and there is none.")
        if self._family.form == "chat":
            videos = tuple(p for m in conversation for p in m.parts if isinstance(p, VideoPart))
            text = self._chat(conversation)
            token = str(getattr(self._processor, "video_token", ""))
            if videos and (not token or text.count(token) < len(videos)):
                raise UsageError(
                    f"the chat template of {self._name} has no place for a video: it takes"
                    " pictures only."
                )
            return Prompt(text, images, videos)
        if self._family.form == "dialogue":
            return Prompt(self._dialogue(conversation), images)
        spoken = [m for m in conversation if m.role != "system"]
        if self._family.form == "question":
            return Prompt(self._questions(spoken), images)
        asked = self._said(spoken[-1])
        if self._family.form == "plain":
            return Prompt(asked, images)
        task = f"{ANSWER} {LANGUAGE} {asked}" if asked else f"{CAPTION} {LANGUAGE}"
        return Prompt("<image>" * len(images) + task, images)

    def encode(self, prompts: Sequence[Prompt]) -> Any:
        """Prompts, all with pictures or all without, to the model's input, padded."""
        options: dict[str, Any] = {"padding": True, "return_tensors": "pt"}
        if self._family.form == "dialogue":
            parts = [_interleaved(prompt) for prompt in prompts]
            return self._processor(text=parts, add_end_of_utterance_token=False, **options)
        bos = self._tokenizer.bos_token
        if self._family.form == "chat" and bos and prompts[0].text.startswith(bos):
            options["add_special_tokens"] = False  # the template has said it
        if any(prompt.images for prompt in prompts):
            options["images"] = [list(prompt.images) for prompt in prompts]
            if self._family.max_media == 1:
                options["images"] = [prompt.images[0] for prompt in prompts]
        if videos := [video for prompt in prompts for video in prompt.videos]:
            options["videos"] = [list(video.frames) for video in videos]
            options["video_metadata"] = [_metadata(video) for video in videos]
            options["do_sample_frames"] = False
        return self._processor(text=[prompt.text for prompt in prompts], **options)

    def _chat(self, conversation: Conversation) -> str:
        if self.template is None:
            raise ModelUnavailable(
                f"{self._name} brings no chat template, and its family has no prompt form that is"
                " known here: use its instruction-tuned checkpoint."
            )
        from jinja2 import TemplateError, TemplateSyntaxError

        try:
            try:
                return self._templated(conversation)
            except TemplateError:
                if conversation[0].role != "system":
                    raise
                return self._templated(_folded(conversation))
        except TemplateSyntaxError as error:
            raise DamagedWeights(
                f"the chat template of {self._name} cannot be read (line {error.lineno}: {error})."
                " Copy or download it again."
            ) from error
        except TemplateError as error:
            raise UsageError(
                f"the chat template of {self._name} refuses this conversation: {error}"
            ) from error

    def _templated(self, conversation: Conversation) -> str:
        messages = [{"role": m.role, "content": self._content(m)} for m in conversation]
        template = self.template
        has_video = any(isinstance(part, VideoPart) for m in conversation for part in m.parts)
        if has_video and template is not None and "video" not in template:
            template = None  # a class may know a newer one: SmolVLM's does
        text: str = self._processor.apply_chat_template(
            messages, chat_template=template, tokenize=False, add_generation_prompt=True
        )
        return text

    def _content(self, message: Message) -> Any:
        if not self._is_processor:
            return self._said(message)
        content: list[dict[str, str]] = []
        for part in message.parts:
            if isinstance(part, ImagePart):
                content.append({"type": "image"})
            elif isinstance(part, VideoPart):
                content.append({"type": "video"})
            elif isinstance(part, TextPart):
                content.append({"type": "text", "text": self.harmless(part.text)})
        return content

    def _dialogue(self, conversation: Conversation) -> str:
        """`User:<image>What is this?` and `Assistant: A cat.`, a line each."""
        turns = []
        has_system = conversation[0].role == "system"
        for message in _folded(conversation) if has_system else conversation:
            said = ""
            for part in message.parts:
                if isinstance(part, ImagePart):
                    said += IMAGE
                elif isinstance(part, TextPart):
                    apart = "\n" if said and not said.endswith(IMAGE) else ""
                    said += apart + self.harmless(part.text)
            blank = "" if said.startswith(IMAGE) else " "
            turns.append(f"{NAMES[message.role]}:{blank}{said}{self._turn_end}")
        return "\n".join([*turns, "Assistant:"])

    def _questions(self, spoken: Sequence[Message]) -> str:
        """`Question: ... Answer: ...`; nothing at all for a picture without words."""
        turns = []
        for message in spoken:
            said = self._said(message)
            if message.role == "assistant":
                turns.append(f"{said}.")
            elif said:
                turns.append(f"Question: {said} Answer:")
        return " ".join(turns)

    def _said(self, message: Message) -> str:
        return self.harmless(message.text.strip())

    def harmless(self, text: str) -> str:
        """The text without tokens that the tokenizer would read as commands."""
        for token in self._control:
            if token in text:
                text = text.replace(token, f"{token[0]} {token[1:]}")
        return text


def _metadata(video: VideoPart) -> dict[str, Any]:
    """When its frames are shown, in the library's words: numbers of frames at 1,000 a second."""
    last_s = video.times_s[-1] if video.times_s else 0.0
    step_s = last_s / (len(video.times_s) - 1) if len(video.times_s) > 1 else 1.0
    duration_s = last_s + step_s
    width, height = video.frames[0].size
    return {
        "total_num_frames": round(duration_s * 1000),
        "fps": 1000.0,
        "duration": duration_s,
        "width": width,
        "height": height,
        "frames_indices": [round(time_s * 1000) for time_s in video.times_s],
    }


def _interleaved(prompt: Prompt) -> list[Any]:
    """Words and pictures in the order in which they are meant."""
    first, *rest = prompt.text.split(IMAGE)
    parts: list[Any] = [first]
    for image, words in zip(prompt.images, rest, strict=True):
        parts += [image, words] if words else [image]
    return parts


def _control_tokens(processor: Any, tokenizer: Any) -> tuple[str, ...]:
    """What the tokenizer reads as a command, longest first."""
    tokens = {str(each) for each in tokenizer.all_special_tokens}
    tokens |= {str(each) for each in tokenizer.get_added_vocab()}
    for name in ("image_token", "video_token", "fake_image_token", "global_image_tag"):
        tokens.add(str(getattr(processor, name, "")))
    return tuple(sorted((each for each in tokens if _is_command(each)), key=len, reverse=True))


def _is_command(token: str) -> bool:
    return len(token) > 2 and not token.isspace() and not token.isalnum()


def _folded(conversation: Conversation) -> list[Message]:
    """The system's words in front of the first user's message."""
    system = [m.text for m in conversation if m.role == "system"]
    rest = [m for m in conversation if m.role != "system"]
    parts: Iterable[Any] = rest[0].parts
    media = [part for part in parts if not isinstance(part, TextPart)]
    texts = [part for part in rest[0].parts if isinstance(part, TextPart)]
    before = TextPart("\n".join(system) + "\n")
    return [Message(rest[0].role, (*media, before, *texts)), *rest[1:]]
