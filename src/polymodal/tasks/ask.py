"""Ask: questions about pictures and other media, answered with evidence, or not at all.

Notable: a picture is opened and looked at once, however many questions follow each other about it.
Answers of an earlier run come from the cache; those that rest on text in the picture, or on
something that is not installed, are computed every time.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import groupby
from pathlib import Path
from typing import Any, Protocol

import numpy as np

from polymodal.errors import PolymodalError, UnsupportedMedia, UsageError
from polymodal.media.blank import blank_color
from polymodal.media.hashing import Content, content_of, digest_of
from polymodal.media.limits import DEFAULT_STREAM_LIMITS, StreamLimits
from polymodal.media.pictures import Limits, Together, open_picture, picture_name
from polymodal.models.describing import Captioner, Sight
from polymodal.models.protocols import Generator, Pixels
from polymodal.results import Provenance, Vector
from polymodal.results_answers import Answer, AnswerCandidate, Evidence
from polymodal.runtime.batches import pipelined
from polymodal.runtime.cache import Cache
from polymodal.runtime.cached import BLANK_RULE, is_deterministic, through_cache
from polymodal.runtime.journal import Call, Journal
from polymodal.runtime.recorded import recorded
from polymodal.tasks.answering import AskedOf, Asking, Case, Outcome, by_captioner, by_text
from polymodal.tasks.answering_generators import PLAIN, Manner, by_generator
from polymodal.tasks.match import read_pairs
from polymodal.tasks.picture_checks import asks_of_things, blank_evidence
from polymodal.tasks.questions import Question, parse
from polymodal.tasks.schemas import Schema
from polymodal.tasks.showing import Hear, Shower, is_pdf, kind_of_media

__all__ = ["ask", "read_questions"]

VERB = "ask"
BATCH = 16
FRAMES_AT_ONCE = 32
"""Pictures that are embedded together for the check; a video brings several."""
QUESTION_COLUMNS = ("question", "questions", "q", "text")


@dataclass(frozen=True, eq=False)
class _Asked:
    """A picture, or several, and a question about it."""

    image: AskedOf
    question: Question


@dataclass(frozen=True, eq=False)
class _Shown:
    """A picture as the model takes it; `blank`: its color, where it shows nothing else.

    Of a PDF, which is only read, there are no pixels.
    """

    pixels: Pixels
    blank: str | None


class _Way(Protocol):
    """How a model is asked: pictures opened one by one, and answered in batches."""

    @property
    def model(self) -> str:
        """All that answers depend on, for the cache."""
        ...

    @property
    def manner(self) -> dict[str, Any] | None:
        """How it is asked, for the cache; None where an answer may not be kept."""
        ...

    @property
    def batch_size(self) -> int:
        """Sources that are answered together; twice as many are opened ahead."""
        ...

    def prepare(self, source: AskedOf) -> Any:
        """What the model needs of one picture; called from several threads."""
        ...

    def answer(self, asked: Sequence[tuple[_Asked, Any]]) -> list[Outcome]:
        """Answers in order; the same prepared picture is one picture."""
        ...


def ask(
    model: Callable[[], Captioner] | Generator,
    pairs: Iterable[tuple[AskedOf, str]],
    asking: Asking,
    *,
    limits: Limits,
    manner: Manner = PLAIN,
    hear: Hear | None = None,
    stream_limits: StreamLimits = DEFAULT_STREAM_LIMITS,
    cache: Cache | None = None,
    journal: Journal | None = None,
) -> Iterator[tuple[AskedOf, Answer | PolymodalError]]:
    """Yield `(picture, answer)` for each picture and question, in order, lazily.

    A question that cannot be asked (empty, too long) is a `UsageError` in its place.

    Args:
        model: opens the captioner on first use; or a generator.
        manner: how a generator is asked.
        hear: writes down sound, for a generator that takes none.
    """
    way: _Way
    if isinstance(model, Generator):
        shower = Shower(
            model.info,
            limits,
            taken=len(manner.examples),
            least_px=asking.texts.embedder.image_size_px,
            hear=hear,
            stream_limits=stream_limits,
        )
        way = _ByGenerator(model, asking, shower, journal, manner)
    else:
        way = _ByCaptioner(model, asking, limits, journal)
    if way.manner is None:
        cache = None
    parameters = {"threshold": asking.threshold, "grounded": asking.grounded}
    parameters |= {"blank": BLANK_RULE, **(way.manner or {})}
    work = _Work(way)
    sources = (_parsed(image, question) for image, question in pairs)
    for image, each in _runs(sources):
        if isinstance(each, UsageError):
            yield image, each
            continue
        stream = through_cache(
            cache,
            each,
            work.run,
            verb=VERB,
            model=way.model if cache is not None else "",
            parameters=parameters,
            encode=_encode,
            decode=lambda asked, value: _decode(asked, value, manner.schema),
            content=_content,
        )
        for source, outcome in stream:
            assert isinstance(outcome, Answer | PolymodalError), outcome
            yield source.image, outcome


def _parsed(image: AskedOf, question: str) -> tuple[AskedOf, _Asked | UsageError]:
    if isinstance(image, str) and not image:
        return image, UsageError(f"no picture is named for the question {question[:60]!r}.")
    try:
        return image, _Asked(image, parse(question))
    except UsageError as error:
        return image, error


def _runs(
    sources: Iterator[tuple[AskedOf, _Asked | UsageError]],
) -> Iterator[tuple[Any, UsageError | Iterator[_Asked]]]:
    """Errors one by one; what lies between them as lazy streams."""
    for failed, run in groupby(sources, key=lambda item: isinstance(item[1], UsageError)):
        if failed:
            yield from ((image, error) for image, error in run if isinstance(error, UsageError))
        else:
            yield None, (asked for _, asked in run if isinstance(asked, _Asked))


@dataclass
class _Work:
    """Questions to answers, grouped by picture."""

    way: _Way

    def run(self, sources: Iterator[_Asked]) -> Iterator[tuple[_Asked, Any]]:
        """What `through_cache` calls for questions that it does not know."""
        groups = (list(group) for _, group in groupby(sources, key=lambda asked: id(asked.image)))
        stream = pipelined(
            groups,
            lambda group: (group, self.way.prepare(group[0].image)),
            self._infer,
            batch_size=self.way.batch_size,
        )
        for group, outcomes in stream:
            failed = isinstance(outcomes, Exception)
            yield from zip(group, [outcomes] * len(group) if failed else outcomes, strict=True)  # type: ignore[arg-type]

    def _infer(self, batch: Sequence[tuple[list[_Asked], Any]]) -> list[list[Outcome]]:
        flat = [(asked, prepared) for group, prepared in batch for asked in group]
        outcomes = iter(self.way.answer(flat))
        return [[next(outcomes) for _ in group] for group, _ in batch]


@dataclass
class _ByCaptioner:
    open: Callable[[], Captioner]
    asking: Asking
    limits: Limits
    journal: Journal | None

    @property
    def model(self) -> str:
        made_by = self.open().provenance
        return f"{made_by.model}@{made_by.revision}+{_checks(self.asking)}"

    @property
    def manner(self) -> dict[str, Any] | None:
        return {}

    @property
    def batch_size(self) -> int:
        return BATCH

    def prepare(self, source: AskedOf) -> _Shown:
        captioner = self.open()
        if isinstance(source, Together):
            raise UnsupportedMedia(
                f"are {len(source.pictures)} pictures, and {captioner.provenance.model} answers"
                " about one: use a model that writes, such as -m Qwen/Qwen2.5-VL-3B-Instruct",
                picture_name(source),
            )
        if (kind := kind_of_media(source)) in {"video", "recording"}:
            raise UnsupportedMedia(
                f"is a {kind}, and {captioner.provenance.model} answers about pictures: use a model"
                " that writes, such as -m Qwen/Qwen2.5-VL-3B-Instruct or -m gemini:MODEL",
                picture_name(source),
            )
        if is_pdf(source):
            return _Shown(np.zeros(0, np.uint8), None)
        picture = open_picture(source, target_px=captioner.image_size_px, limits=self.limits)
        blank = blank_color(picture.image) if self.asking.grounded else None
        return _Shown(captioner.preprocess(picture.image), blank)

    def answer(self, asked: Sequence[tuple[_Asked, _Shown]]) -> list[Outcome]:
        started = time.perf_counter()
        outcomes: dict[int, Outcome] = {}
        looked: dict[int, Sight] = {}
        seen: list[int] = []
        for place, (each, shown) in enumerate(asked):
            is_read = each.question.kind == "text" or not shown.pixels.size
            if shown.blank and not is_read and asks_of_things(each.question):
                case = Case(each.image, each.question, self.open().provenance)
                outcomes[place] = self.asking.unsure(case, blank_evidence([shown.blank]))
            elif not is_read:
                seen.append(place)
        pixels = {id(asked[place][1]): asked[place][1].pixels for place in seen}
        if pixels:
            looked = dict(zip(pixels, self.open().look(list(pixels.values())), strict=True))
            together = [
                (asked[place][0].image, looked[id(asked[place][1])], asked[place][0].question)
                for place in seen
            ]
            answers = by_captioner(self.asking, self.open(), together)
            outcomes |= zip(seen, answers, strict=True)
        for place, (each, _) in enumerate(asked):
            if place not in outcomes:
                outcomes[place] = by_text(self.asking, each.image, each.question)
        self._record(asked, outcomes, time.perf_counter() - started)
        return [outcomes[place] for place in range(len(asked))]

    def _record(
        self, asked: Sequence[tuple[_Asked, _Shown]], outcomes: dict[int, Outcome], latency_s: float
    ) -> None:
        if self.journal is None:
            return
        calls = []
        for place, (each, _) in enumerate(asked):
            answer = outcomes[place]
            if isinstance(answer, Answer):
                calls.append(_call(each, answer, self.asking, latency_s, len(asked)))
        self.journal.record(calls)


@dataclass
class _ByGenerator:
    generator: Generator
    asking: Asking
    shower: Shower
    journal: Journal | None
    how: Manner

    @property
    def model(self) -> str:
        return f"{self.generator.info.fingerprint}+{_checks(self.asking)}"

    @property
    def manner(self) -> dict[str, Any] | None:
        is_kept = is_deterministic(self.generator.info, self.how.options)
        return self.how.to_dict() if is_kept else None

    @property
    def batch_size(self) -> int:
        return min(BATCH, self.generator.info.batch_size)

    def prepare(self, source: AskedOf) -> Any:
        shown = self.shower.show(source)
        if not self.asking.grounded:
            return shown, []
        embedder = self.asking.texts.embedder
        return shown.held_against_blank(), [embedder.preprocess(each) for each in shown.frames]

    def answer(self, asked: Sequence[tuple[_Asked, Any]]) -> list[Outcome]:
        vectors = self._embedded({id(prepared): prepared[1] for _, prepared in asked})
        shown = [
            (prepared[0].with_embeddings(vectors.get(id(prepared))), each.question)
            for each, prepared in asked
        ]
        generator = recorded(self.generator, self.journal, VERB)
        return by_generator(self.asking, generator, shown, self.how)

    def _embedded(self, pixels: dict[int, list[Pixels]]) -> dict[int, Vector]:
        """The vectors of each source's frames, shape (frames, dimension); none of what has none."""
        embedder = self.asking.texts.embedder
        flat = [frame for each in pixels.values() for frame in each]
        found = [
            vector
            for start in range(0, len(flat), FRAMES_AT_ONCE)
            for vector in embedder.embed_images(flat[start : start + FRAMES_AT_ONCE])
        ]
        left = iter(found)
        return {name: np.stack([next(left) for _ in each]) for name, each in pixels.items() if each}


def _checks(asking: Asking) -> str:
    return asking.texts.embedder.space.fingerprint


def _call(asked: _Asked, answer: Answer, asking: Asking, latency_s: float, batch: int) -> Call:
    return Call(
        verb=VERB,
        model=answer.provenance.model,
        revision=answer.provenance.revision,
        prompt=answer.question,
        parameters={"threshold": asking.threshold, "grounded": asking.grounded},
        inputs=[{"kind": "image", "name": answer.input, "sha256": digest_of(asked.image)}],
        output=answer.text,
        confidence=answer.confidence,
        latency_s=latency_s,
        batch=batch,
    )


def _content(asked: _Asked) -> Content:
    if isinstance(asked.image, Together):
        first, *more = (content_of(each) for each in asked.image.pictures)
        return first.joined(*(each.sha256 for each in more), asked.question.text)
    return content_of(asked.image).joined(asked.question.text)


def _encode(answer: Answer) -> Any | None:
    """None for what rests on text, which was read by something that the key does not know."""
    if any(each.source in {"text", "missing"} for each in answer.evidence):
        return None
    return {
        "text": answer.text,
        "confidence": answer.confidence,
        "abstained": answer.abstained,
        "evidence": [each.to_dict() for each in answer.evidence],
        "candidates": [[each.text, each.probability] for each in answer.candidates],
        "data": answer.data,
        "provenance": [answer.provenance.model, answer.provenance.revision],
        "prompts": list(answer.provenance.prompts),
    }


def _decode(asked: _Asked, value: Any, schema: Schema | None) -> Answer:
    model, revision = value["provenance"]
    data, is_data = value["data"], schema is not None and not value["abstained"]
    return Answer(
        input=picture_name(asked.image),
        question=asked.question.text,
        text=str(value["text"]),
        confidence=float(value["confidence"]),
        evidence=tuple(Evidence.from_dict(each) for each in value["evidence"]),
        abstained=bool(value["abstained"]),
        provenance=Provenance(model, revision, tuple(value["prompts"])),
        candidates=tuple(AnswerCandidate(text, float(p)) for text, p in value["candidates"]),
        data=data,
        value=schema.validate(data) if schema is not None and is_data else None,
    )


def read_questions(path: str | Path) -> list[tuple[str, str]]:
    """Pictures and questions of a CSV, JSON or JSONL table; see `read_pairs`.

    Raises:
        UsageError: when there are no rows, or a column is missing.
    """
    return read_pairs(path, QUESTION_COLUMNS)
