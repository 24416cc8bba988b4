"""A batch verb behind the cache."""

import threading
import time

import numpy as np
import pytest
from PIL import Image

from polymodal.errors import DamagedMedia, MediaTooLarge
from polymodal.media.files import read_bytes
from polymodal.media.hashing import content_of
from polymodal.models.messages import GenerationOptions, GeneratorInfo
from polymodal.runtime.batches import pipelined
from polymodal.runtime.cache import Cache
from polymodal.runtime.cached import is_deterministic, through_cache


class Verb:
    """Counts the bytes of files, in batches; nothing is kept of those with an odd number."""

    def __init__(self, cache, keep=lambda result: True):
        self.cache = cache
        self.keep = keep
        self.asked = []

    def compute(self, sources):
        def remember(source):
            self.asked.append(source)
            return read_bytes(source)

        return pipelined(sources, remember, lambda batch: [len(data) for data in batch])

    def run(self, sources, *, content=content_of, at_most=256, **parameters):
        return through_cache(
            self.cache,
            sources,
            self.compute,
            verb="count",
            model="m1",
            parameters=parameters,
            encode=lambda result: {"n": result} if self.keep(result) else None,
            decode=lambda source, value: value["n"],
            content=content,
            at_most=at_most,
        )


@pytest.fixture
def files(tmp_path):
    paths = []
    for number in range(60):
        paths.append(tmp_path / f"f{number}.bin")
        paths[-1].write_bytes(b"x" * (number + 1))
    return paths


@pytest.fixture
def verb(tmp_path):
    return Verb(Cache(tmp_path / "cache.sqlite3"))


def test_a_second_run_asks_the_model_nothing_and_gives_the_same(verb, files):
    first = list(verb.run(files))
    assert first == [(path, n + 1) for n, path in enumerate(files)]
    assert sorted(verb.asked) == sorted(files)
    again = Verb(verb.cache)
    assert list(again.run(files)) == first
    assert again.asked == []


def test_only_what_is_not_known_goes_to_the_model_and_order_holds(verb, files):
    list(verb.run(files[::3]))
    verb.asked.clear()
    assert list(verb.run(files)) == [(path, n + 1) for n, path in enumerate(files)]
    assert sorted(verb.asked) == sorted(set(files) - set(files[::3]))


def test_known_results_come_before_the_model_is_asked(verb, files):
    list(verb.run(files[:5]))

    def never(sources):
        raise AssertionError("the model was asked")
        yield

    verb.compute = never
    results = verb.run(files)
    assert [next(results)[1] for _ in range(5)] == [1, 2, 3, 4, 5]
    with pytest.raises(AssertionError, match="was asked"):
        next(results)


def test_no_more_is_hashed_ahead_than_is_allowed(verb, files):
    hashed = []

    def content(source):
        hashed.append(source)
        return content_of(source)

    results = verb.run(files, content=content, at_most=4)
    for number in range(1, 13):
        next(results)
        assert len(hashed) == -(-number // 4) * 4


def test_hashing_that_takes_long_is_done_in_threads_in_the_same_order(verb, files):
    by = []

    def far_away(source):
        by.append(threading.current_thread().name)
        time.sleep(0.003)
        return content_of(source)

    found = [size for _, size in verb.run(files, content=far_away)]
    assert found == list(range(1, 61))
    assert by[0] == threading.current_thread().name
    assert all(name.startswith("polymodal-hash") for name in by[-30:])


def test_a_file_that_is_too_large_is_not_hashed(files):
    with pytest.raises(MediaTooLarge):
        content_of(files[10], max_bytes=10)
    assert content_of(files[9], max_bytes=10) == content_of(files[9])


def test_other_parameters_are_other_results(verb, files):
    list(verb.run(files[:2], style="short"))
    verb.asked.clear()
    list(verb.run(files[:2], style="long"))
    assert len(verb.asked) == 2


def test_a_renamed_file_is_known_and_a_changed_one_is_not(verb, files):
    list(verb.run(files[:2]))
    verb.asked.clear()
    renamed = files[0].rename(files[0].with_name("other"))
    files[1].write_bytes(b"yy" * 50)
    assert [n for _, n in verb.run([renamed, files[1]])] == [1, 100]
    assert verb.asked == [files[1]]


def test_a_failure_stays_in_its_place_and_is_not_kept(verb, files, tmp_path):
    empty, missing = tmp_path / "empty", tmp_path / "missing"
    empty.touch()
    for _ in range(2):
        verb.asked.clear()
        outcomes = [r for _, r in verb.run([files[0], empty, missing, files[1]])]
        assert (outcomes[0], outcomes[3]) == (1, 2)
        assert isinstance(outcomes[1], DamagedMedia)
        assert "no such file" in str(outcomes[2])
        assert {empty, missing} <= set(verb.asked)


def test_what_the_verb_does_not_want_kept_is_computed_every_time(verb, files):
    verb.keep = lambda result: result % 2 == 0
    list(verb.run(files[:4]))
    verb.asked.clear()
    list(verb.run(files[:4]))
    assert sorted(verb.asked) == [files[0], files[2]]


@pytest.mark.parametrize("kept", [True, False])
def test_copies_get_a_result_each_and_are_computed_once_where_it_is_kept(verb, tmp_path, kept):
    verb.keep = lambda result: kept
    copies = [tmp_path / f"copy{n}" for n in range(4)]
    for path in copies:
        path.write_bytes(b"same")
    assert list(verb.run(copies)) == [(path, 4) for path in copies]
    assert len(verb.asked) == (1 if kept else 4)


def test_a_run_that_is_stopped_keeps_what_it_had(verb, files):
    results = verb.run(files)
    seen = [next(results) for _ in range(20)]
    results.close()
    verb.asked.clear()
    assert list(verb.run(files))[:20] == seen
    assert not set(verb.asked) & {path for path, _ in seen}


def test_a_file_written_to_while_it_is_looked_at_is_not_kept(verb, files):
    compute = verb.compute

    def slow(sources):
        for source, result in compute(sources):
            source.write_bytes(b"changed meanwhile")
            yield source, result

    verb.compute = slow
    assert list(verb.run(files[:1])) == [(files[0], 1)]
    assert verb.cache.info().entries == 0


def test_a_value_that_is_not_understood_is_computed_again(verb, files):
    list(verb.run(files[:3]))
    outcomes = through_cache(
        verb.cache,
        files[:3],
        verb.compute,
        verb="count",
        model="m1",
        parameters={},
        encode=lambda result: {"m": result},
        decode=lambda source, value: value["m"],
    )
    assert [n for _, n in outcomes] == [1, 2, 3]
    assert len(verb.asked) == 6


def test_without_a_cache_everything_is_computed(files):
    verb = Verb(None)
    assert [n for _, n in verb.run(iter(files))] == list(range(1, 61))


def test_pictures_in_memory_are_known_by_their_pixels(tmp_path):
    red, blue = Image.new("RGB", (9, 9), "red"), Image.new("RGB", (9, 9), "blue")
    asked = []

    def compute(sources):
        for source in sources:
            asked.append(source)
            yield source, np.asarray(source).mean()

    def run(sources):
        return [
            mean
            for _, mean in through_cache(
                Cache(tmp_path / "c"),
                sources,
                compute,
                verb="mean",
                model="m",
                parameters={},
                encode=float,
                decode=lambda source, value: value,
            )
        ]

    sources = [red, blue, np.asarray(red), np.zeros((3, 27), np.uint8), np.zeros((27, 3), np.uint8)]
    first = run(sources)
    assert len(asked) == 5
    assert run([red.copy(), blue.copy(), *(array.copy() for array in sources[2:])]) == first
    assert len(asked) == 5


def test_only_answers_that_come_out_the_same_again_are_deterministic():
    plain, seeded = GeneratorInfo("m", "1"), GeneratorInfo("m", "1", seeded=True)
    warm = GenerationOptions(temperature=0.7, seed=1)
    assert is_deterministic(plain, GenerationOptions())
    assert is_deterministic(seeded, warm)
    assert not is_deterministic(plain, warm)
    assert not is_deterministic(seeded, GenerationOptions(temperature=0.7))


def test_the_same_picture_with_another_question_is_another_result(tmp_path):
    red = tmp_path / "red.png"
    Image.new("RGB", (9, 9), "red").save(red)
    asked = []

    def compute(pairs):
        for pair in pairs:
            asked.append(pair)
            yield pair, f"{pair[1]}!"

    def run(*questions):
        found = through_cache(
            Cache(tmp_path / "c"),
            [(red, question) for question in questions],
            compute,
            verb="ask",
            model="m",
            parameters={},
            encode=lambda answer: answer,
            decode=lambda pair, value: value,
            content=lambda pair: content_of(pair[0]).joined(pair[1]),
        )
        return [answer for _, answer in found]

    assert run("what", "where") == ["what!", "where!"]
    assert run("where", "who", "what") == ["where!", "who!", "what!"]
    assert [question for _, question in asked] == ["what", "where", "who"]
