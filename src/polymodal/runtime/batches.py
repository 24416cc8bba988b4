"""Decode ahead, infer in batches, give results back in order.

Notable: the consumer drives. Inputs are read and inference runs on the consumer's thread; only
`prepare` (opening and resizing a picture) runs elsewhere, at most two batches ahead, so memory is
bounded however long the input is. Closing the iterator early, or an exception, stops the threads
before control returns.
"""

from __future__ import annotations

import os
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import TYPE_CHECKING, TypeVar

from polymodal.errors import MediaError, UsageError

if TYPE_CHECKING:
    from concurrent.futures import Future

__all__ = ["pipelined"]

Source = TypeVar("Source")
Prepared = TypeVar("Prepared")
Result = TypeVar("Result")


def pipelined(
    sources: Iterable[Source],
    prepare: Callable[[Source], Prepared],
    infer: Callable[[Sequence[Prepared]], Sequence[Result]],
    *,
    batch_size: int = 32,
    workers: int | None = None,
) -> Iterator[tuple[Source, Result | Exception]]:
    """Yield `(source, result)` for every source, in order, lazily.

    Args:
        sources: read on the consumer's thread, at most two batches ahead of what was yielded.
        prepare: one source to model input; called from `workers` threads.
        infer: a batch of at most `batch_size` inputs to as many results; the consumer's thread.
        workers: decoding threads; the number of cores by default.

    Yields:
        The source with its result, or with the `MediaError` that `prepare` raised for it. Any
        other exception ends the iteration and propagates.

    Raises:
        UsageError: when `batch_size` or `workers` is below one.
    """
    threads = (os.cpu_count() or 1) if workers is None else workers
    if batch_size < 1 or threads < 1:
        raise UsageError(f"batch_size and workers must be 1 or more, not {batch_size}, {threads}.")
    return _run(iter(sources), prepare, infer, batch_size, threads)


def _run(
    sources: Iterator[Source],
    prepare: Callable[[Source], Prepared],
    infer: Callable[[Sequence[Prepared]], Sequence[Result]],
    batch_size: int,
    threads: int,
) -> Iterator[tuple[Source, Result | Exception]]:
    from concurrent.futures import ThreadPoolExecutor

    pool = ThreadPoolExecutor(threads, thread_name_prefix="polymodal-decode")
    ahead: deque[tuple[Source, Future[Prepared]]] = deque()

    def refill() -> None:
        while len(ahead) < 2 * batch_size:
            try:
                source = next(sources)
            except StopIteration:
                return
            ahead.append((source, pool.submit(prepare, source)))

    try:
        refill()
        while ahead:
            job = [ahead.popleft() for _ in range(min(batch_size, len(ahead)))]
            outcomes = _settled(job)
            # Refilled before inference, so that the decoders have work while it runs.
            refill()
            yield from _infer(outcomes, infer)
    finally:
        pool.shutdown(wait=True, cancel_futures=True)


def _settled(
    job: Sequence[tuple[Source, Future[Prepared]]],
) -> list[tuple[Source, Prepared | MediaError]]:
    settled = []
    for source, future in job:
        value = _outcome(future)
        settled.append((source, value))
    return settled


def _outcome(future: Future[Prepared]) -> Prepared | MediaError:
    try:
        value: Prepared = future.result()
    except MediaError as error:
        return error
    return value


def _infer(
    outcomes: Sequence[tuple[Source, Prepared | MediaError]],
    infer: Callable[[Sequence[Prepared]], Sequence[Result]],
) -> Iterator[tuple[Source, Result | Exception]]:
    good = [value for _, value in outcomes if not isinstance(value, MediaError)]
    results = iter(infer(good)) if good else iter(())
    for source, value in outcomes:
        if isinstance(value, MediaError):
            yield source, value
        else:
            result = next(results, None)
            assert result is not None, "infer returned fewer results than inputs"
            yield source, result
