"""A generator whose every call is in the journal; to the verb that uses it, it is any generator."""

from __future__ import annotations

import hashlib
import time
from collections.abc import Sequence

from polymodal.errors import BudgetExceeded, PolymodalError
from polymodal.models.messages import (
    GREEDY,
    AudioPart,
    Conversation,
    Generation,
    GenerationOptions,
    GeneratorInfo,
    ImagePart,
    Part,
    TextPart,
    modality,
)
from polymodal.models.protocols import Generator
from polymodal.runtime.journal import Call, Journal

__all__ = ["RecordedGenerator", "recorded"]


def recorded(generator: Generator, journal: Journal | None, verb: str) -> Generator:
    """The generator, with what it is asked for `verb` recorded; as it is without a journal."""
    return generator if journal is None else RecordedGenerator(generator, journal, verb)


class RecordedGenerator:
    """See `recorded`."""

    def __init__(self, generator: Generator, journal: Journal, verb: str) -> None:
        self._generator = generator
        self._journal = journal
        self._verb = verb

    @property
    def info(self) -> GeneratorInfo:
        """See `Generator.info`."""
        return self._generator.info

    def generate(
        self, batch: Sequence[Conversation], options: GenerationOptions = GREEDY
    ) -> Sequence[Generation | PolymodalError]:
        """See `Generator.generate`; a batch that raises is recorded as failed, and raises."""
        started = time.perf_counter()
        try:
            answers = self._generator.generate(batch, options)
        except PolymodalError as error:
            self._record(batch, options, [error] * len(batch), time.perf_counter() - started)
            raise
        self._record(batch, options, answers, time.perf_counter() - started)
        return answers

    def _record(
        self,
        batch: Sequence[Conversation],
        options: GenerationOptions,
        answers: Sequence[Generation | PolymodalError],
        latency_s: float,
    ) -> None:
        parameters = options.to_dict()
        self._journal.record(
            [
                self._call(conversation, answer, parameters, latency_s, len(batch))
                for conversation, answer in zip(batch, answers, strict=True)
                if not isinstance(answer, BudgetExceeded)  # nobody was asked
            ]
        )

    def _call(
        self,
        conversation: Conversation,
        answer: Generation | PolymodalError,
        parameters: dict[str, object],
        latency_s: float,
        batch: int,
    ) -> Call:
        said = answer if isinstance(answer, Generation) else Generation(str(answer))
        return Call(
            verb=self._verb,
            model=self.info.model,
            revision=self.info.revision,
            prompt="\n".join(_spoken(m.role, m.parts) for m in conversation),
            parameters=parameters,
            inputs=[_named(p) for m in conversation for p in m.parts if not _is_text(p)],
            output=said.text,
            finish=said.finish_reason if said is answer else "error",
            confidence=said.confidence,
            latency_s=latency_s if said.latency_s is None else said.latency_s,
            batch=batch,
            prompt_tokens=said.prompt_tokens,
            tokens=said.tokens,
            cost_usd=said.cost_usd,
        )


def _is_text(part: Part) -> bool:
    return isinstance(part, TextPart)


def _spoken(role: str, parts: Sequence[Part]) -> str:
    """`user: [image 9f2c…] What is this?`: media, and text read from them, as hashes."""
    return f"{role}: " + " ".join(_shown(part) for part in parts)


def _shown(part: Part) -> str:
    if isinstance(part, TextPart) and not part.from_media:
        return part.text
    kind = "text read from media" if isinstance(part, TextPart) else modality(part)
    return f"[{kind} {_digest(part)[:12]}]"


def _named(part: Part) -> dict[str, str]:
    name = "" if isinstance(part, TextPart) else part.name
    return {"kind": modality(part), "name": name, "sha256": _digest(part)}


def _digest(part: Part) -> str:
    """Of the file where it is known, else of what the model was given."""
    if isinstance(part, TextPart):
        return hashlib.sha256(part.text.encode("utf-8", "backslashreplace")).hexdigest()
    if part.sha256:
        return part.sha256
    if isinstance(part, ImagePart):
        return hashlib.sha256(part.image.tobytes()).hexdigest()
    if isinstance(part, AudioPart):
        return hashlib.sha256(part.samples.tobytes()).hexdigest()
    frames = hashlib.sha256()
    for frame in part.frames:
        frames.update(frame.tobytes())
    return frames.hexdigest()
