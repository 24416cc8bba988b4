"""A generator behind a service's API: what the adapters of all vendors share.

Notable: an adapter (`Wire`) only writes requests and reads replies in its vendor's format; trying
again, concurrency, order, streaming and costs are here. Requests of a batch go out together, at
most `CONCURRENT` at once, and answers come back in the order of the questions. What a model thinks
before it answers counts as output at every vendor, so its card leaves room for that.
"""

from __future__ import annotations

import math
import time
import weakref
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from datetime import UTC, date, datetime
from typing import Any, Protocol

from polymodal.errors import MissingDependency, ModelUnavailable, PolymodalError
from polymodal.models.api_calls import Caller, without_keys
from polymodal.models.api_pictures import PictureLimits
from polymodal.models.messages import (
    GREEDY,
    AudioPart,
    Conversation,
    FinishReason,
    Generation,
    GenerationOptions,
    GeneratorInfo,
    ImagePart,
    Message,
    Modality,
    TextPart,
)
from polymodal.profiling import profiled

__all__ = [
    "ApiGenerator",
    "ApiModel",
    "Price",
    "Reply",
    "Wire",
    "apart",
    "count_pictures",
    "no_sdk",
]

CONCURRENT = 8
TIMEOUT_S, CONNECT_S = 180.0, 5.0
MOST_MEDIA = 100
"""Pictures in one request; every vendor takes as many."""
MESSAGE_TOKENS = 64
"""More than any format adds to a message."""
MILLION = 1_000_000


@dataclass(frozen=True)
class Price:
    """What a vendor charges.

    Attributes:
        input_usd, output_usd: US dollars for a million tokens.
        read: the day on which it was read.
        source: where.
        until: the last day on which it holds, where the vendor says so.
        most_prompt_tokens: longer prompts have another price.
        audio_input_usd: of a million tokens of sound; None where it is not known.
    """

    input_usd: float
    output_usd: float
    read: date
    source: str
    until: date | None = None
    most_prompt_tokens: int | None = None
    audio_input_usd: float | None = None

    def cost_usd(
        self,
        prompt_tokens: int | None,
        tokens: int | None,
        day: date | None = None,
        *,
        audio_tokens: int | None = 0,
    ) -> float | None:
        """Of one call; None where it is not known.

        Args:
            audio_tokens: those of the prompt's that are sound; None where there is some, and
                nobody said how much.
        """
        day = day or datetime.now(UTC).date()
        if prompt_tokens is None or tokens is None or (self.until is not None and day > self.until):
            return None
        if self.most_prompt_tokens is not None and prompt_tokens > self.most_prompt_tokens:
            return None
        more_usd = 0.0
        if audio_tokens != 0:
            if self.audio_input_usd is None:
                return None
            more_usd = self.audio_input_usd - self.input_usd
            if audio_tokens is None and more_usd:
                return None
        cost = prompt_tokens * self.input_usd + tokens * self.output_usd
        return (cost + (audio_tokens or 0) * more_usd) / MILLION


@dataclass(frozen=True)
class ApiModel:
    """One model of a service, from its card; what no card says has the default.

    Attributes:
        name: as it is asked for, e.g. `openai:gpt-5.4-mini`.
        id: the vendor's name for it.
        url: of a server that speaks OpenAI's format; "" for the vendor itself.
        sampling: it takes a temperature; None where that is not known: then one is sent only
            where it was asked for.
        logprobs: it tells the probability of what it says.
        media: what a message to it may hold; empty where that is what its vendor's others take.
        json_schema: what it says can be bound to a schema.
        effort: how much it is told to think; "" leaves that to the model.
        thinking_tokens: room for thoughts, on top of the answer's tokens.
        picture_tokens: the most that a picture costs.
        audio_tokens_s: what a second of sound costs; 0 where that is not known.
        price: None where it is not known.
        near: names with a card that are much like it, where it has none.
    """

    name: str
    id: str
    url: str = ""
    sampling: bool | None = None
    logprobs: bool = False
    media: frozenset[Modality] = frozenset()
    json_schema: bool = True
    effort: str = ""
    thinking_tokens: int = 0
    picture_tokens: int = 0
    audio_tokens_s: int = 0
    price: Price | None = None
    near: tuple[str, ...] = ()

    def temperature(self, options: GenerationOptions) -> float | None:
        """The temperature to send; None to send none."""
        if self.sampling or (self.sampling is None and options.temperature > 0):
            return options.temperature
        return None

    def most_tokens(self, options: GenerationOptions) -> int:
        """Of the answer and of the thoughts before it."""
        return options.max_tokens + self.thinking_tokens


@dataclass(frozen=True)
class Reply:
    """What a service answered, in no vendor's format.

    Attributes:
        audio_tokens: those of the prompt's that are sound; None where the service does not say.
    """

    text: str
    finish: FinishReason
    prompt_tokens: int | None = None
    tokens: int | None = None
    logprob: float | None = None
    audio_tokens: int | None = None


class Wire(Protocol):
    """One vendor's format."""

    @property
    def caller(self) -> Caller:
        """Makes the calls."""
        ...

    @property
    def pictures(self) -> PictureLimits:
        """What pictures it takes."""
        ...

    @property
    def media(self) -> frozenset[Modality]:
        """What a message may hold, where the model's card says nothing else."""
        ...

    def write(self, conversation: Conversation, options: GenerationOptions) -> dict[str, Any]:
        """The request, as the SDK takes it."""
        ...

    def ask(self, request: Mapping[str, Any]) -> Reply:
        """Send it once; raises what the SDK raises, or `ModelError` for a reply that is none."""
        ...

    def stream(self, request: Mapping[str, Any]) -> Iterator[str | Reply]:
        """The same in pieces; the last item is the whole reply."""
        ...

    def close(self) -> None:
        """Close its connections."""
        ...


def no_sdk(model: ApiModel, whose: str) -> MissingDependency:
    """The error where a vendor's SDK is not installed."""
    return MissingDependency(f"{model.name} needs {whose} SDK. Run: pip install 'polymodal[api]'")


def apart(conversation: Conversation) -> tuple[str, list[Message]]:
    """The words of the system, and what is said: for vendors that take them apart."""
    system = [m.text for m in conversation if m.role == "system" and m.text.strip()]
    return "\n\n".join(system), [m for m in conversation if m.role != "system"]


def count_pictures(conversation: Conversation) -> int:
    """Pictures in one request."""
    return sum(isinstance(part, ImagePart) for m in conversation for part in m.parts)


def _sounds(conversation: Conversation) -> list[AudioPart]:
    return [part for m in conversation for part in m.parts if isinstance(part, AudioPart)]


class ApiGenerator:
    """A `Generator` (and a `StreamingGenerator`, and `Priced`) behind an API."""

    def __init__(self, model: ApiModel, wire: Wire) -> None:
        """No request is made."""
        self.model = model
        self._wire = wire
        # With the generator go its connections, which not every SDK closes by itself.
        weakref.finalize(self, wire.close)
        settings = f"{model.effort} {wire.pictures.longest_px}px"
        self.info = GeneratorInfo(
            model=model.name,
            revision=model.id,
            media=model.media or wire.media,
            max_media=MOST_MEDIA,
            image_size_px=wire.pictures.longest_px,
            batch_size=CONCURRENT,
            constrains=frozenset({"json_schema"} if model.json_schema else ()),
            preprocessing=settings.strip(),
        )

    @profiled("generate")
    def generate(
        self, batch: Sequence[Conversation], options: GenerationOptions = GREEDY
    ) -> list[Generation | PolymodalError]:
        """See `Generator.generate`.

        Raises:
            ModelUnavailable: the key or the model's name was refused, and nothing was answered.
        """
        for conversation in batch:
            self.info.check(conversation, options)
        if len(batch) <= 1:
            outcomes = [self._one(conversation, options) for conversation in batch]
        else:
            workers = min(CONCURRENT, len(batch))
            with ThreadPoolExecutor(workers, thread_name_prefix="polymodal-api") as pool:
                outcomes = list(pool.map(lambda each: self._one(each, options), batch))
        refused = [each for each in outcomes if isinstance(each, ModelUnavailable)]
        if refused and not any(isinstance(each, Generation) for each in outcomes):
            raise refused[0]
        return outcomes

    def stream(
        self, conversation: Conversation, options: GenerationOptions = GREEDY
    ) -> Iterator[str | Generation]:
        """See `StreamingGenerator.stream`."""
        self.info.check(conversation, options)
        started = time.perf_counter()
        request = self._wire.write(conversation, options)
        key = self._wire.caller.key
        for piece in self._wire.caller.stream(lambda: self._wire.stream(request)):
            if isinstance(piece, Reply):
                yield self._generation(conversation, piece, time.perf_counter() - started)
            else:
                yield without_keys(piece, key)

    def most_usd(
        self, conversation: Conversation, options: GenerationOptions = GREEDY
    ) -> float | None:
        """See `Priced.most_usd`: a token is at least a byte of text."""
        sounds = _sounds(conversation)
        if self.model.price is None or (sounds and not self.model.audio_tokens_s):
            return None
        seconds = sum(part.samples.size / part.rate_hz for part in sounds)
        audio = math.ceil(seconds * self.model.audio_tokens_s) + len(sounds)
        prompt = audio
        for message in conversation:
            prompt += MESSAGE_TOKENS
            for part in message.parts:
                if isinstance(part, TextPart):
                    prompt += len(part.text.encode("utf-8", "backslashreplace"))
                elif isinstance(part, ImagePart):
                    prompt += self.model.picture_tokens
        if options.json_schema is not None:
            prompt += len(str(options.json_schema).encode("utf-8", "backslashreplace"))
        most = self.model.most_tokens(options)
        return self.model.price.cost_usd(prompt, most, audio_tokens=audio)

    def _one(
        self, conversation: Conversation, options: GenerationOptions
    ) -> Generation | PolymodalError:
        started = time.perf_counter()
        request = self._wire.write(conversation, options)
        try:
            reply = self._wire.caller.call(lambda: self._wire.ask(request))
        except PolymodalError as error:
            return error
        return self._generation(conversation, reply, time.perf_counter() - started)

    def _generation(self, asked: Conversation, reply: Reply, latency_s: float) -> Generation:
        price, audio = self.model.price, reply.audio_tokens if _sounds(asked) else 0
        cost = None
        if price is not None:
            cost = price.cost_usd(reply.prompt_tokens, reply.tokens, audio_tokens=audio)
        return Generation(
            text=without_keys(reply.text, self._wire.caller.key),
            finish_reason=reply.finish,
            logprob=reply.logprob,
            tokens=reply.tokens,
            prompt_tokens=reply.prompt_tokens,
            latency_s=latency_s,
            cost_usd=cost,
        )
