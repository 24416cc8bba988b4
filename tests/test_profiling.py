"""Profiles: what a stage is charged, by which thread, and that it costs nothing when off."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest

import polymodal as pm
from polymodal.models.voice import speech_pieces
from polymodal.profiles import Profile
from polymodal.profiling import profiled, profiled_items, profiling, span
from tests.tasks.pictures import plain


def taken(profile: Profile) -> dict[str, float]:
    return {each.stage: each.seconds for each in profile.stages}


def test_a_stage_is_charged_what_no_span_inside_it_took() -> None:
    with profiling() as profile:
        with span("encode"):
            time.sleep(0.02)
            with span("load"):
                time.sleep(0.05)
        with span("encode"):
            pass
    found = taken(profile)
    assert found["load"] >= 0.05
    assert 0.02 <= found["encode"] < 0.05
    assert profile.wall_s >= sum(found.values())
    assert [(each.stage, each.count) for each in profile.stages] == [("load", 1), ("encode", 2)]


def test_threads_count_side_by_side_and_not_into_each_other() -> None:
    together = threading.Barrier(4)

    @profiled("decode")
    def decode() -> None:
        together.wait()
        time.sleep(0.03)

    with profiling() as profile, span("generate"), ThreadPoolExecutor(4) as pool:
        list(pool.map(lambda _: decode(), range(4)))
    found = taken(profile)
    assert found["decode"] >= 4 * 0.03
    assert found["generate"] >= 0.03  # it waited for them: theirs is not taken from its own


def test_items_are_charged_for_getting_them_and_not_for_what_is_done_with_them() -> None:
    def slow() -> Iterator[int]:
        for number in range(3):
            time.sleep(0.01)
            yield number

    with profiling() as profile:
        for _ in profiled_items("decode", slow()):
            time.sleep(0.05)
    assert 0.03 <= taken(profile)["decode"] < 0.1


def test_percentiles_are_those_of_the_spans(monkeypatch: pytest.MonkeyPatch) -> None:
    clock = iter(np.cumsum([0.0, *(each for n in range(1, 101) for each in (n, 0.0))]))
    monkeypatch.setattr("polymodal.profiling.time.perf_counter", lambda: float(next(clock)))
    profile = Profile()
    for _ in range(100):
        with profile.span("store"):
            pass
    (stage,) = profile.stages
    wanted = np.percentile(np.arange(1, 101), [50, 95, 100], method="inverted_cdf")
    assert [stage.median_s, stage.p95_s, stage.longest_s] == pytest.approx(wanted)
    assert stage.seconds == pytest.approx(5050)


def test_a_span_ends_with_the_error_inside_it() -> None:
    with profiling() as profile:
        with pytest.raises(ZeroDivisionError), span("open"):
            _ = 1 / 0
        with span("store"):
            pass
    assert [each.stage for each in profile.stages] == ["open", "store"]


def test_nothing_is_kept_when_no_profile_is_on() -> None:
    with profiling() as profile:
        pass
    with span("load"):
        pass
    assert profile.stages == []
    pm.Suite(pm.MockEmbedder()).embed(images=[plain("red")])
    assert profile.stages == []


def test_looking_for_speech_counts_as_preprocessing() -> None:
    pytest.importorskip("faster_whisper")
    silence = np.zeros(32_000, np.float32)
    with profiling() as profile:
        assert list(speech_pieces([silence], longest_s=30.0)) == []
    assert [(each.stage, each.count) for each in profile.stages] == [("preprocess", 1)]
