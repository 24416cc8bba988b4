"""Extract: documents to typed data, each field with its confidence and the line it came from.

Notable: two ways in, one result. Receipt-like fields come from the starter's receipt model and from
rules; any `Generator` fills any schema, from the text and, where it takes pictures, from the pages.
Either way the data is validated by the schema, and what it finds wrong stands in `problems` beside
the value. Text that was read is data: nothing in it is followed, whatever it says.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import date
from decimal import Decimal
from itertools import islice
from typing import Any, TypeAlias

from polymodal.catalog.receipts import RECEIPT_MODEL, open_receipt_model
from polymodal.errors import MediaError, MissingDependency, PolymodalError
from polymodal.media.documents import DocumentInput
from polymodal.media.hashing import Content, content_of
from polymodal.media.limits import DEFAULT_LIMITS, Limits
from polymodal.models.messages import GenerationOptions, Message, Part, TextPart
from polymodal.models.protocols import Generator, Reader
from polymodal.models.receipts.amounts import Amount
from polymodal.models.receipts.dates import calendar_day, is_american
from polymodal.models.receipts.layout import lay_out
from polymodal.models.receipts.model import Found, ReceiptModel
from polymodal.results import Provenance
from polymodal.results_documents import Box, Extraction, FieldEvidence, Line, Reading
from polymodal.runtime.cache import Cache
from polymodal.runtime.cached import is_deterministic, through_cache
from polymodal.tasks.fields import Field, fields_of, typed
from polymodal.tasks.read import read, upright_lines
from polymodal.tasks.receipt_pages import page_of, receipts_in
from polymodal.tasks.receipt_rules import by_rule
from polymodal.tasks.schemas import Schema, SchemaInput, as_schema
from polymodal.tasks.showing import Shower
from polymodal.tasks.structured import OPTIONS, ask_for

__all__ = ["Extractor", "extract"]

VERB = "extract"
NO_RECEIPT = "nothing beside it is a receipt's: no total, and no date with amounts"
QUESTION = (
    "Fill in the data from the document. Use only what it says; a field that nothing in it"
    " supports is null."
)


@dataclass(frozen=True)
class Extractor:
    """A schema with what fills it.

    Attributes:
        generator: fills the whole schema; None leaves it to the receipt model.
        options: how the generator writes.
        shower: opens the pages for a generator that takes pictures.
    """

    schema: Schema
    model: ReceiptModel
    provenance: Provenance
    generator: Generator | None = None
    options: GenerationOptions = OPTIONS
    shower: Shower | None = None

    @classmethod
    def open(
        cls,
        schema: SchemaInput | None,
        generator: Generator | None = None,
        options: GenerationOptions = OPTIONS,
        limits: Limits = DEFAULT_LIMITS,
    ) -> Extractor:
        """For a schema, by default `Receipt`.

        Raises:
            UsageError: it is no schema.
            MissingDependency: the extra `documents` is not installed.
            ModelUnavailable: the receipt model's weights are missing.
        """
        model, revision = open_receipt_model()
        wanted = as_schema(_default() if schema is None else schema)
        sees = generator is not None and "image" in generator.info.media
        shower = Shower(generator.info, limits) if generator is not None and sees else None
        made_by = Provenance(RECEIPT_MODEL, revision)
        return cls(wanted, model, made_by, generator, options, shower)

    def fill(
        self, reading: Reading, source: DocumentInput | None = None
    ) -> Extraction | PolymodalError:
        """The data of one document that was read; `source` for its pages."""
        if self.generator is None:
            return _by_model(self, reading)
        ((_, found),) = _said(self, self.generator, [(source, reading)])
        return _extraction(self, self.generator, reading, found)


def extract(
    extractor: Extractor,
    reader: Reader,
    sources: Iterable[DocumentInput],
    *,
    limits: Limits = DEFAULT_LIMITS,
    cache: Cache | None = None,
) -> Iterator[tuple[DocumentInput, Extraction | Exception]]:
    """Yield `(source, extraction)`, or `(source, error)`, for every document, in order.

    What a generator says of a document is kept in the cache, and it is asked of several at once.
    """
    readings = read(reader, sources, limits=limits, cache=cache)
    generator = extractor.generator
    if generator is None:
        for source, reading in readings:
            if isinstance(reading, Exception):
                yield source, reading
            else:
                yield source, _by_model(extractor, reading)
        return
    asked = extractor.options
    stream = through_cache(
        cache if is_deterministic(generator.info, asked) else None,
        readings,
        lambda pairs: _said(extractor, generator, pairs),
        verb=VERB,
        model=generator.info.fingerprint,
        parameters={
            "question": QUESTION,
            "schema": dict(extractor.schema.json_schema),
            "generation": asked.to_dict(),
        },
        encode=lambda said: None if said is None else said.to_dict(),
        decode=lambda _, value: _Said.of(value, extractor.schema),
        content=_content,
        at_most=generator.info.batch_size,
    )
    for (source, reading), found in stream:
        if isinstance(reading, Exception):
            yield source, reading
        else:
            assert not isinstance(found, Exception) or isinstance(found, PolymodalError), found
            yield source, _extraction(extractor, generator, reading, found)


@dataclass(frozen=True)
class _Said:
    """What a generator said of a document; `data` is the schema's object."""

    data: Any
    json: Any
    confidence: float | None
    notes: tuple[str, ...]

    def to_dict(self) -> dict[str, Any]:
        """What is kept of it."""
        return {"json": self.json, "confidence": self.confidence, "notes": self.notes}

    @classmethod
    def of(cls, value: Any, schema: Schema) -> _Said:
        """The inverse: `schema` may have got other rules since."""
        plain = value["json"]
        return cls(schema.validate(plain), plain, value["confidence"], tuple(value["notes"]))


Read: TypeAlias = tuple[Any, Reading | Exception]
"""A document (None where only its text is there), and what was read of it."""


def _content(read: Read) -> Content:
    source, reading = read
    if isinstance(reading, Exception):
        raise MediaError("was not read")
    return content_of(source).joined(reading.text)


def _said(
    extractor: Extractor, generator: Generator, pairs: Iterable[Read]
) -> Iterator[tuple[Read, _Said | PolymodalError | None]]:
    """What the generator says of each, several asked together; None without text to ask about."""
    each = iter(pairs)
    while batch := list(islice(each, generator.info.batch_size)):
        outcomes: dict[int, _Said | PolymodalError | None] = {}
        asked: dict[int, tuple[Message, tuple[str, ...]]] = {}
        for place, pair in enumerate(batch):
            try:
                question = _question(extractor, *pair)
            except MediaError as error:
                outcomes[place] = error
                continue
            outcomes[place] = None
            if question is not None:
                asked[place] = question
        conversations = [[message] for message, _ in asked.values()]
        answers = (
            ask_for(generator, conversations, extractor.schema, extractor.options) if asked else []
        )
        for (place, (_, notes)), answer in zip(asked.items(), answers, strict=True):
            outcomes[place] = (
                answer
                if isinstance(answer, PolymodalError)
                else _Said(answer.data, answer.json, answer.generation.confidence, notes)
            )
        yield from ((pair, outcomes[place]) for place, pair in enumerate(batch))


def _question(
    extractor: Extractor, source: DocumentInput | None, reading: Reading | Exception
) -> tuple[Message, tuple[str, ...]] | None:
    """What is asked of a document, and what is to be said about it; None without text."""
    if isinstance(reading, Exception) or not reading.lines:
        return None
    shown: Sequence[Part] = ()
    notes: tuple[str, ...] = ()
    if extractor.shower is not None and source is not None:
        pages = extractor.shower.show(source)
        shown, notes = pages.parts, pages.notes
    text = TextPart.read(reading.text, "the document")
    return Message("user", (*shown, text, TextPart(QUESTION))), notes


def _default() -> Any:
    try:
        from polymodal.tasks.receipt import Receipt
    except ModuleNotFoundError as error:
        raise MissingDependency(
            'the schema Receipt needs pydantic. Run: pip install "polymodal[documents]"'
        ) from error
    return Receipt


def _by_model(extractor: Extractor, reading: Reading, note: str = "") -> Extraction:
    """By the receipt model and the rules beside it."""
    several = receipts_in(extractor.model, reading)
    if several:
        reading = page_of(reading, several[0])
    sheet = lay_out(upright_lines(reading), reading.pages, reading.rows)
    read_fields = extractor.model.read(sheet)
    ruled = by_rule(read_fields)
    found = {**read_fields.found, **ruled.found}
    chosen = read_fields.date
    day = None
    if chosen is not None:
        day = calendar_day(chosen, list(read_fields.dates), american=is_american(sheet))
    data: dict[str, Any] = {}
    problems = [note] if note else []
    if several:
        pages = f"{', '.join(map(str, several[:-1]))} and {several[-1]}"
        problems.append(f"pages {pages} are receipts of their own: this is page {several[0]}'s")
    if unfounded := _unfounded(found, read_fields.amounts):
        found = {name: each for name, each in found.items() if name not in unfounded}
    if not reading.lines:
        problems.append("no text was found in the document")
    fields = fields_of(extractor.schema.json_schema)
    if not fields:
        problems.append(f"{extractor.schema.name} has no fields that could be filled")
    for field in fields:
        data[field.name], problem = _value(field, found, day)
        if problem:
            problems.append(problem)
    wanted = {field.found for field in fields}
    problems += [each for each in ruled.problems if each.partition(":")[0] in wanted]
    problems += [f"{name}: {NO_RECEIPT}" for name in unfounded if name in wanted]
    places = {
        field.name: found[field.found]
        for field in fields
        if field.found in found and data[field.name] is not None
    }
    confidence = {name: round(each.confidence, 4) for name, each in places.items()}
    evidence = _evidence({name: each.lines for name, each in places.items()}, reading)
    value, checked, broken = _validated(extractor.schema, data)
    return Extraction(
        reading.input,
        checked,
        {name: confidence.get(name, 0.0) for name in data},
        evidence,
        (*problems, *broken),
        extractor.provenance,
        value,
    )


def _unfounded(found: Mapping[str, Found], amounts: Sequence[Amount]) -> list[str]:
    """Fields of whoever wrote a document, where nothing else in it is a receipt's: a letter has a
    date, too.
    """
    if "total" in found or ("date" in found and amounts):
        return []
    return [name for name in ("company", "address") if name in found]


def _value(field: Field, found: Mapping[str, Found], day: date | None) -> tuple[Any, str]:
    """A field's value, and what is to be said about it."""
    if field.found is None:
        return None, (
            f"{field.name}: the starter knows receipts and cannot fill this field;"
            " a generator is needed"
        )
    if field.found not in found:
        return None, ""
    text = found[field.found].text
    value = typed(field, text, day)
    if value is None:
        return None, f"{field.name}: {text!r} is in the document, which is not what the schema asks"
    return value, ""


def _extraction(
    extractor: Extractor,
    generator: Generator,
    reading: Reading,
    said: _Said | PolymodalError | None,
) -> Extraction | PolymodalError:
    """A generator's data with its evidence in the lines; or what there is without it."""
    if said is None:
        return _by_model(extractor, reading)
    if isinstance(said, PolymodalError):
        fields = fields_of(extractor.schema.json_schema)
        if isinstance(said, MediaError) or not any(each.found for each in fields):
            return said  # the receipt model could fill nothing
        return _by_model(extractor, reading, f"the generator gave no usable answer: {said}")
    data = said.json if isinstance(said.json, dict) else {"value": said.json}
    places = {name: _lines_with(value, reading.lines) for name, value in data.items()}
    sure = 1.0 if said.confidence is None else said.confidence
    confidence: dict[str, float] = {}
    problems: list[str] = list(said.notes)
    for name, value in data.items():
        supported = bool(places[name])
        # An answer that the document does not show is kept, but not believed.
        confidence[name] = sure if supported and value is not None else 0.0
        if value is not None and not supported and not isinstance(value, (dict, list, bool)):
            problems.append(f"{name}: no line of the document shows {value!r}")
    info = generator.info
    return Extraction(
        reading.input,
        data,
        confidence,
        _evidence({name: lines for name, lines in places.items() if lines}, reading),
        tuple(problems),
        Provenance(info.model, info.revision, (QUESTION,)),
        said.data,
    )


def _lines_with(value: Any, lines: Sequence[Line]) -> tuple[Line, ...]:
    """The first line that shows a value, or the neighbouring ones that show it together."""
    wanted = _squeezed(value)
    if not wanted or isinstance(value, (dict, list, bool)):
        return ()
    for count in range(1, 7):
        for start in range(len(lines) - count + 1):
            part = lines[start : start + count]
            if wanted in "".join(_squeezed(line.text) for line in part):
                return tuple(part)
    return ()


def _squeezed(value: Any) -> str:
    text = f"{Decimal(str(value)):.2f}" if isinstance(value, float) else str(value)
    return "".join(char for char in text.casefold() if char.isalnum())


def _evidence(places: Mapping[str, Sequence[Line]], reading: Reading) -> dict[str, FieldEvidence]:
    """The lines as they were read, with their boxes in the pages as they are."""
    given = dict(zip(upright_lines(reading), reading.lines, strict=True))
    evidence = {}
    for name, lines in places.items():
        shown = [given.get(line, line) for line in lines]
        first = [line for line in shown if line.page == shown[0].page]
        text = " ".join(line.text for line in shown)
        evidence[name] = FieldEvidence(text, _around(first), shown[0].page)
    return evidence


def _around(lines: Sequence[Line]) -> Box:
    boxes = [line.box for line in lines]
    return (
        min(box[0] for box in boxes),
        min(box[1] for box in boxes),
        max(box[2] for box in boxes),
        max(box[3] for box in boxes),
    )


def _validated(schema: Schema, data: dict[str, Any]) -> tuple[Any, dict[str, Any], list[str]]:
    """The schema's object where the data is valid, the data as JSON, and what is wrong with it."""
    required = set(schema.json_schema.get("required", ()))
    given = {name: value for name, value in data.items() if value is not None or name in required}
    try:
        value = schema.validate(given)
    except ValueError as error:
        return None, data, str(error).splitlines()
    dump = getattr(value, "model_dump", None)
    if dump is None:
        return value, data, []
    return value, {**data, **dump(mode="json", by_alias=True)}, []
