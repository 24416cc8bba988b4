"""Anthropic's Messages API, by the vendor's SDK.

Formats: https://platform.claude.com/docs/en/api/messages, pictures
https://platform.claude.com/docs/en/build-with-claude/vision, schemas
https://platform.claude.com/docs/en/build-with-claude/structured-outputs.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from polymodal.models.api_calls import Caller, is_page
from polymodal.models.api_pictures import PictureLimits, encode_picture
from polymodal.models.api_shared import (
    CONNECT_S,
    TIMEOUT_S,
    ApiModel,
    Reply,
    apart,
    count_pictures,
    no_sdk,
)
from polymodal.models.messages import (
    Conversation,
    FinishReason,
    GenerationOptions,
    ImagePart,
    Message,
    Modality,
    TextPart,
)

__all__ = ["AnthropicWire"]

PICTURES = PictureLimits(longest_px=1568, most_bytes=3_750_000, request_bytes=22_000_000)
"""5 MB a picture and 32 MB a request, both as base64. Some models look at 2,576 pixels, for nearly
three times the tokens; all of them look at 1,568."""
FINISH: dict[str, FinishReason] = {
    "end_turn": "stop",
    "stop_sequence": "stop",
    "max_tokens": "length",
    "model_context_window_exceeded": "length",
    "refusal": "refused",
}


class AnthropicWire:
    """See `polymodal.models.api_shared.Wire`."""

    pictures = PICTURES
    media: frozenset[Modality] = frozenset({"text", "image"})

    def __init__(self, model: ApiModel, key: str, key_name: str) -> None:
        """Open a client; no request is made.

        Raises:
            MissingDependency: the extra `api` is not installed.
        """
        try:
            import anthropic
        except ModuleNotFoundError as error:
            raise no_sdk(model, "Anthropic's") from error
        timeout = anthropic.Timeout(TIMEOUT_S, connect=CONNECT_S)
        self._client = anthropic.Anthropic(api_key=key, max_retries=0, timeout=timeout)
        self._model = model
        unreachable = (anthropic.APIConnectionError,)
        self.caller = Caller(model.name, unreachable, key, key_name, "Anthropic", model.near)

    def write(self, conversation: Conversation, options: GenerationOptions) -> dict[str, Any]:
        """See `Wire.write`."""
        system, spoken = apart(conversation)
        most_bytes = PICTURES.each(count_pictures(spoken))
        request: dict[str, Any] = {
            "model": self._model.id,
            "max_tokens": self._model.most_tokens(options),
            "messages": [{"role": m.role, "content": _content(m, most_bytes)} for m in spoken],
        }
        if system:
            request["system"] = system
        if options.stop:
            request["stop_sequences"] = list(options.stop)
        temperature = self._model.temperature(options)
        if temperature is not None:
            # The SDK no longer names it, since the newest models refuse it; older ones take it.
            request["extra_body"] = {"temperature": min(1.0, temperature)}
        config: dict[str, Any] = {}
        if self._model.effort:
            config["effort"] = self._model.effort
        if (schema := _schema(options.json_schema)) is not None:
            config["format"] = {"type": "json_schema", "schema": schema}
        if config:
            request["output_config"] = config
        return request

    def ask(self, request: Mapping[str, Any]) -> Reply:
        """See `Wire.ask`."""
        return self._reply(self._client.messages.create(**request))

    def stream(self, request: Mapping[str, Any]) -> Iterator[str | Reply]:
        """See `Wire.stream`."""
        with self._client.messages.stream(**request) as stream:
            if is_page(stream.response.headers):
                raise self.caller.malformed("an HTML page")
            yield from stream.text_stream
            yield self._reply(stream.get_final_message())

    def close(self) -> None:
        """See `Wire.close`."""
        self._client.close()

    def _reply(self, message: Any) -> Reply:
        blocks = getattr(message, "content", None)
        reason = getattr(message, "stop_reason", None)
        if not isinstance(blocks, list) or reason is None:
            raise self.caller.misread(message)
        text = "".join(block.text for block in blocks if block.type == "text")
        finish = FINISH.get(reason, "stop")
        if (usage := message.usage) is None:  # of a proxy: the vendor always tells
            return Reply(text, finish)
        cached = (usage.cache_creation_input_tokens or 0) + (usage.cache_read_input_tokens or 0)
        return Reply(
            text,
            finish,
            prompt_tokens=usage.input_tokens + cached,
            tokens=usage.output_tokens,
        )


def _content(message: Message, most_bytes: int) -> list[dict[str, Any]]:
    content: list[dict[str, Any]] = []
    for part in message.parts:
        if isinstance(part, ImagePart):
            picture = encode_picture(part.image, PICTURES.longest_px, most_bytes)
            source = {
                "type": "base64",
                "media_type": picture.media_type,
                "data": picture.base64,
            }
            content.append({"type": "image", "source": source})
        elif isinstance(part, TextPart) and part.text.strip():  # an empty block is an error there
            content.append({"type": "text", "text": part.text})
    return content


def _schema(schema: Mapping[str, Any] | None) -> dict[str, Any] | None:
    """As the API takes it; None where it cannot say it, so that the prompt alone has to."""
    if schema is None or schema.get("type") != "object":
        return None
    from anthropic import transform_schema

    try:
        return transform_schema(dict(schema))
    except (ValueError, TypeError, AssertionError, AttributeError):
        return None
