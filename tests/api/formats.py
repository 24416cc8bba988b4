"""The vendors' published wire formats, as far as polymodal uses them: what is wrong with a request.

Written from the API references of Anthropic (Messages), OpenAI (Chat Completions) and Google
(generateContent), not from what polymodal sends: a field that is not named there is a problem.
"""

from __future__ import annotations

import base64
import binascii
import io
import re
import wave
from collections.abc import Iterator, Mapping
from typing import Any

from PIL import Image

MEDIA = {"image/jpeg": "JPEG", "image/png": "PNG", "image/webp": "WEBP", "image/gif": "GIF"}
ANTHROPIC_FIELDS = {
    "model",
    "max_tokens",
    "messages",
    "system",
    "stop_sequences",
    "temperature",
} | {"output_config", "stream"}
OPENAI_FIELDS = {
    "model",
    "messages",
    "max_completion_tokens",
    "max_tokens",
    "temperature",
    "seed",
    "stop",
} | {"reasoning_effort", "logprobs", "response_format", "stream", "stream_options"}
OPENAI_HEARS = {"gpt-audio", "gpt-audio-1.5", "gpt-audio-mini"}
GEMINI_FIELDS = {"contents", "systemInstruction", "generationConfig"}
GEMINI_SETTINGS = {
    "maxOutputTokens",
    "temperature",
    "seed",
    "stopSequences",
    "responseMimeType",
} | {"responseJsonSchema", "thinkingConfig"}


def in_camel_case(value: Any) -> Any:
    """A request to Google with the one spelling of each name; its JSON allows two of them."""
    if isinstance(value, list):
        return [in_camel_case(each) for each in value]
    if not isinstance(value, dict):
        return value
    named = {re.sub(r"_([a-z])", lambda found: found[1].upper(), k): v for k, v in value.items()}
    return {k: v if k == "responseJsonSchema" else in_camel_case(v) for k, v in named.items()}


def problems_of(vendor: str, headers: Mapping[str, str], body: Any) -> list[str]:
    """Everything that the vendor's format does not allow."""
    if not isinstance(body, dict):
        return ["the body is no JSON object"]
    check = {"anthropic": _anthropic, "openai": _openai, "gemini": _gemini}[vendor]
    return list(check(headers, body))


def _anthropic(headers: Mapping[str, str], body: dict[str, Any]) -> Iterator[str]:
    # The key goes in x-api-key, or, as the SDK does it since version 2, as a bearer token.
    if not headers.get("x-api-key") and not headers.get("authorization", "").startswith("Bearer "):
        yield "a key is required"
    if not re.fullmatch(r"20\d\d-\d\d-\d\d", headers.get("anthropic-version", "")):
        yield "anthropic-version is required"
    yield from (f"unknown field {name}" for name in set(body) - ANTHROPIC_FIELDS)
    if not isinstance(body.get("max_tokens"), int) or body["max_tokens"] < 1:
        yield "max_tokens is required and positive"
    if not isinstance(body.get("system", "x"), str):
        yield "system is a string"
    if not 0 <= body.get("temperature", 0) <= 1:
        yield "temperature is 0 to 1"
    roles = [message["role"] for message in body["messages"]]
    if roles[0] != "user" or any(role not in {"user", "assistant"} for role in roles):
        yield f"roles are {roles}"
    for message in body["messages"]:
        for block in message["content"]:
            if block["type"] == "text":
                if not block["text"].strip():
                    yield "text content blocks must contain non-whitespace text"
            elif block["type"] == "image":
                source = block["source"]
                if set(source) != {"type", "media_type", "data"} or source["type"] != "base64":
                    yield f"an image source has {sorted(source)}"
                yield from _picture(source["media_type"], source["data"], 5 * 1024**2, 8000)
            else:
                yield f"unknown block {block['type']}"
    config = body.get("output_config", {})
    if config.get("effort", "low") not in {"low", "medium", "high", "xhigh", "max"}:
        yield "effort"
    if "format" in config:
        if config["format"]["type"] != "json_schema":
            yield "output_config.format.type"
        yield from _closed(config["format"]["schema"])


def _openai(headers: Mapping[str, str], body: dict[str, Any]) -> Iterator[str]:
    if not headers.get("authorization", "").startswith("Bearer "):
        yield "a bearer token is required"
    yield from (f"unknown field {name}" for name in set(body) - OPENAI_FIELDS)
    limits = [body.get("max_tokens"), body.get("max_completion_tokens")]
    if sum(isinstance(each, int) and each > 0 for each in limits) != 1:
        yield f"one limit of tokens is wanted, not {limits}"
    if not 0 <= body.get("temperature", 0) <= 2:
        yield "temperature is 0 to 2"
    if "stream_options" in body and not body.get("stream"):
        yield "stream_options only with stream"
    for message in body["messages"]:
        if message["role"] not in {"system", "developer", "user", "assistant"}:
            yield f"role {message['role']}"
        content = message["content"]
        if isinstance(content, str):
            continue
        if message["role"] != "user":
            yield f"content of {message['role']} is a string"
        for part in content:
            if part["type"] == "text":
                continue
            if part["type"] == "input_audio":
                if body["model"] not in OPENAI_HEARS:
                    yield f"{body['model']} takes no sound"
                sound = part["input_audio"]
                if set(sound) != {"data", "format"} or sound["format"] not in {"wav", "mp3"}:
                    yield f"the sound has {sorted(sound)}, format {sound.get('format')}"
                yield from _sound(sound["data"])
                continue
            if part["type"] == "image_url" and body["model"] in OPENAI_HEARS:
                yield f"{body['model']} takes no picture"
            if part["type"] != "image_url" or set(part["image_url"]) - {"url", "detail"}:
                yield f"unknown part {part['type']}"
                continue
            found = re.fullmatch(r"data:([a-z/]+);base64,(.*)", part["image_url"]["url"])
            if found is None:
                yield "image_url is no data URL"
            else:
                yield from _picture(found[1], found[2], 20 * 1024**2, 1_000_000)
    if "response_format" in body:
        if body["model"] in OPENAI_HEARS:
            yield f"{body['model']} has no structured outputs"
        form = body["response_format"]["json_schema"]
        if body["response_format"]["type"] != "json_schema":
            yield "response_format.type"
        if not re.fullmatch(r"[a-zA-Z0-9_-]{1,64}", form["name"]):
            yield "the schema's name"
        if form.get("strict"):
            yield from _closed(form["schema"], all_required=True)


def _gemini(headers: Mapping[str, str], body: dict[str, Any]) -> Iterator[str]:
    if not headers.get("x-goog-api-key"):
        yield "x-goog-api-key is required"
    yield from (f"unknown field {name}" for name in set(body) - GEMINI_FIELDS)
    settings = body.get("generationConfig", {})
    yield from (f"unknown setting {name}" for name in set(settings) - GEMINI_SETTINGS)
    if "responseJsonSchema" in settings and settings.get("responseMimeType") != "application/json":
        yield "a schema needs responseMimeType application/json"
    for content in body["contents"]:
        if content["role"] not in {"user", "model"}:
            yield f"role {content['role']}"
        for part in content["parts"]:
            if set(part) == {"inlineData"}:
                blob = part["inlineData"]
                if blob["mimeType"] == "audio/wav":
                    yield from _sound(blob["data"])
                    continue
                yield from _picture(blob["mimeType"], blob["data"], 20 * 1024**2, 1_000_000)
            elif set(part) != {"text"}:
                yield f"a part has {sorted(part)}"
    if "systemInstruction" in body and "text" not in body["systemInstruction"]["parts"][0]:
        yield "systemInstruction has no text"


def _sound(data: str) -> Iterator[str]:
    content = base64.b64decode(data.replace("-", "+").replace("_", "/"), validate=True)
    with wave.open(io.BytesIO(content)) as file:
        if (file.getnchannels(), file.getsampwidth()) != (1, 2) or not file.getnframes():
            yield f"the sound has {file.getparams()}"


def _picture(media_type: str, data: str, most_bytes: int, most_px: int) -> Iterator[str]:
    if media_type not in MEDIA:
        yield f"media type {media_type}"
        return
    if len(data) > most_bytes:
        yield f"the picture has {len(data)} bytes of base64"
    try:
        content = base64.b64decode(data.replace("-", "+").replace("_", "/"), validate=True)
        picture = Image.open(io.BytesIO(content))
        picture.load()
    except (binascii.Error, OSError) as error:
        yield f"the picture cannot be read: {error}"
        return
    if picture.format != MEDIA[media_type]:
        yield f"{media_type} holds a {picture.format}"
    if max(picture.size) > most_px:
        yield f"the picture has {picture.size} pixels"


def _closed(schema: Any, *, all_required: bool = False) -> Iterator[str]:
    """Objects of a schema say which fields there are, and that there are no others."""
    if isinstance(schema, list):
        for each in schema:
            yield from _closed(each, all_required=all_required)
    if not isinstance(schema, dict):
        return
    if schema.get("type") == "object":
        if schema.get("additionalProperties") is not False:
            yield "additionalProperties must be false"
        if all_required and set(schema["required"]) != set(schema["properties"]):
            yield "every field must be required"
    for each in schema.values():
        yield from _closed(each, all_required=all_required)
