"""A batch verb behind the cache: known results at once, only the rest to the model, in order."""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Generator, Iterable, Iterator, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field
from itertools import islice
from typing import TYPE_CHECKING, Any, Generic, TypeVar

from polymodal.errors import MediaError
from polymodal.media.hashing import Content, content_of
from polymodal.runtime.cache import Cache, cache_key

if TYPE_CHECKING:
    from concurrent.futures import ThreadPoolExecutor

    from polymodal.models.messages import GenerationOptions, GeneratorInfo

__all__ = ["BLANK_RULE", "is_deterministic", "through_cache"]

Source = TypeVar("Source")
Result = TypeVar("Result")
BLANK_RULE = 1
"""Part of what names a kept caption or answer; another number where `media.blank` calls others so.
It stands here, where a run that finds all in the cache has no need of numpy."""
FIRST_CHUNK, LAST_CHUNK = 16, 256
"""Inputs hashed and looked up together: few at first, so that results come at once."""
SLOW_S = 0.001
"""Hashing one input takes longer where files are large or far away: then threads are worth it."""
SLOW_ONE_S = 0.01
"""How long hashing must take in all before threads are started: to start them costs a little."""


def is_deterministic(info: GeneratorInfo, options: GenerationOptions) -> bool:
    """Whether asking again would give the same answer, so that it may be kept."""
    return options.temperature == 0 or (info.seeded and options.seed is not None)


def through_cache(
    cache: Cache | None,
    sources: Iterable[Source],
    compute: Callable[[Iterator[Source]], Iterable[tuple[Source, Result | Exception]]],
    *,
    verb: str,
    model: str,
    parameters: Mapping[str, Any],
    encode: Callable[[Result], Any | None],
    decode: Callable[[Source, Any], Result],
    content: Callable[[Source], Content] = content_of,
    at_most: int = LAST_CHUNK,
) -> Iterator[tuple[Source, Result | Exception]]:
    """Yield `(source, result)` for every source, in order, lazily.

    Args:
        cache: None computes everything; so a verb needs no second way.
        compute: sources to results in order, as `pipelined` gives them; it is called with those
            that are not in the cache, and never when there are none.
        verb, model, parameters: see `cache_key`.
        encode: a result to the JSON value to keep, or None where it may not be kept: it is not
            complete, empty, or would not come out the same again (`is_deterministic`). The input's
            name is no part of it.
        decode: the inverse, for a source of the same content; a KeyError, TypeError or ValueError
            means that the value is not understood, and the result is computed.
        content: what of a source is hashed; a `MediaError` leaves the complaint to `compute`. Where
            sources are pairs: `lambda pair: content_of(pair[0]).joined(pair[1])`.
        at_most: how many sources are hashed before the next is computed.

    Yields:
        The source with its result, or with the exception that `compute` gave for it. A result is
        kept the moment it is there, so a run that is stopped goes on where it was. Copies of the
        same content are computed once.
    """
    if cache is None:
        yield from compute(iter(sources))
        return
    run = _Run(cache, verb, model, parameters, encode, decode)
    each = iter(sources)
    size = min(FIRST_CHUNK, at_most)
    with ExitStack() as stack:
        hashing = _Hashing(content, stack)
        while chunk := list(islice(each, size)):
            yield from run.merged(run.look_up(chunk, hashing.of(chunk)), compute)
            size = min(2 * size, at_most)


@dataclass
class _Hashing(Generic[Source]):
    """Sources to contents, in order; in threads once it turns out to be slow."""

    content: Callable[[Source], Content]
    stack: ExitStack
    pool: ThreadPoolExecutor | None = field(default=None, init=False)

    def of(self, sources: Sequence[Source]) -> list[Content | None]:
        """None where a source cannot be read."""
        if self.pool is not None:
            return list(self.pool.map(self._one, sources))
        found: list[Content | None] = []
        started = time.perf_counter()
        for place, source in enumerate(sources, 1):
            found.append(self._one(source))
            if time.perf_counter() - started > max(SLOW_ONE_S, SLOW_S * place):
                from concurrent.futures import ThreadPoolExecutor

                pool = ThreadPoolExecutor(os.cpu_count(), thread_name_prefix="polymodal-hash")
                self.pool = self.stack.enter_context(pool)
                return [*found, *self.pool.map(self._one, sources[place:])]
        return found

    def _one(self, source: Source) -> Content | None:
        try:
            return self.content(source)
        except MediaError:
            return None


@dataclass
class _Item(Generic[Source]):
    """A source and what the cache knows of it."""

    source: Source
    content: Content | None
    key: str | None
    hit: Any = None
    copy: bool = False
    """An earlier source of the chunk has the same content."""


@dataclass
class _Run(Generic[Source, Result]):
    cache: Cache
    verb: str
    model: str
    parameters: Mapping[str, Any]
    encode: Callable[[Result], Any | None]
    decode: Callable[[Source, Any], Result]

    def look_up(
        self, sources: Sequence[Source], contents: Sequence[Content | None]
    ) -> list[_Item[Source]]:
        """Every source with its result where that is known."""
        items = []
        for source, content in zip(sources, contents, strict=True):
            key = content and cache_key(
                content.sha256, model=self.model, verb=self.verb, parameters=self.parameters
            )
            items.append(_Item(source, content, key or None))
        found = self.cache.get(list({item.key for item in items if item.key}))
        seen: set[str] = set()
        for item in items:
            if item.key in found:
                item.hit = self._decoded(item.source, found[item.key])
            if item.hit is None and item.key:
                item.copy = item.key in seen
                seen.add(item.key)
        return items

    def merged(
        self,
        items: Sequence[_Item[Source]],
        compute: Callable[[Iterator[Source]], Iterable[tuple[Source, Result | Exception]]],
    ) -> Iterator[tuple[Source, Result | Exception]]:
        """Known and computed results in the order of the items."""
        missing = [item.source for item in items if item.hit is None and not item.copy]
        computed = iter(compute(iter(missing)) if missing else ())
        try:
            yield from self._in_order(items, computed, compute)
        finally:  # also when the consumer has had enough: threads of `compute` end here
            if isinstance(computed, Generator):
                computed.close()

    def _in_order(
        self,
        items: Sequence[_Item[Source]],
        computed: Iterator[tuple[Source, Result | Exception]],
        compute: Callable[[Iterator[Source]], Iterable[tuple[Source, Result | Exception]]],
    ) -> Iterator[tuple[Source, Result | Exception]]:
        kept: dict[str, Any] = {}
        for item in items:
            outcome: Result | Exception | None = item.hit
            if item.copy and item.key in kept:
                outcome = self._decoded(item.source, kept[item.key])
            if outcome is None:
                if item.copy:  # of what could not be kept
                    ((_, outcome),) = compute(iter([item.source]))
                else:
                    _, outcome = next(computed)
                self._keep(item, outcome, kept)
            yield item.source, outcome

    def _keep(self, item: _Item[Source], outcome: Result | Exception, kept: dict[str, Any]) -> None:
        if isinstance(outcome, Exception) or item.key is None or item.content is None:
            return
        value = self.encode(outcome)
        # What was written to meanwhile may not be what was looked at.
        if value is not None and item.content.still():
            self.cache.put({item.key: value}, verb=self.verb)
            kept[item.key] = value

    def _decoded(self, source: Source, value: Any) -> Result | None:
        try:
            return self.decode(source, value)
        except (KeyError, TypeError, ValueError):
            return None
