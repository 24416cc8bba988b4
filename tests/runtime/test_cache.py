"""The file of results: keys, limits, damage."""

import json
import math
import sqlite3
import time
import warnings

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from polymodal.errors import StorageError, UsageError
from polymodal.runtime import cache as module
from polymodal.runtime.cache import Cache, cache_key, canonical_json, open_cache

JSON = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.text()
    | st.floats(allow_nan=False, allow_infinity=False),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(), inner, max_size=4),
    max_leaves=12,
)
PARAMETERS = st.dictionaries(st.text(), JSON, max_size=5)


@pytest.fixture
def cache(tmp_path):
    cache = Cache(tmp_path / "cache.sqlite3")
    yield cache
    cache.close()


def key(parameters=None, content="c", model="m", verb="v"):
    return cache_key(content, model=model, verb=verb, parameters=parameters or {})


@settings(deadline=None)
@given(PARAMETERS, st.randoms(use_true_random=False))
def test_the_order_of_parameters_does_not_matter(parameters, chance):
    items = list(parameters.items())
    chance.shuffle(items)
    assert key(dict(items)) == key(parameters)


@settings(deadline=None)
@given(JSON, JSON)
def test_canonical_json_is_the_same_exactly_for_equal_json(one, two):
    assert json.loads(canonical_json(one)) == one
    same = json.dumps(one, sort_keys=True) == json.dumps(two, sort_keys=True)
    assert (canonical_json(one) == canonical_json(two)) is same


@settings(deadline=None)
@given(st.tuples(*[st.text(max_size=3)] * 3), st.tuples(*[st.text(max_size=3)] * 3))
def test_no_two_questions_share_a_key(one, two):
    keys = [key({}, *parts) for parts in (one, two)]
    assert (keys[0] == keys[1]) is (one == two)


@settings(deadline=None)
@given(PARAMETERS, PARAMETERS)
def test_other_parameters_have_another_key(one, two):
    same = json.dumps(one, sort_keys=True) == json.dumps(two, sort_keys=True)
    assert (key(one) == key(two)) is same


@pytest.mark.parametrize(
    "value", [{1: "a"}, [{"a": {None: 1}}], math.nan, {"a": -math.inf}, {1, 2}]
)
def test_what_has_no_one_spelling_is_refused(value):
    with pytest.raises(UsageError, match="not a JSON value"):
        canonical_json(value)


def test_another_release_finds_nothing(monkeypatch):
    before = key()
    monkeypatch.setattr(module, "__version__", "9.9.9")
    assert key() != before


@settings(deadline=None, max_examples=30)
@given(values=st.dictionaries(st.text(st.sampled_from("abc"), min_size=1), JSON, max_size=6))
def test_what_is_put_comes_back(values, tmp_path_factory):
    cache = Cache(tmp_path_factory.mktemp("cache") / "c")
    cache.put(values)
    assert cache.get([*values, "missing"]) == values
    cache.close()


def test_many_keys_are_found_at_once(cache):
    values = {f"k{n}": n for n in range(2_500)}
    cache.put(values)
    assert cache.get(list(values)) == values


def test_a_second_opener_sees_what_the_first_put(cache):
    cache.put({"k": [1]}, verb="read")
    again = Cache(cache.path)
    assert again.get(["k"]) == {"k": [1]}
    again.close()


def test_asking_an_empty_cache_makes_no_file(cache):
    assert cache.get(["k"]) == {}
    assert cache.info().entries == cache.clear() == 0
    assert not cache.path.exists()


def test_only_the_user_may_read_the_file(cache):
    cache.put({"k": 1})
    modes = {path.name: path.stat().st_mode & 0o777 for path in cache.path.parent.iterdir()}
    assert set(modes.values()) == {0o600}, modes


def test_the_least_recently_used_leave_when_it_is_full(tmp_path, monkeypatch):
    now = [1_000_000]
    monkeypatch.setattr(time, "time", lambda: now[0])
    cache = Cache(tmp_path / "c", max_bytes=400_000)
    used, fill = {}, "x" * 4_000
    for number in range(60):
        now[0] += 100
        cache.put({f"old{number}": fill})
    now[0] += 100
    kept = set(cache.get([f"old{n}" for n in range(10)]))
    assert len(kept) == 10
    for number in range(60):
        now[0] += 100
        used[f"new{number}"] = fill
        cache.put({f"new{number}": fill})
    info = cache.info()
    assert info.size_bytes <= 400_000
    assert info.path.stat().st_size < 480_000
    left = set(cache.get([f"old{n}" for n in range(60)]))
    # What was asked for in between outlives what was not, though it is older.
    assert kept <= left
    assert not left & {f"old{n}" for n in range(10, 40)}
    assert len(cache.get(list(used))) > 50
    cache.close()


def test_a_result_larger_than_the_cache_does_not_stay(tmp_path):
    cache = Cache(tmp_path / "c", max_bytes=100_000)
    cache.put({"huge": "x" * 500_000})
    assert cache.get(["huge"]) == {}
    assert cache.info().size_bytes <= 100_000
    cache.close()


def test_info_counts_by_verb_and_clear_gives_the_space_back(cache):
    cache.put({f"a{n}": "x" * 1000 for n in range(300)}, verb="ask")
    cache.put({"c": 1}, verb="caption")
    info = cache.info()
    assert (info.entries, info.verbs) == (301, {"ask": 300, "caption": 1})
    assert info.size_bytes > 300_000
    assert cache.clear() == 301
    assert cache.info().entries == 0
    assert sum(path.stat().st_size for path in cache.path.parent.iterdir()) < 100_000


DAMAGES = {
    "text": lambda data: b"this is no database, however long it may be. " * 99,
    "zeroed header": lambda data: bytes(100) + data[100:],
    "zeroed pages": lambda data: data[:4096] + bytes(len(data) - 4096),
    "noise in pages": lambda data: (
        data[:4096] + bytes((i * 37) % 256 for i in range(len(data) - 4096))
    ),
    "cut short": lambda data: data[: len(data) // 2 - 7],
}


@pytest.mark.parametrize("damage", DAMAGES)
def test_a_damaged_file_is_set_aside_and_named(cache, damage):
    cache.put({f"k{n:04}": "x" * 500 for n in range(400)})
    cache.close()
    whole = cache.path.read_bytes()
    cache.path.write_bytes(damaged := DAMAGES[damage](whole))
    keys = [f"k{n:04}" for n in range(400)]
    with pytest.warns(UserWarning, match="is damaged") as warned:
        assert cache.get(keys) == {}
    (aside,) = cache.info().set_aside
    assert str(aside) in str(warned[0].message)
    assert aside.read_bytes() == damaged
    cache.put({"new": 1})
    assert cache.get(["new"]) == {"new": 1}
    cache.clear()
    assert not list(aside.parent.glob("*.damaged-*"))


def test_who_meets_damage_second_does_not_set_the_new_file_aside(cache, tmp_path):
    cache.put({f"k{n:04}": "x" * 500 for n in range(400)})
    cache.close()
    whole = cache.path.read_bytes()
    second = Cache(cache.path)
    assert len(second.get(["k0001"])) == 1
    cache.path.write_bytes(whole[:4096] + bytes(len(whole) - 4096))
    met = []

    def read(connection):
        """The first time, somebody else sets the file aside just before."""
        if not met:
            met.append(True)
            with pytest.warns(UserWarning, match="is damaged"):
                Cache(cache.path).get(["k0001"])
            Cache(cache.path).put({"new": 1})
        return connection.execute("SELECT key FROM entries ORDER BY key DESC").fetchall()

    assert second._data.read(read) == [("new",)]
    assert len(cache.info().set_aside) == 1


def test_a_file_that_is_replaced_under_an_open_cache_is_noticed(cache):
    cache.put({"k": 1})
    for path in list(cache.path.parent.iterdir()):
        path.unlink()
    assert cache.get(["k"]) == {}
    cache.put({"k": 2})
    assert Cache(cache.path).get(["k"]) == {"k": 2}


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    """The bytes of a cache of 150 results, and the results."""
    path = tmp_path_factory.mktemp("whole") / "c"
    cache = Cache(path)
    values = {f"{n:064}": {"text": f"answer {n} " * (n % 40)} for n in range(150)}
    cache.put(values)
    cache._data.read(lambda c: c.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchall())
    cache.close()
    return path.read_bytes(), values


HARM = st.tuples(st.floats(0, 1, exclude_max=True), st.binary(min_size=1, max_size=40))


@settings(deadline=None, max_examples=150)
@given(harm=st.lists(HARM, min_size=1, max_size=6), cut=st.none() | st.floats(0, 1))
def test_whatever_happens_to_the_file_no_wrong_result_comes_out(whole, harm, cut, tmp_path_factory):
    data, values = bytearray(whole[0]), whole[1]
    for place, noise in harm:
        start = int(place * len(data))
        data[start : start + len(noise)] = noise[: len(data) - start]
    path = tmp_path_factory.mktemp("harmed") / "c"
    path.write_bytes(data[: None if cut is None else int(cut * len(data))])
    cache = Cache(path)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)
        found = cache.get(list(values))
        assert all(values[key] == value for key, value in found.items())
        cache.put({"new": 1})
        assert cache.get(["new"]) in ({"new": 1}, {})
    cache.close()


def test_a_database_of_something_else_is_left_alone(tmp_path):
    path = tmp_path / "mine.sqlite3"
    with sqlite3.connect(path) as mine:
        mine.execute("CREATE TABLE precious (x)")
    mine.close()
    cache = Cache(path)
    with pytest.warns(UserWarning, match=r"is not a cache .* going on without it"):
        assert cache.get(["k"]) == {}
    cache.put({"k": 1})
    with pytest.raises(UsageError, match="is not a cache"):
        cache.info()
    with sqlite3.connect(path) as mine:
        assert mine.execute("SELECT name FROM sqlite_master").fetchall() == [("precious",)]
    mine.close()


def test_a_place_that_cannot_be_written_warns_once_and_stops_nothing(tmp_path):
    (tmp_path / "file").touch()
    cache = Cache(tmp_path / "file" / "cache")
    with pytest.warns(UserWarning, match="cannot be used") as warned:
        for _ in range(3):
            cache.put({"k": 1})
            assert cache.get(["k"]) == {}
    assert len(warned) == 1
    (tmp_path / "folder").mkdir()
    with pytest.raises(StorageError, match="folder"):
        Cache(tmp_path / "folder").info()


def test_the_switch_turns_every_cache_off(tmp_path, monkeypatch):
    given = Cache(tmp_path / "c")
    assert open_cache(given) is given
    assert open_cache(tmp_path / "d").path == tmp_path / "d"
    assert open_cache(True, tmp_path).path.parent == tmp_path
    assert open_cache(False) is None
    monkeypatch.setenv("POLYMODAL_HOME", str(tmp_path / "home"))
    assert open_cache().path.parent == tmp_path / "home"
    monkeypatch.setenv("POLYMODAL_CACHE", "OFF")
    assert open_cache(given) is open_cache(True) is open_cache(tmp_path / "d") is None


def test_a_limit_too_small_to_hold_anything_is_refused(tmp_path):
    with pytest.raises(UsageError, match="100,000 bytes or more"):
        Cache(tmp_path / "c", max_bytes=10)
