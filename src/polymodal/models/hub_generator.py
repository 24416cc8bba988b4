"""Checkpoints that write text about pictures, or about text alone, by transformers.

Notable: conversations of a batch are padded on the left, those with pictures apart from those
without, and one that cannot be prepared (a picture that the processor refuses, a context that
overflows) fails alone. Sampling with a seed touches no one else's random numbers.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

from polymodal.errors import ModelError, ModelUnavailable, NotEnoughMemory, PolymodalError
from polymodal.models.fitting import in_memory, is_out_of_memory
from polymodal.models.hub_constraints import Bound, Grammars
from polymodal.models.hub_decoding import Held, Row, Watch, first_stop
from polymodal.models.hub_families import Family
from polymodal.models.hub_loading import SMALLER, Source, load_model, load_processor, prepare
from polymodal.models.hub_prompts import Prompt, Writer
from polymodal.models.messages import (
    GREEDY,
    Conversation,
    Generation,
    GenerationOptions,
    GeneratorInfo,
)
from polymodal.models.precision import AS_IT_IS, Precision, torch_device
from polymodal.models.protocols import Device
from polymodal.models.resident import Resident
from polymodal.profiling import profiled, span

__all__ = ["GeneratorSpec", "HubGenerator"]

BATCH = 8
SHOWN = 200


@dataclass(frozen=True)
class GeneratorSpec:
    """What is known of a checkpoint before it is loaded.

    Attributes:
        sees: it takes pictures.
        auto_class: what of transformers finds the model's own class.
        dtype: that weights have, or are computed in.
    """

    source: Source
    info: GeneratorInfo
    family: Family
    sees: bool
    auto_class: str
    dtype: str = "float32"
    precision: Precision = AS_IT_IS


@dataclass
class _Loaded:
    """Model and processor, in memory.

    Attributes:
        context: tokens that prompt and answer may have together; None where there is no limit.
        ends: ids of the tokens that end an answer.
        never: ids of tokens that are not to be said.
        grammars: for answers that are bound.
    """

    model: Any
    tokenizer: Any
    writer: Writer
    device: str
    context: int | None
    ends: frozenset[int]
    never: tuple[int, ...]
    grammars: Grammars


@dataclass(frozen=True)
class _Ready:
    """A conversation that can be answered.

    Attributes:
        place: in the batch that was asked.
        inputs: the model's, of this prompt alone.
        room: tokens that the answer may have.
    """

    place: int
    prompt: Prompt
    inputs: Any
    prompt_tokens: int
    room: int


class HubGenerator:
    """Fits `StreamingGenerator`; weights are read on first use. One answer (or batch) at a time."""

    def __init__(self, spec: GeneratorSpec, *, device: Device = "auto") -> None:
        """Nothing is loaded."""
        self.info = spec.info
        self._spec = spec
        self._device = device
        self._running = threading.Lock()
        weights = spec.source.weights
        self._weights = Resident(
            "weights",
            self._load,
            prepare=lambda: prepare(spec.source, spec.auto_class),
            least_bytes=lambda: spec.precision.least_bytes(weights.parameters(), spec.dtype),
            device=lambda: torch_device(device),
        )

    @property
    def residents(self) -> Sequence[Resident[Any]]:
        """See `Unloadable.residents`."""
        return (self._weights,)

    @profiled("generate")
    def generate(
        self, batch: Sequence[Conversation], options: GenerationOptions = GREEDY
    ) -> list[Generation | PolymodalError]:
        """See `Generator.generate`."""
        for conversation in batch:
            self.info.check(conversation, options)
        if not batch:
            return []
        with self._weights.use() as loaded:
            return self._answers(loaded, batch, options)

    def _answers(
        self, loaded: _Loaded, batch: Sequence[Conversation], options: GenerationOptions
    ) -> list[Generation | PolymodalError]:
        found: dict[int, Generation | PolymodalError] = {}
        ready: list[_Ready] = []
        for place, conversation in enumerate(batch):
            prompt = loaded.writer.write(conversation)
            outcome = self._prepared(loaded, place, prompt, options)
            if isinstance(outcome, _Ready):
                ready.append(outcome)
            else:
                found[place] = outcome
        # Rows of a batch draw from the same random numbers: with a seed, each is answered alone.
        drawn = options.seed is not None and options.temperature > 0
        for group in _groups(ready, 1 if drawn else BATCH):
            for each, answer in zip(group, self._fitted(loaded, group, options), strict=True):
                found[each.place] = answer
        return [found[place] for place in range(len(batch))]

    def stream(
        self, conversation: Conversation, options: GenerationOptions = GREEDY
    ) -> Iterator[str | Generation]:
        """See `StreamingGenerator.stream`."""
        self.info.check(conversation, options)
        with self._weights.use() as loaded:
            ready = self._prepared(loaded, 0, loaded.writer.write(conversation), options)
            if isinstance(ready, PolymodalError):
                raise ready
            told = 0
            for attempt in range(2):
                try:
                    for piece in self._streamed(loaded, ready, options):
                        told += len(piece) if isinstance(piece, str) else 0
                        yield piece
                except NotEnoughMemory:
                    # What was told cannot be taken back; where nothing was, it can begin anew.
                    if told or attempt:
                        raise self._too_much(ready, told) from None
                else:
                    return
                self._weights.make_room()

    def _streamed(
        self, loaded: _Loaded, ready: _Ready, options: GenerationOptions
    ) -> Iterator[str | Generation]:
        from transformers import TextIteratorStreamer

        streamer = TextIteratorStreamer(
            loaded.tokenizer, skip_prompt=True, skip_special_tokens=True
        )
        watch, held = self._watch(loaded, options), Held(options.stop)
        outcome: list[Generation | BaseException] = []

        def run() -> None:
            try:
                outcome.extend(self._run(loaded, [ready], options, watch, streamer))
            except BaseException as error:  # told to the caller's thread
                # The library's own would keep what its frames hold, while room is needed.
                outcome.append(self._too_much(ready) if is_out_of_memory(error) else error)
                streamer.end()

        thread = threading.Thread(target=run, name="polymodal-generate", daemon=True)
        thread.start()
        try:
            for piece in streamer:
                yield from held.pieces(piece)
        finally:
            watch.cancelled.set()  # of no use to who left, and without effect at the end
            thread.join()
        if isinstance(outcome[0], BaseException):
            raise outcome[0]
        yield from held.rest()
        yield outcome[0]

    def _prepared(
        self, loaded: _Loaded, place: int, prompt: Prompt, options: GenerationOptions
    ) -> _Ready | PolymodalError:
        """A conversation with the count of its tokens; or why it cannot be answered."""
        try:
            with span("preprocess"):
                inputs = loaded.writer.encode([prompt])
        except (ValueError, RuntimeError, TypeError, IndexError) as error:
            said = " ".join(str(error).split())[:SHOWN]
            return ModelError(self.info.model, "rejected", f"its processor refused it: {said}")
        tokens = int(inputs["attention_mask"].sum())
        if loaded.context is None:
            return _Ready(place, prompt, inputs, tokens, options.max_tokens)
        room = loaded.context - tokens
        if room < 1:
            shown = f", {len(prompt.images)} picture(s) included" if prompt.images else ""
            shown += f", {len(prompt.videos)} video(s) included" if prompt.videos else ""
            return ModelError(
                self.info.model,
                "rejected",
                f"the conversation has {tokens:,} tokens{shown}, and prompt and answer together may"
                f" have {loaded.context:,}. Use fewer or smaller pictures, or less text.",
            )
        return _Ready(place, prompt, inputs, tokens, min(room, options.max_tokens))

    def _fitted(
        self, loaded: _Loaded, group: Sequence[_Ready], options: GenerationOptions
    ) -> list[Generation | PolymodalError]:
        """The answers of a group; where memory runs out, of its halves."""

        def run(part: Sequence[_Ready]) -> list[Generation]:
            return self._run(loaded, part, options)

        try:
            return [*in_memory(run, group, self._weights, "a conversation")]
        except NotEnoughMemory:
            if len(group) > 1:  # one of them may still fit
                return [each for one in group for each in self._fitted(loaded, [one], options)]
            return [self._too_much(group[0])]

    def _too_much(self, ready: _Ready, told: int = 0) -> NotEnoughMemory:
        """The error; `told` is how many characters of the answer are given already."""
        broken = f" It ran out after {told:,} characters of the answer." if told else ""
        return NotEnoughMemory(
            f"{self.info.model}: the conversation's {ready.prompt_tokens:,} tokens and an answer of"
            f" up to {ready.room:,} do not fit into the memory of {torch_device(self._device)}."
            f"{broken} {SMALLER}"
        )

    def _run(
        self,
        loaded: _Loaded,
        group: Sequence[_Ready],
        options: GenerationOptions,
        watch: Watch | None = None,
        streamer: Any = None,
    ) -> list[Generation]:
        import torch
        from transformers import LogitsProcessorList, StoppingCriteriaList

        watch = watch or self._watch(loaded, options)
        started = time.perf_counter()
        inputs = group[0].inputs
        if len(group) > 1:  # padded to one length
            with span("preprocess"):
                inputs = loaded.writer.encode([each.prompt for each in group])
        inputs = inputs.to(loaded.device)
        for name, value in inputs.items():
            if torch.is_tensor(value) and value.is_floating_point():
                inputs[name] = value.to(loaded.model.dtype)
        with self._running, _random(options, loaded.device), torch.inference_mode():
            sequences = loaded.model.generate(
                **inputs,
                **_settings(loaded, options, min(each.room for each in group)),
                logits_processor=LogitsProcessorList(
                    [Bound(loaded.grammars, options), watch.probabilities]
                ),
                stopping_criteria=StoppingCriteriaList([watch.done]),
                streamer=streamer,
            )
        took_s = time.perf_counter() - started
        return [
            _generation(loaded, row, each, options, took_s)
            for each, row in zip(group, watch.rows(sequences), strict=True)
        ]

    def _watch(self, loaded: _Loaded, options: GenerationOptions) -> Watch:
        return Watch(loaded.tokenizer, options.stop, loaded.ends)

    def _load(self) -> _Loaded:
        source = self._spec.source
        processor = load_processor(source, "AutoProcessor" if self._spec.sees else "AutoTokenizer")
        tokenizer = getattr(processor, "tokenizer", None) or processor
        device, spec = torch_device(self._device), self._spec
        model = load_model(source, spec.auto_class, device, spec.dtype, spec.precision)
        text = model.config.get_text_config()
        encodes = bool(getattr(text, "is_encoder_decoder", False))
        tokenizer.padding_side = "right" if encodes else "left"
        if tokenizer.pad_token is None:
            if tokenizer.eos_token is None:
                raise ModelUnavailable(f"{source.name}: its tokenizer has no end and no padding.")
            tokenizer.pad_token = tokenizer.eos_token
        limit = None if encodes else getattr(text, "max_position_embeddings", None)
        writer = Writer(source.name, processor, self._spec.family, str(text.model_type))
        family = self._spec.family
        ends = _ends(model, tokenizer) | set(_ids(tokenizer, family.ends))
        never = _ids(tokenizer, family.never)
        grammars = Grammars(tokenizer, ends)
        return _Loaded(model, tokenizer, writer, device, limit, ends, never, grammars)


def _groups(ready: Sequence[_Ready], most: int) -> Iterator[list[_Ready]]:
    """Batches whose answers have the same room, with pictures apart from without, by length."""
    ordered = sorted(ready, key=lambda e: (e.prompt.shape, e.room, e.prompt_tokens))
    group: list[_Ready] = []
    for each in ordered:
        first = group[0] if group else each
        same = (first.prompt.shape, first.room) == (each.prompt.shape, each.room)
        if group and (not same or len(group) == most):
            yield group
            group = []
        group.append(each)
    if group:
        yield group


def _settings(loaded: _Loaded, options: GenerationOptions, most_tokens: int) -> dict[str, Any]:
    """Greedy, or the temperature that was asked for; else as the checkpoint advises."""
    settings: dict[str, Any] = {
        "max_new_tokens": most_tokens,
        "num_beams": 1,
        "pad_token_id": loaded.tokenizer.pad_token_id,
        "eos_token_id": sorted(loaded.ends),
        "suppress_tokens": list(loaded.never) or None,
        "do_sample": options.temperature > 0,
        "temperature": options.temperature or None,
    }
    if not options.temperature:
        settings |= {"top_k": None, "top_p": None}
    elif options.json_schema is not None or options.choices:
        # What is allowed may lie outside of the likeliest few.
        settings |= {"top_k": 0, "top_p": 1.0}
    return settings


def _generation(
    loaded: _Loaded, row: Row, ready: _Ready, options: GenerationOptions, latency_s: float
) -> Generation:
    text = str(loaded.tokenizer.decode(row.tokens, skip_special_tokens=True)).lstrip()
    stop = first_stop(text, options.stop)
    return Generation(
        text=(text if stop is None else text[:stop]).strip(),
        finish_reason="stop" if row.ended else "length",
        logprob=row.logprob,
        tokens=len(row.tokens),
        prompt_tokens=ready.prompt_tokens,
        latency_s=latency_s,
    )


def _ids(tokenizer: Any, tokens: Sequence[str]) -> tuple[int, ...]:
    """Of those of the tokens that the tokenizer has."""
    vocabulary = tokenizer.get_vocab()
    return tuple(vocabulary[each] for each in tokens if each in vocabulary)


def _ends(model: Any, tokenizer: Any) -> frozenset[int]:
    """Ids of the tokens that end an answer, from the checkpoint's generation settings."""
    inner = getattr(model, "language_model", None)
    found: set[int] = set()
    for config in (model.generation_config, getattr(inner, "generation_config", None)):
        ends: Any = getattr(config, "eos_token_id", None)
        found |= {e for e in (ends if isinstance(ends, list | tuple) else [ends]) if e is not None}
    return frozenset(found or {tokenizer.eos_token_id})


@contextmanager
def _random(options: GenerationOptions, device: str) -> Iterator[None]:
    """Random numbers of the seed, and afterwards those from before."""
    if options.seed is None or not options.temperature:
        yield
        return
    import torch

    devices = [torch.device(device)] if device.startswith("cuda") else []
    with torch.random.fork_rng(devices=devices):
        torch.manual_seed(options.seed)
        yield
