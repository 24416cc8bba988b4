"""Google's Gemini API, by the vendor's SDK.

Formats: https://ai.google.dev/api/generate-content, pictures
https://ai.google.dev/gemini-api/docs/image-understanding, sound
https://ai.google.dev/gemini-api/docs/audio, schemas
https://ai.google.dev/gemini-api/docs/structured-output.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from polymodal.models.api_calls import Caller
from polymodal.models.api_pictures import PictureLimits, encode_picture
from polymodal.models.api_shared import TIMEOUT_S, ApiModel, Reply, apart, count_pictures, no_sdk
from polymodal.models.api_sounds import wav_of
from polymodal.models.messages import (
    AudioPart,
    Conversation,
    FinishReason,
    GenerationOptions,
    ImagePart,
    Message,
    Modality,
    TextPart,
)

__all__ = ["GeminiWire"]

PICTURES = PictureLimits(longest_px=3072, most_bytes=7_000_000, request_bytes=14_000_000)
"""20 MB a request, as base64 and with the words; more than 3,072 pixels are scaled down."""
ROLES = {"user": "user", "assistant": "model"}
REFUSED = {
    "SAFETY",
    "RECITATION",
    "LANGUAGE",
    "BLOCKLIST",
    "PROHIBITED_CONTENT",
    "SPII",
    "IMAGE_SAFETY",
    "IMAGE_PROHIBITED_CONTENT",
    "MODEL_ARMOR",
}


class GeminiWire:
    """See `polymodal.models.api_shared.Wire`."""

    pictures = PICTURES
    media: frozenset[Modality] = frozenset({"text", "image", "audio"})

    def __init__(self, model: ApiModel, key: str, key_name: str) -> None:
        """Open a client; no request is made.

        Raises:
            MissingDependency: the extra `api` is not installed.
        """
        try:
            from google import genai
        except ModuleNotFoundError as error:
            raise no_sdk(model, "Google's") from error
        # Without retry options it tries once; no variable may turn it to Vertex.
        self._client = genai.Client(
            api_key=key,
            vertexai=False,
            http_options=genai.types.HttpOptions(timeout=int(TIMEOUT_S * 1000)),
        )
        self._model = model
        self.caller = Caller(model.name, (), key, key_name, "Google", model.near)

    def write(self, conversation: Conversation, options: GenerationOptions) -> dict[str, Any]:
        """See `Wire.write`."""
        system, spoken = apart(conversation)
        most_bytes = PICTURES.each(count_pictures(spoken))
        config: dict[str, Any] = {"max_output_tokens": self._model.most_tokens(options)}
        if system:
            config["system_instruction"] = system
        if (temperature := self._model.temperature(options)) is not None:
            config["temperature"] = min(2.0, temperature)
        if options.seed is not None and options.temperature > 0:
            config["seed"] = options.seed
        if options.stop:
            config["stop_sequences"] = list(options.stop)
        if self._model.effort:
            config["thinking_config"] = {"thinking_level": self._model.effort.upper()}
        if options.json_schema is not None:
            config["response_mime_type"] = "application/json"
            config["response_json_schema"] = dict(options.json_schema)
        return {
            "model": self._model.id,
            "contents": [{"role": ROLES[m.role], "parts": _parts(m, most_bytes)} for m in spoken],
            "config": config,
        }

    def ask(self, request: Mapping[str, Any]) -> Reply:
        """See `Wire.ask`."""
        answer: Any = self._client.models.generate_content(**request)
        finish = _finish(answer)
        if not finish:
            raise self.caller.misread(answer)
        return _reply(_text(answer), finish, answer.usage_metadata)

    def stream(self, request: Mapping[str, Any]) -> Iterator[str | Reply]:
        """See `Wire.stream`."""
        said, finish, usage = "", "", None
        for chunk in self._client.models.generate_content_stream(**request):
            usage = chunk.usage_metadata or usage
            finish = _finish(chunk) or finish
            if piece := _text(chunk):
                said += piece
                yield piece
        if not finish:
            raise self.caller.malformed("a stream that ended early")
        yield _reply(said, finish, usage)

    def close(self) -> None:
        """See `Wire.close`."""
        self._client.close()


def _parts(message: Message, most_bytes: int) -> list[Any]:
    from google.genai import types

    parts: list[types.Part] = []
    for part in message.parts:
        if isinstance(part, ImagePart):
            picture = encode_picture(part.image, PICTURES.longest_px, most_bytes)
            blob = types.Blob(mime_type=picture.media_type, data=picture.content)
            parts.append(types.Part(inline_data=blob))
        elif isinstance(part, AudioPart):
            blob = types.Blob(mime_type="audio/wav", data=wav_of(part))
            parts.append(types.Part(inline_data=blob))
        elif isinstance(part, TextPart):
            parts.append(types.Part(text=part.text))
    return parts


def _text(answer: Any) -> str:
    """What is said, without thoughts."""
    candidates = answer.candidates or []
    content = candidates[0].content if candidates else None
    parts = (content.parts if content is not None else None) or []
    return "".join(part.text for part in parts if part.text and not part.thought)


def _finish(answer: Any) -> str:
    """The vendor's word for why it ended; "" while it has not."""
    feedback = answer.prompt_feedback
    if feedback is not None and feedback.block_reason is not None:
        return "SAFETY"
    candidates = answer.candidates or []
    reason = candidates[0].finish_reason if candidates else None
    return str(getattr(reason, "value", reason) or "")


def _reply(text: str, finish: str, usage: Any) -> Reply:
    reason: FinishReason = "stop"
    if finish == "MAX_TOKENS":
        reason = "length"
    elif finish in REFUSED:
        reason = "refused"
    prompt = said = audio = None
    if usage is not None:
        prompt = usage.prompt_token_count
        audio = _audio_tokens(usage.prompt_tokens_details)
        # Thoughts are charged as output.
        said = (usage.candidates_token_count or 0) + (usage.thoughts_token_count or 0)
    return Reply(text, reason, prompt_tokens=prompt, tokens=said, audio_tokens=audio)


def _audio_tokens(details: Any) -> int | None:
    """Of the prompt, where it is told apart by what it holds."""
    if not details:
        return None
    kinds = [(getattr(each.modality, "value", each.modality), each.token_count) for each in details]
    return sum(count or 0 for kind, count in kinds if kind == "AUDIO")
