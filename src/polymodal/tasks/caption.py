"""Caption: a sentence about a picture, the candidates it was chosen from, and how sure.

Notable: pictures are decoded while others are looked at; the image tower runs once a picture. What
was said before of the same content comes from the cache, and nothing is opened for it. The same
picture gives the same caption to the last bit, alone or in a batch.
"""

from __future__ import annotations

import time
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import asdict, dataclass, field
from functools import cached_property, partial
from typing import TYPE_CHECKING, Any

from polymodal.errors import MediaError, UsageError
from polymodal.media.hashing import digest_of
from polymodal.media.inputs import picture_name
from polymodal.media.limits import Limits
from polymodal.models.unopened import STYLES, Style, UnopenedCaptioner
from polymodal.results import Caption, CaptionCandidate, Provenance
from polymodal.runtime.batches import pipelined
from polymodal.runtime.cache import Cache
from polymodal.runtime.cached import BLANK_RULE, through_cache
from polymodal.runtime.journal import Call, Journal

if TYPE_CHECKING:
    from polymodal.media.pictures import ImageInput
    from polymodal.models.describing import Captioner, Said
    from polymodal.models.protocols import Pixels

__all__ = ["DOUBTED", "CaptionOptions", "caption"]

VERB = "caption"
BATCH = 32
DIGITS = 4
"""Of a score; more would be noise, and differ between processors."""
DOUBTED = 0.85
"""A starter's caption whose `fit` is less may not fit; `recipes.starter.captionreport` prints how
often that is, for photographs like those it learnt from and for others."""
MOST_CANDIDATES = 20
MOST_ABOUT = 1000
"""Characters."""


@dataclass(frozen=True)
class CaptionOptions:
    """What is wanted.

    Attributes:
        style: "plain", "short" or "detailed".
        about: words that the caption should take up; "" for none.
        candidates: how many captions, best first.
    """

    style: Style = "plain"
    about: str = ""
    candidates: int = 1

    def __post_init__(self) -> None:
        if self.style not in STYLES:
            raise UsageError(f"style {self.style!r} is not known; use {', '.join(STYLES)}.")
        if not 1 <= self.candidates <= MOST_CANDIDATES:
            raise UsageError(f"candidates is 1 to {MOST_CANDIDATES}, not {self.candidates}.")
        if len(self.about) > MOST_ABOUT:
            raise UsageError(f"about has {len(self.about)} characters; at most {MOST_ABOUT}.")
        if self.about and self.style != "plain":
            raise UsageError("a guided caption (about) has no style; leave one of them out.")


@dataclass
class _Work:
    """Pictures to captions by the model, recorded in the journal."""

    given: Captioner | UnopenedCaptioner
    options: CaptionOptions
    limits: Limits
    journal: Journal | None
    calls: list[Call] = field(default_factory=list)
    latency_s: float = 0.0
    batch: int = 0

    @cached_property
    def captioner(self) -> Captioner:
        """Opened for the first picture that nothing is known of."""
        return self.given.open() if isinstance(self.given, UnopenedCaptioner) else self.given

    def run(self, sources: Iterator[ImageInput]) -> Iterator[tuple[ImageInput, Any]]:
        """What `through_cache` calls for pictures that it does not know."""
        stream = pipelined(sources, self._load, self._describe, batch_size=BATCH)
        try:
            for source, outcome in stream:
                if isinstance(outcome, Exception):
                    yield source, outcome
                    continue
                found = _caption(source, outcome, self.captioner.provenance)
                self._record(source, found)
                yield source, found
        finally:
            self._flush()

    def _load(self, source: ImageInput) -> Pixels:
        from polymodal.media.blank import refuse_blank
        from polymodal.media.pictures import open_picture

        target_px = self.captioner.image_size_px
        picture = open_picture(source, target_px=target_px, limits=self.limits)
        refuse_blank(picture.image, picture.name)
        return self.captioner.preprocess(picture.image)

    def _describe(self, batch: Sequence[Pixels]) -> list[list[Said]]:
        started = time.perf_counter()
        sights = self.captioner.look(batch)
        found = self.captioner.caption(
            sights,
            style=self.options.style,
            about=self.options.about,
            candidates=self.options.candidates,
        )
        self.latency_s, self.batch = time.perf_counter() - started, len(batch)
        return found

    def _record(self, source: ImageInput, found: Caption) -> None:
        if self.journal is None:
            return
        self.calls.append(
            Call(
                verb=VERB,
                model=found.provenance.model,
                revision=found.provenance.revision,
                prompt=self.options.about or self.options.style,
                parameters=asdict(self.options),
                inputs=[{"kind": "image", "name": found.input, "sha256": digest_of(source)}],
                output=found.text,
                confidence=found.score,
                latency_s=self.latency_s,
                batch=self.batch,
            )
        )
        if len(self.calls) >= BATCH:
            self._flush()

    def _flush(self) -> None:
        if self.journal is not None and self.calls:
            self.journal.record(self.calls)
            self.calls = []


def caption(
    captioner: Captioner | UnopenedCaptioner,
    images: Iterable[ImageInput],
    options: CaptionOptions,
    *,
    limits: Limits,
    cache: Cache | None = None,
    journal: Journal | None = None,
) -> Iterator[tuple[ImageInput, Caption | MediaError]]:
    """Yield `(picture, caption)` for each picture, in order, lazily; of a blank one its error.

    Raises:
        UsageError: when the model knows none of the words of `options.about`.
    """
    made_by = captioner.provenance
    stream = through_cache(
        cache,
        images,
        _Work(captioner, options, limits, journal).run,
        verb=VERB,
        model=f"{made_by.model}@{made_by.revision}",
        parameters={**asdict(options), "blank": BLANK_RULE},
        encode=_encode,
        decode=partial(_decode, made_by),
    )
    for source, outcome in stream:
        assert isinstance(outcome, Caption | MediaError), outcome
        yield source, outcome


def _caption(source: ImageInput, found: Sequence[Said], made_by: Provenance) -> Caption:
    each = tuple(
        CaptionCandidate(
            s.text, round(s.probability, DIGITS), None if s.fit is None else round(s.fit, DIGITS)
        )
        for s in found
    )
    return _of(source, each, made_by)


def _of(
    source: ImageInput, candidates: tuple[CaptionCandidate, ...], made_by: Provenance
) -> Caption:
    best = candidates[0]
    return Caption(
        input=picture_name(source),
        text=best.text,
        score=best.score,
        candidates=candidates,
        provenance=made_by,
        fit=best.fit,
    )


def _encode(found: Caption) -> Any | None:
    each = [[one.text, one.score, one.fit] for one in found.candidates]
    return each if found.text else None


def _decode(made_by: Provenance, source: ImageInput, value: Any) -> Caption:
    each = tuple(
        CaptionCandidate(str(text), float(score), None if fit is None else float(fit))
        for text, score, fit in value
    )
    if not each:
        raise ValueError("no candidates")
    return _of(source, each, made_by)
