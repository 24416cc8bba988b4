"""What is sent to each vendor and read from it, by the vendor's own SDK."""

from __future__ import annotations

import base64
import io
import math
import wave
from dataclasses import replace
from datetime import date
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image
from pydantic import TypeAdapter

import polymodal as pm
from polymodal.catalog.generators import open_generator
from polymodal.models.api_shared import Price
from polymodal.models.messages import GenerationOptions
from polymodal.tasks.structured import Structured, ask_for
from tests.api.conftest import KEYS, MODELS, VENDORS
from tests.api.server import (
    AUDIO_TOKENS,
    CUT,
    LOGPROB,
    PROMPT_TOKENS,
    REFUSAL,
    TOKENS,
    Received,
    Service,
)

SCHEMA = {
    "type": "object",
    "properties": {"colour": {"type": "string"}, "count": {"type": "integer", "minimum": 0}},
    "required": ["colour", "count"],
    "additionalProperties": False,
}

STANDARD = str.maketrans("-_", "+/")


def noise(width: int, height: int) -> Image.Image:
    pixels = np.random.default_rng(1).integers(0, 255, (height, width, 3), np.uint8)
    return Image.fromarray(pixels)


def plain() -> Image.Image:
    return Image.new("RGB", (40, 30), (215, 30, 40))


def asked(*parts: Any) -> list[pm.Message]:
    return [
        pm.Message.system("Be brief."),
        pm.Message.user("What is this?", pm.ImagePart(plain())),
        pm.Message.assistant("A square."),
        pm.Message.user(*parts),
    ]


def pictures_in(received: Received) -> list[Image.Image]:
    """Of a request, in any of the formats."""
    found: list[str] = []

    def search(value: Any) -> None:
        if isinstance(value, dict):
            if "data" in value:
                found.append(value["data"])
            if isinstance(url := value.get("url"), str):
                found.append(url.partition(",")[2])
            for each in value.values():
                search(each)
        if isinstance(value, list):
            for each in value:
                search(each)

    search(received.body)
    # Google's SDK writes base64 with the alphabet for addresses; its JSON allows either.
    contents = [base64.b64decode(data.translate(STANDARD)) for data in found]
    return [Image.open(io.BytesIO(content)) for content in contents]


@pytest.mark.parametrize("vendor", VENDORS)
def test_a_conversation_goes_out_in_the_vendor_s_format(service: Service, vendor: str) -> None:
    parts = ("And these?", pm.ImagePart(noise(64, 48)), pm.ImagePart(plain()))
    options = GenerationOptions(max_tokens=77, stop=("END",))
    (answer,) = open_generator(MODELS[vendor]).generate([asked(*parts)], options)
    assert isinstance(answer, pm.Generation)
    assert (answer.text, answer.finish_reason) == ("A red square.", "stop")
    assert (answer.prompt_tokens, answer.tokens) == (PROMPT_TOKENS, TOKENS)
    (received,) = service.received
    assert [p.format for p in pictures_in(received)] == ["PNG", "JPEG", "PNG"]
    body = received.body
    if vendor == "anthropic":
        assert KEYS["ANTHROPIC_API_KEY"] in str(received.headers)
        assert body["system"] == "Be brief."
        assert (body["max_tokens"], body["temperature"]) == (77, 0)
        assert body["stop_sequences"] == ["END"]
        assert [m["role"] for m in body["messages"]] == ["user", "assistant", "user"]
        assert [b["type"] for b in body["messages"][-1]["content"]] == ["text", "image", "image"]
    elif vendor == "openai":
        assert received.headers["authorization"] == f"Bearer {KEYS['OPENAI_API_KEY']}"
        assert body["messages"][0] == {"role": "system", "content": "Be brief."}
        assert body["messages"][2] == {"role": "assistant", "content": "A square."}
        assert (body["max_completion_tokens"], body["temperature"]) == (77, 0)
        assert body["stop"] == ["END"]
        kinds = [part["type"] for part in body["messages"][-1]["content"]]
        assert kinds == ["text", "image_url", "image_url"]
    else:
        assert received.path.endswith("/models/gemini-3.8-flash:generateContent")
        assert received.headers["x-goog-api-key"] == KEYS["GEMINI_API_KEY"]
        assert body["systemInstruction"]["parts"] == [{"text": "Be brief."}]
        settings = body["generationConfig"]
        # What it thinks counts there as well: the card leaves room for it.
        assert settings["maxOutputTokens"] == 77 + 4096
        assert settings["thinkingConfig"] == {"thinkingLevel": "LOW"}
        assert settings["temperature"] == 0
        assert settings["stopSequences"] == ["END"]
        assert [c["role"] for c in body["contents"]] == ["user", "model", "user"]


def test_a_temperature_goes_only_where_it_is_taken(service: Service) -> None:
    warm = GenerationOptions(temperature=0.7, seed=5)
    for name in ("openai:gpt-5.5", "anthropic:claude-sonnet-5-5", "anthropic:claude-new-9"):
        open_generator(name).generate([[pm.Message.user("Hello")]])
        assert "temperature" not in service.received[-1].body, name
    # Of a model that nobody knows, it is sent where it was asked for.
    open_generator("anthropic:claude-new-9").generate([[pm.Message.user("Hello")]], warm)
    assert service.received[-1].body["temperature"] == 0.7
    open_generator("openai:gpt-5.4-mini").generate([[pm.Message.user("Hello")]], warm)
    assert service.received[-1].body["temperature"] == 0.7
    assert service.received[-1].body["seed"] == 5
    open_generator("gemini:gemini-3.8-flash").generate([[pm.Message.user("Hello")]], warm)
    assert service.received[-1].body["generationConfig"]["seed"] == 5
    open_generator("anthropic:claude-sonnet-5-5").generate([[pm.Message.user("Hello")]])
    body = service.received[-1].body
    assert (body["max_tokens"], body["output_config"]) == (256 + 4096, {"effort": "low"})


@pytest.mark.parametrize("vendor", VENDORS)
def test_a_schema_goes_out_in_the_vendor_s_json_mode(service: Service, vendor: str) -> None:
    service.says = lambda _: '{"colour": "red", "count": 1}'
    generator = open_generator(MODELS[vendor])
    from polymodal.tasks.structured import ask_for

    (found,) = ask_for(generator, [[pm.Message.user("What is it?")]], SCHEMA)
    assert isinstance(found, pm.Structured)
    assert found.data == {"colour": "red", "count": 1}
    body = service.received[0].body
    if vendor == "anthropic":
        sent = body["output_config"]["format"]["schema"]
    elif vendor == "openai":
        form = body["response_format"]["json_schema"]
        sent = form["schema"]
        assert form["strict"] is True
    else:
        sent = body["generationConfig"]["responseJsonSchema"]
    assert list(sent["properties"]) == ["colour", "count"]


@pytest.mark.parametrize("vendor", VENDORS)
def test_an_answer_that_breaks_the_schema_is_asked_for_again(service: Service, vendor: str) -> None:
    answers = iter(['{"colour": "red"}', '{"colour": "red", "count": 2}'])
    service.says = lambda _: next(answers)
    from polymodal.tasks.structured import ask_for

    (found,) = ask_for(open_generator(MODELS[vendor]), [[pm.Message.user("What?")]], SCHEMA)
    assert isinstance(found, pm.Structured)
    assert found.data["count"] == 2
    assert len(service.received) == 2
    assert "count" in str(service.received[1].body)


CLOSED = {"type": "object", "required": ["a"], "additionalProperties": False}


@pytest.mark.parametrize(
    ("field", "strict"),
    [
        ({"type": "string", "pattern": "a+", "description": "short"}, True),
        ({"anyOf": [{"type": "integer", "minimum": 0}, {"type": "null"}]}, True),
        ({"type": "array", "items": {"type": "string", "format": "date"}, "maxItems": 3}, True),
        ({**CLOSED, "properties": {"a": {"type": "string"}}}, True),
        ({"type": "string", "maxLength": 8}, False),
        ({"type": "string", "format": "uri"}, False),
        ({"oneOf": [{"type": "integer"}, {"type": "null"}]}, False),
        ({"type": "array", "items": {"type": "string"}, "uniqueItems": True}, False),
        ({"type": "array", "prefixItems": [{"type": "string"}]}, False),
        ({"$ref": "#/$defs/x", "description": "a reference with words"}, False),
        ({"type": "string", "default": ""}, False),
        ({**CLOSED, "properties": {"a": {}, "b": {}}}, False),
        ({"type": "array"}, False),
        ({"type": ["object", "null"]}, False),
        ({"description": "anything"}, False),
        (True, False),
    ],
)
def test_only_what_strict_mode_takes_is_said_to_be_strict(
    service: Service, field: object, strict: bool
) -> None:
    """A schema that is not, and is said to be, is refused by the vendor."""
    schema = {**CLOSED, "properties": {"a": field}, "$defs": {"x": {"type": "string"}}}
    options = pm.GenerationOptions(json_schema=schema)
    open_generator(MODELS["openai"]).generate([[pm.Message.user("Hello")]], options)
    assert service.received[0].body["response_format"]["json_schema"]["strict"] is strict


def test_a_list_is_asked_for_in_words_where_the_vendor_takes_objects_alone(
    service: Service,
) -> None:
    options = pm.GenerationOptions(json_schema={"type": "array", "items": {"type": "string"}})
    for name in (MODELS["openai"], f"openai:qwen@{service.url}/v1"):
        open_generator(name).generate([[pm.Message.user("Hello")]], options)
    assert ["response_format" in each.body for each in service.received] == [False, True]


def test_fields_may_be_called_like_keywords(service: Service) -> None:
    fields = {"default": {"type": "string"}, "oneOf": {"type": "string"}}
    schema = {**CLOSED, "properties": fields, "required": list(fields)}
    options = pm.GenerationOptions(json_schema=schema)
    open_generator(MODELS["openai"]).generate([[pm.Message.user("Hello")]], options)
    assert service.received[0].body["response_format"]["json_schema"]["strict"] is True


def test_an_open_schema_is_not_said_to_be_strict(service: Service) -> None:
    schema = {"type": "object", "properties": {"colour": {"type": "string"}}}
    options = GenerationOptions(json_schema=schema)
    open_generator(MODELS["openai"]).generate([[pm.Message.user("What?")]], options)
    form = service.received[0].body["response_format"]["json_schema"]
    assert form["strict"] is False
    assert form["schema"] == schema


@pytest.mark.parametrize("vendor", VENDORS)
@pytest.mark.parametrize(("how", "reason"), [("truncated", "length"), ("refused", "refused")])
def test_cut_and_refused_answers_say_so(
    service: Service, vendor: str, how: str, reason: str
) -> None:
    service.plan = [how, how]
    generator = open_generator(MODELS[vendor])
    (answer,) = generator.generate([[pm.Message.user("Hello")]])
    assert isinstance(answer, pm.Generation)
    assert answer.finish_reason == reason
    assert not answer.complete
    assert answer.text == {"truncated": CUT, "refused": REFUSAL}[how] or vendor == "gemini"
    *_, streamed = generator.stream([pm.Message.user("Hello")])
    assert isinstance(streamed, pm.Generation)
    assert streamed.finish_reason == reason


@pytest.mark.parametrize("vendor", VENDORS)
def test_a_stream_gives_pieces_and_then_the_whole(service: Service, vendor: str) -> None:
    generator = open_generator(MODELS[vendor])
    *pieces, whole = generator.stream(asked("Well?"))
    assert pieces == ["A re", "d sq", "uare."]
    assert isinstance(whole, pm.Generation)
    (at_once,) = generator.generate([asked("Well?")])
    assert isinstance(at_once, pm.Generation)
    for name in ("text", "finish_reason", "tokens", "prompt_tokens", "cost_usd"):
        assert getattr(whole, name) == getattr(at_once, name), name


def test_probabilities_become_a_confidence(service: Service) -> None:
    (sure,) = open_generator("openai:gpt-5.4-mini").generate([[pm.Message.user("Hello")]])
    assert isinstance(sure, pm.Generation)
    assert sure.confidence == pytest.approx(math.exp(LOGPROB))
    (unsaid,) = open_generator("openai:gpt-5.5").generate([[pm.Message.user("Hello")]])
    assert isinstance(unsaid, pm.Generation)
    assert unsaid.confidence is None


@pytest.mark.parametrize(
    ("vendor", "longest"), [("anthropic", 1568), ("openai", 2048), ("gemini", 3072)]
)
def test_large_pictures_are_scaled_to_what_is_looked_at(
    service: Service, vendor: str, longest: int
) -> None:
    wide = Image.linear_gradient("L").resize((6000, 1500)).convert("RGB")
    generator = open_generator(MODELS[vendor])
    assert generator.info.image_size_px == longest
    generator.generate([[pm.Message.user(pm.ImagePart(wide), pm.ImagePart(plain()))]])
    first, second = pictures_in(service.received[0])
    assert first.size == (longest, longest // 4)
    assert second.size == (40, 30)


def test_a_server_by_its_address_gets_the_fields_that_all_know(service: Service) -> None:
    name = f"openai:qwen3-vl@{service.url}/v1"
    generator = open_generator(name)
    (answer,) = generator.generate([[pm.Message.user("What?", pm.ImagePart(plain()))]])
    assert isinstance(answer, pm.Generation)
    assert answer.cost_usd is None
    assert generator.info.model == name
    body = service.received[0].body
    assert body["model"] == "qwen3-vl"
    assert body["max_tokens"] == 256
    assert set(body) == {"model", "messages", "max_tokens", "temperature"}


def test_sound_goes_to_who_takes_it(service: Service) -> None:
    sound = pm.AudioPart(np.sin(np.arange(1600, dtype=np.float32) / 9), 16_000)
    asked_of_it = [pm.Message.user(sound, "What is heard?")]
    generator = open_generator(MODELS["gemini"])
    (answer,) = generator.generate([asked_of_it])
    assert isinstance(answer, pm.Generation)
    first, second = service.received[0].body["contents"][0]["parts"]
    assert first["inlineData"]["mimeType"] == "audio/wav"
    with wave.open(
        io.BytesIO(base64.b64decode(first["inlineData"]["data"].translate(STANDARD)))
    ) as f:
        heard = np.frombuffer(f.readframes(1600), "<i2") / 32767
    assert np.abs(heard - sound.samples).max() < 1e-4
    assert second == {"text": "What is heard?"}
    with pytest.raises(pm.UsageError, match="no audio"):
        open_generator(MODELS["anthropic"]).generate([asked_of_it])


def test_sound_goes_to_the_models_of_openai_that_take_it(service: Service) -> None:
    from openai.types.chat import ChatCompletionContentPartInputAudioParam as SoundPart

    sound = pm.AudioPart(np.sin(np.arange(1600, dtype=np.float32) / 9), 16_000)
    asked_of_it = [pm.Message.user(sound, "What is heard?")]
    generator = open_generator("openai:gpt-audio-1.5")
    (answer,) = generator.generate([asked_of_it])
    *_, streamed = generator.stream(asked_of_it)
    first, second = service.received[0].body["messages"][0]["content"]
    assert service.received[1].body["messages"][0]["content"] == [first, second]
    assert TypeAdapter(SoundPart).validate_python(first) == first
    with wave.open(io.BytesIO(base64.b64decode(first["input_audio"]["data"]))) as f:
        heard = np.frombuffer(f.readframes(1600), "<i2") / 32767
    assert np.abs(heard - sound.samples).max() < 1e-4
    assert second == {"type": "text", "text": "What is heard?"}
    words, sounds = PROMPT_TOKENS - AUDIO_TOKENS, AUDIO_TOKENS
    for each in (answer, streamed):
        assert isinstance(each, pm.Generation)
        assert each.cost_usd == pytest.approx((words * 2.5 + sounds * 32 + TOKENS * 10) / 1e6)
    assert generator.most_usd(asked_of_it) is None  # the vendor says no tokens a second
    with pytest.raises(pm.UsageError, match="takes text and audio, no image"):
        generator.generate([[pm.Message.user(pm.ImagePart(plain()))]])
    with pytest.raises(pm.UsageError, match=r"gpt-5.4-mini takes text and image, no audio"):
        open_generator(MODELS["openai"]).generate([asked_of_it])


def test_a_model_without_structured_outputs_is_asked_for_data_in_words(service: Service) -> None:
    service.says = lambda received: '{"color": "red"}'
    schema = {"type": "object", "properties": {"color": {"type": "string"}}}
    conversation = [pm.Message.user(pm.AudioPart(np.zeros(160, np.float32), 16_000), "Colour?")]
    (found,) = ask_for(open_generator("openai:gpt-audio"), [conversation], schema)
    assert isinstance(found, Structured)
    assert found.data == {"color": "red"}
    assert "response_format" not in service.received[0].body


def test_sound_costs_what_the_vendor_counts_and_at_most_what_its_seconds_do(
    service: Service, tmp_path: Path
) -> None:
    def asked_about(seconds: float) -> list[pm.Message]:
        sound = pm.AudioPart(np.zeros(int(16_000 * seconds), np.float32), 16_000)
        return [pm.Message.user(sound, "What is heard?")]

    name = "gemini:gemini-3.5-flash"
    suite = pm.Suite(name, home=tmp_path, budget_usd=1.0)
    (answer,) = suite.generator().generate([asked_about(2.0)])
    assert isinstance(answer, pm.Generation)
    assert answer.cost_usd == pytest.approx((PROMPT_TOKENS * 1.5 + TOKENS * 9.0) / 1e6)
    assert suite.spending.spent_usd == answer.cost_usd
    generator = open_generator(name)
    less, more = (generator.most_usd(asked_about(seconds)) for seconds in (1.0, 61.0))
    assert less is not None
    assert more is not None
    assert more - less == pytest.approx(60 * 32 * 1.5 / 1e6)  # a minute is 1,920 tokens
    assert generator.most_usd(asked_about(2.0)) > answer.cost_usd  # type: ignore[operator]
    long = asked_about(20 * 60)
    poor = pm.Suite(name, home=tmp_path, budget_usd=0.05).generator()
    (refused,) = poor.generate([long])
    assert isinstance(refused, pm.BudgetExceeded)
    assert len(service.received) == 1


def test_sound_without_a_known_price_is_not_sent_where_there_is_a_budget(service: Service) -> None:
    from polymodal.runtime.spending import BudgetedGenerator, Spending

    generator = open_generator("gemini:gemini-3.5-flash")
    sound = [pm.Message.user(pm.AudioPart(np.zeros(160, np.float32), 16_000), "What is heard?")]
    generator.model = replace(generator.model, audio_tokens_s=0)
    (refused,) = BudgetedGenerator(generator, Spending(1.0)).generate([sound])
    assert isinstance(refused, pm.BudgetExceeded)
    assert "sound) is not known" in str(refused)
    assert service.received == []


def test_sound_has_a_price_of_its_own_where_the_card_says_so() -> None:
    price = Price(1.0, 2.0, date(2026, 1, 1), "a page", audio_input_usd=5.0)
    assert price.cost_usd(100, 10, audio_tokens=40) == pytest.approx((60 + 40 * 5 + 20) / 1e6)
    assert price.cost_usd(100, 10) == pytest.approx(120 / 1e6)
    assert price.cost_usd(100, 10, audio_tokens=None) is None  # nobody said how much of it
    unknown = replace(price, audio_input_usd=None)
    assert unknown.cost_usd(100, 10, audio_tokens=40) is None
    assert replace(price, audio_input_usd=1.0).cost_usd(100, 10, audio_tokens=None) is not None


def test_a_batch_goes_out_together_and_comes_back_in_order(service: Service) -> None:
    import threading

    service.says = lambda received: received.body["messages"][-1]["content"][0]["text"]
    service.gate = threading.Barrier(4)  # lets nobody through before four are there
    generator = open_generator(MODELS["openai"])
    batch = [[pm.Message.user(f"Say {number}")] for number in range(12)]
    answers = generator.generate(batch)
    assert [each.text for each in answers if isinstance(each, pm.Generation)] == [
        f"Say {number}" for number in range(12)
    ]
    assert 4 <= service.most_at_once <= 8


def test_what_a_model_cannot_take_is_refused_before_anything_is_sent(service: Service) -> None:
    generator = open_generator(MODELS["openai"])
    sound = pm.AudioPart(np.zeros(16, np.float32), 16_000)
    with pytest.raises(pm.UsageError, match="no audio"):
        generator.generate([[pm.Message.user("Hear?", sound)]])
    many = [pm.ImagePart(plain())] * 101
    with pytest.raises(pm.UsageError, match="100 picture"):
        generator.generate([[pm.Message.user("See?", *many)]])
    assert service.received == []
