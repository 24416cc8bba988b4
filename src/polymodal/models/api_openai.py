"""OpenAI's Chat Completions API, and every server that speaks it, by the vendor's SDK.

Formats: https://developers.openai.com/api/reference/resources/chat, pictures
https://developers.openai.com/api/docs/guides/images-vision, sound
https://developers.openai.com/api/docs/guides/audio, schemas
https://developers.openai.com/api/docs/guides/structured-outputs. Servers (vLLM, llama.cpp, Ollama)
get the fields that all of them know.
"""

from __future__ import annotations

import base64
from collections.abc import Iterator, Mapping
from typing import Any

from polymodal.models.api_calls import Caller, is_page
from polymodal.models.api_pictures import PictureLimits, encode_picture
from polymodal.models.api_shared import (
    CONNECT_S,
    TIMEOUT_S,
    ApiModel,
    Reply,
    count_pictures,
    no_sdk,
)
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

__all__ = ["OpenAIWire"]

PICTURES = PictureLimits(longest_px=2048, most_bytes=15_000_000, request_bytes=34_000_000)
"""20 MB a picture and 50 MB a request, both as base64; more than 2,048 pixels are scaled down."""
STRICT = frozenset(
    [
        "$schema",
        "$ref",
        "$defs",
        "title",
        "description",
        "type",
        "properties",
        "required",
        "additionalProperties",
        "items",
        "anyOf",
        "enum",
        "const",
        "pattern",
        "format",
        "multipleOf",
        "minimum",
        "maximum",
        "exclusiveMinimum",
        "exclusiveMaximum",
        "minItems",
        "maxItems",
    ]
)
"""Keywords that strict mode has taken from the start on; lengths of texts came later, and only for
models that are not fine-tuned."""
STRICT_FORMATS = frozenset(
    ["date-time", "time", "date", "duration", "email", "hostname", "ipv4", "ipv6", "uuid"]
)
FINISH: dict[str, FinishReason] = {
    "stop": "stop",
    "length": "length",
    "content_filter": "refused",
}


class OpenAIWire:
    """See `polymodal.models.api_shared.Wire`."""

    pictures = PICTURES
    media: frozenset[Modality] = frozenset({"text", "image"})

    def __init__(self, model: ApiModel, key: str, key_name: str) -> None:
        """Open a client; no request is made.

        Raises:
            MissingDependency: the extra `api` is not installed.
        """
        try:
            import openai
        except ModuleNotFoundError as error:
            raise no_sdk(model, "OpenAI's") from error
        timeout = openai.Timeout(TIMEOUT_S, connect=CONNECT_S)
        self._client = openai.OpenAI(
            api_key=key or "none",  # servers of one's own often ask for none; the SDK does
            base_url=model.url or None,
            max_retries=0,
            timeout=timeout,
        )
        self._create: Any = self._client.chat.completions.create  # its overloads say too little
        self._model = model
        place = model.url or "OpenAI"
        unreachable = (openai.APIConnectionError,)
        self.caller = Caller(model.name, unreachable, key, key_name, place, model.near)

    def write(self, conversation: Conversation, options: GenerationOptions) -> dict[str, Any]:
        """See `Wire.write`."""
        model = self._model
        most_bytes = PICTURES.each(count_pictures(conversation))
        # Servers know the older name only; OpenAI's newer models know the newer one only.
        limit = "max_tokens" if model.url else "max_completion_tokens"
        request: dict[str, Any] = {
            "model": model.id,
            "messages": [_message(message, most_bytes) for message in conversation],
            limit: model.most_tokens(options),
        }
        if (temperature := model.temperature(options)) is not None:
            request["temperature"] = min(2.0, temperature)
        if options.seed is not None and options.temperature > 0:
            request["seed"] = options.seed
        if options.stop:
            request["stop"] = list(options.stop)
        if model.effort:
            request["reasoning_effort"] = model.effort
        if model.logprobs:
            request["logprobs"] = True
        schema = dict(options.json_schema or {})
        # The vendor takes objects alone; other data is left to the prompt.
        if schema and (model.url or schema.get("type") == "object"):
            form = {"name": "answer", "schema": schema, "strict": _is_strict(schema)}
            request["response_format"] = {"type": "json_schema", "json_schema": form}
        return request

    def ask(self, request: Mapping[str, Any]) -> Reply:
        """See `Wire.ask`."""
        completion = self._create(**request)
        choices = getattr(completion, "choices", None)
        if not choices or getattr(choices[0], "message", None) is None:
            raise self.caller.misread(completion)
        choice = choices[0]
        refusal = getattr(choice.message, "refusal", None)
        finish = "refused" if refusal else FINISH.get(choice.finish_reason or "", "stop")
        text = refusal or choice.message.content or ""
        return _reply(text, finish, completion.usage, _logprobs(choice.logprobs))

    def stream(self, request: Mapping[str, Any]) -> Iterator[str | Reply]:
        """See `Wire.stream`."""
        options = {"include_usage": True}
        chunks = self._create(**request, stream=True, stream_options=options)
        said, refused, finish, usage = "", "", "", None
        known: list[float] = []
        with chunks:
            if is_page(chunks.response.headers):
                raise self.caller.malformed("an HTML page")
            for chunk in chunks:
                usage = getattr(chunk, "usage", None) or usage
                for choice in (getattr(chunk, "choices", None) or [])[:1]:
                    delta = choice.delta
                    known += _logprobs(choice.logprobs)
                    refused += getattr(delta, "refusal", None) or ""
                    finish = choice.finish_reason or finish
                    if piece := delta.content or "":
                        said += piece
                        yield piece
        if not finish:
            raise self.caller.malformed("a stream that ended early")
        reason = "refused" if refused else FINISH.get(finish, "stop")
        yield _reply(refused or said, reason, usage, known)

    def close(self) -> None:
        """See `Wire.close`."""
        self._client.close()


def _message(message: Message, most_bytes: int) -> dict[str, Any]:
    if message.role != "user":
        return {"role": message.role, "content": message.text}
    content: list[dict[str, Any]] = []
    for part in message.parts:
        if isinstance(part, ImagePart):
            picture = encode_picture(part.image, PICTURES.longest_px, most_bytes)
            url = {"url": picture.data_url, "detail": "high"}
            content.append({"type": "image_url", "image_url": url})
        elif isinstance(part, AudioPart):
            sound = {"data": base64.b64encode(wav_of(part)).decode(), "format": "wav"}
            content.append({"type": "input_audio", "input_audio": sound})
        elif isinstance(part, TextPart):
            content.append({"type": "text", "text": part.text})
    return {"role": "user", "content": content}


def _logprobs(given: Any) -> list[float]:
    return [float(token.logprob) for token in getattr(given, "content", None) or ()]


def _reply(text: str, finish: FinishReason, usage: Any, logprobs: list[float]) -> Reply:
    return Reply(
        text,
        finish,
        prompt_tokens=usage and usage.prompt_tokens,
        tokens=usage and usage.completion_tokens,
        logprob=sum(logprobs) if logprobs else None,
        audio_tokens=getattr(getattr(usage, "prompt_tokens_details", None), "audio_tokens", None),
    )


def _is_strict(schema: Mapping[str, Any]) -> bool:
    """Whether strict mode takes the schema: an object of closed objects, every field required.

    What is not strict is a hint to the model; a schema that is said to be and is not, an error.
    """
    return schema.get("type") == "object" and "anyOf" not in schema and _keeps_rules(schema)


def _keeps_rules(schema: Any) -> bool:
    if not isinstance(schema, Mapping):
        return False
    if not STRICT.issuperset(schema) or ("$ref" in schema and len(schema) > 1):
        return False
    if schema.get("format", "date") not in STRICT_FORMATS or not _says_what(schema):
        return False
    fields = schema.get("properties", {})
    inner = [*fields.values(), *schema.get("$defs", {}).values(), *schema.get("anyOf", ())]
    return all(map(_keeps_rules, [*inner, *([schema["items"]] if "items" in schema else [])]))


def _says_what(schema: Mapping[str, Any]) -> bool:
    """Whether a schema has a type, of a list that of its items, and of an object all its fields."""
    kinds = schema.get("type", ())
    kinds = {kinds} if isinstance(kinds, str) else set(kinds)
    if not kinds and schema.keys().isdisjoint({"$ref", "anyOf", "enum", "const"}):
        return False
    if "array" in kinds and "items" not in schema:
        return False
    fields = schema.get("properties", {})
    if "object" not in kinds and not fields:
        return True
    closed = schema.get("additionalProperties") is False
    return closed and set(fields) == set(schema.get("required", ()))
