from __future__ import annotations

import threading
import time
from collections.abc import Iterator

import pytest

from polymodal.errors import DamagedMedia, UsageError
from polymodal.runtime.batches import pipelined


def decoders() -> int:
    return sum("polymodal-decode" in thread.name for thread in threading.enumerate())


def test_order_is_kept_though_decoding_takes_different_times() -> None:
    def prepare(number: int) -> int:
        time.sleep(0.002 * (number % 3))
        return number * 10

    results = pipelined(range(25), prepare, lambda batch: [x + 1 for x in batch], batch_size=4)
    assert list(results) == [(number, number * 10 + 1) for number in range(25)]


def test_batches_are_as_large_as_asked() -> None:
    sizes: list[int] = []

    def infer(batch: list[int]) -> list[int]:
        sizes.append(len(batch))
        return batch

    list(pipelined(range(10), int, infer, batch_size=4))
    assert sizes == [4, 4, 2]


def test_media_error_stays_in_its_place() -> None:
    def prepare(number: int) -> int:
        if number in {0, 5, 6, 7, 8}:
            raise DamagedMedia("is broken", str(number))
        return number

    results = list(pipelined(range(10), prepare, list, batch_size=2))
    assert [number for number, _ in results] == list(range(10))
    failed = [number for number, outcome in results if isinstance(outcome, DamagedMedia)]
    assert failed == [0, 5, 6, 7, 8]


def test_other_exception_propagates_and_leaves_no_thread() -> None:
    def prepare(number: int) -> int:
        if number == 7:
            raise RuntimeError("a bug")
        return number

    seen = []
    with pytest.raises(RuntimeError, match="a bug"):
        for source, _ in pipelined(range(100), prepare, list, batch_size=2):
            seen.append(source)
    assert seen == [0, 1, 2, 3, 4, 5]
    assert decoders() == 0


def test_exception_in_inference_propagates_and_leaves_no_thread() -> None:
    def infer(batch: list[int]) -> list[int]:
        raise MemoryError

    with pytest.raises(MemoryError):
        list(pipelined(range(100), int, infer))
    assert decoders() == 0


def test_exception_in_sources_propagates_and_leaves_no_thread() -> None:
    def sources() -> Iterator[int]:
        yield from range(9)
        raise OSError("the folder went away")

    with pytest.raises(OSError, match="went away"):
        list(pipelined(sources(), int, list, batch_size=2))
    assert decoders() == 0


def test_early_close_leaves_no_thread() -> None:
    results = pipelined(iter(int, 1), int, list, batch_size=2)
    assert next(results) == (0, 0)
    assert decoders() > 0
    results.close()
    assert decoders() == 0


def test_endless_source_is_read_only_a_little_ahead() -> None:
    read = 0

    def sources() -> Iterator[int]:
        nonlocal read
        while True:
            read += 1
            yield read

    results = pipelined(sources(), int, list, batch_size=4)
    for _ in range(8):
        next(results)
    assert read <= 8 + 3 * 4
    results.close()


def test_decoding_overlaps_inference() -> None:
    decoded = threading.Event()
    order: list[str] = []

    def prepare(number: int) -> int:
        if number >= 4:
            order.append("decoded the next batch")
            decoded.set()
        return number

    def infer(batch: list[int]) -> list[int]:
        # The next batch is decoded while the first is still here.
        assert decoded.wait(10)
        order.append("inferred")
        return batch

    list(pipelined(range(8), prepare, infer, batch_size=4))
    assert order[0] == "decoded the next batch"


def test_inference_runs_on_the_thread_of_the_consumer() -> None:
    threads = set()

    def infer(batch: list[int]) -> list[int]:
        threads.add(threading.current_thread())
        return batch

    list(pipelined(range(10), int, infer, batch_size=3))
    assert threads == {threading.current_thread()}


def test_nothing_in_nothing_out() -> None:
    assert list(pipelined([], int, list)) == []


@pytest.mark.parametrize(("batch_size", "workers"), [(0, 1), (1, 0)])
def test_sizes_below_one_are_refused_at_the_call(batch_size: int, workers: int) -> None:
    with pytest.raises(UsageError, match="1 or more"):
        pipelined([1], int, list, batch_size=batch_size, workers=workers)
