"""The pool: one load, leases, a budget, memory that is given back."""

from __future__ import annotations

import gc
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import polymodal as pm
from polymodal.models.resident import Resident
from polymodal.runtime import memory
from polymodal.runtime.pool import Pool

MB = 1_000_000
BIG = 64 * MB


@pytest.fixture(autouse=True, scope="module")
def _few_objects() -> Iterator[None]:
    """The collector need not look at what the test run imported, again for every load."""
    gc.collect()
    gc.freeze()
    yield
    gc.unfreeze()


def block(size: int = BIG) -> np.ndarray[Any, Any]:
    """Memory that is there, not only promised."""
    return np.ones(size, np.uint8)


def part(
    pool: Pool, name: str, load: Callable[[], Any] = block, *, least: int = 0
) -> Resident[Any]:
    made = Resident("weights", load, least_bytes=lambda: least)
    assert made.adopt(pool, name)
    return made


def names(pool: Pool) -> list[str]:
    return [each.model for each in pool.models()]


def use(each: Resident[Any]) -> None:
    with each.use() as value:
        assert value is not None


def together(count: int, work: Callable[[int], None]) -> None:
    """`work` in `count` threads at once; what one raises is raised."""
    failures: list[BaseException] = []
    barrier = threading.Barrier(count)

    def run(number: int) -> None:
        try:
            barrier.wait()
            work(number)
        except BaseException as error:
            failures.append(error)

    threads = [threading.Thread(target=run, args=(number,)) for number in range(count)]
    for each in threads:
        each.start()
    for each in threads:
        each.join(60)
        assert not each.is_alive()
    if failures:
        raise failures[0]


def test_many_threads_load_a_model_once() -> None:
    loads = []

    def load() -> object:
        loads.append(threading.get_ident())
        time.sleep(0.05)
        return object()

    pool = Pool()
    shared = part(pool, "a", load)
    together(16, lambda _: use(shared))
    assert len(loads) == 1
    (held,) = pool.models()
    assert (held.uses, held.in_use) == (16, 0)


def test_without_a_pool_a_part_is_loaded_once_and_stays() -> None:
    loads = []
    alone: Resident[object] = Resident("weights", lambda: loads.append(1) or object())
    together(8, lambda _: use(alone))
    use(alone)
    assert loads == [1]


def test_memory_is_measured_not_assumed() -> None:
    pool = Pool()
    use(part(pool, "liar", least=1))
    (held,) = pool.models()
    assert held.host_bytes == pytest.approx(BIG, rel=0.1)
    before = memory.host_used()
    assert [each.model for each in pool.unload("liar")] == ["liar"]
    assert before - memory.host_used() == pytest.approx(BIG, rel=0.1)
    assert pool.models() == []


def test_the_longest_idle_makes_room() -> None:
    pool = Pool(int(2.5 * BIG))
    a, b, c = (part(pool, name, least=BIG) for name in "abc")
    for each in (a, b, a, c):
        use(each)
    assert names(pool) == ["a", "c"]
    use(b)
    assert names(pool) == ["c", "b"]


def test_what_takes_more_than_its_files_said_pushes_others_out_afterwards() -> None:
    pool = Pool(int(1.5 * BIG))
    use(part(pool, "a"))
    use(part(pool, "b"))
    assert names(pool) == ["b"]


def test_what_can_never_fit_is_refused_before_and_after_it_is_loaded() -> None:
    pool = Pool(BIG // 2)
    loads = []
    known = part(pool, "a", lambda: loads.append(1), least=BIG)
    with pytest.raises(pm.NotEnoughMemory, match=r"a \(weights\) needs 64 MB.*32 MB.*--quantize"):
        use(known)
    assert loads == []
    before = memory.host_used()
    with pytest.raises(pm.NotEnoughMemory, match=r"needs 6\d MB of memory, and models may take 32"):
        use(part(pool, "b"))
    gc.collect()
    assert memory.host_used() - before < BIG // 4
    assert pool.models() == []


def test_a_model_in_use_is_never_unloaded() -> None:
    """Threads on three models, a budget for one and a half: whoever runs a model has all of it."""
    pool = Pool(int(1.5 * BIG))
    gone: set[int] = set()

    class Weights:
        def __init__(self) -> None:
            self.data = block()

        def __del__(self) -> None:
            gone.add(id(self))

    parts = [part(pool, name, Weights, least=BIG) for name in "abc"]

    def work(number: int) -> None:
        for turn in range(6):
            with parts[(number + turn) % 3].use() as weights:
                gone.discard(id(weights))  # an id of before can come again
                time.sleep(0.002)
                assert id(weights) not in gone
                held = [each for each in pool.models() if each.in_use]
                assert sum(each.host_bytes for each in held) <= 1.5 * BIG

    together(6, work)
    assert sum(each.uses for each in pool.models()) > 0
    assert all(each.in_use == 0 for each in pool.models())


def test_unloading_leaves_what_is_in_use() -> None:
    pool = Pool()
    a, b = part(pool, "a"), part(pool, "b")
    use(b)
    with a.use():
        assert [each.model for each in pool.unload()] == ["b"]
        assert pool.unload("a") == []
        pool.make_room(b)
        assert names(pool) == ["a"]
    assert [each.model for each in pool.unload("a")] == ["a"]


def test_a_suite_unloads_a_checkpoint_by_its_short_name_too(tmp_path: Path) -> None:
    suite = pm.Suite(home=tmp_path)
    held = part(suite._pool, "google/siglip2-base-patch16-224")
    use(held)
    assert len(suite.unload("siglip2-base-patch16-224")) == 1
    assert suite.models() == []


def test_who_waits_for_room_gets_it_when_the_other_is_done() -> None:
    pool = Pool(int(1.5 * BIG))
    a, b = (part(pool, name, least=BIG) for name in "ab")
    order: list[str] = []
    started = threading.Event()

    def hold() -> None:
        with a.use():
            started.set()
            time.sleep(0.2)
            order.append("a is done")

    holder = threading.Thread(target=hold)
    holder.start()
    started.wait(10)
    with b.use():
        order.append("b is loaded")
    holder.join(10)
    assert order == ["a is done", "b is loaded"]
    assert names(pool) == ["b"]


def test_a_thread_never_waits_for_itself() -> None:
    pool = Pool(int(1.5 * BIG))
    a, b = (part(pool, name, least=BIG) for name in "ab")
    with a.use(), b.use():
        assert sorted(names(pool)) == ["a", "b"]
    use(b)


def test_a_failed_load_leaves_nothing_and_is_tried_again() -> None:
    pool = Pool()
    outcomes: Iterator[Any] = iter([pm.ModelUnavailable("no weights"), OSError("disk"), block()])

    def load() -> Any:
        found = next(outcomes)
        if isinstance(found, Exception):
            raise found
        return found

    flaky = part(pool, "flaky", load)
    with pytest.raises(pm.ModelUnavailable, match="no weights"):
        use(flaky)
    with pytest.raises(OSError, match="disk"):
        use(flaky)
    assert pool.models() == []
    use(part(pool, "other"))
    use(flaky)
    assert names(pool) == ["other", "flaky"]


def test_memory_that_runs_out_while_loading_is_given_once_more_room() -> None:
    pool = Pool()
    outcomes: Iterator[Any] = iter([MemoryError(), block(), MemoryError(), MemoryError()])

    def load() -> Any:
        found = next(outcomes)
        if isinstance(found, Exception):
            raise found
        return found

    idle, tight = part(pool, "idle"), part(pool, "tight", load)
    use(idle)
    use(tight)
    assert names(pool) == ["tight"]
    pool.unload()
    with pytest.raises(pm.NotEnoughMemory, match=r"tight.*does not fit"):
        use(tight)


def test_what_is_idle_for_too_long_leaves() -> None:
    now = [0.0]
    pool = Pool(ttl_s=300, clock=lambda: now[0])
    a, b = part(pool, "a"), part(pool, "b")
    use(a)
    now[0] = 200.0
    use(b)
    assert [(each.age_s, each.idle_s) for each in pool.models()] == [(200.0, 200.0), (0.0, 0.0)]
    now[0] = 301.0
    with b.use():
        pool.expire()
        assert names(pool) == ["b"]
        now[0] = 1000.0
        pool.expire()
    assert names(pool) == ["b"]
    soon = Pool(ttl_s=0.05)
    use(part(soon, "c"))
    deadline = time.monotonic() + 10
    while soon.models() and time.monotonic() < deadline:
        time.sleep(0.01)
    assert soon.models() == []


def test_memory_is_flat_over_ten_rounds_of_two_models_in_a_budget_for_one() -> None:
    pool = Pool(int(1.5 * BIG))
    loads = {"a": 0, "b": 0}

    def load(name: str) -> Any:
        loads[name] += 1
        return block()

    a, b = (part(pool, n, lambda n=n: load(n), least=BIG) for n in ("a", "b"))
    seen = []
    for _ in range(10):
        for each in (a, b, a, b):
            use(each)
            assert len(pool.models()) == 1
        seen.append(memory.host_used())
    assert loads == {"a": 20, "b": 20}
    assert max(seen) - min(seen) < BIG // 8


@pytest.mark.parametrize(
    ("text", "count"),
    [("8GB", 8 * 10**9), ("1.5 g", 1_500_000_000), ("512MiB", 512 * 2**20), ("2000000", 2_000_000)],
)
def test_sizes_are_read_as_people_write_them(text: str, count: int) -> None:
    assert memory.parse_bytes(text) == count


@pytest.mark.parametrize("text", ["", "GB", "-1GB", "8 XB", "0", "8", "8GBs", "1e9"])
def test_what_is_no_size_is_refused(text: str) -> None:
    with pytest.raises(pm.UsageError, match="no size of memory"):
        memory.parse_bytes(text)


def test_the_starter_leaves_memory_and_answers_the_same_when_it_is_back(tmp_path: Path) -> None:
    suite = pm.Suite(home=tmp_path, device="cpu", memory="2GB")
    picture = np.random.default_rng(3).integers(0, 256, (48, 64, 3), np.uint8)
    before = suite.embed(images=picture, texts="a red saree").vectors
    assert {(each.model, each.part) for each in suite.models()} == {
        ("starter", "image tower"),
        ("starter", "text tower"),
    }
    suite.caption(picture)
    assert {each.part for each in suite.models()} >= {"captioner", "image tower"}
    assert len(suite.unload("starter")) >= 3
    assert suite.models() == []
    assert (suite.embed(images=picture, texts="a red saree").vectors == before).all()
    assert suite.unload("nothing") == []
