"""The cache and the journal under several processes, and under `kill -9`."""

import multiprocessing
import os
import random
import signal
import sqlite3
import subprocess
import sys
import threading
import time

import pytest

from polymodal.runtime.cache import Cache
from polymodal.runtime.journal import Call, Journal

SRC = os.pathsep.join(path for path in sys.path if path)
WRITE_CACHE = """
import sys
from polymodal.runtime.cache import Cache
cache, who = Cache(sys.argv[1], max_bytes=int(sys.argv[3])), sys.argv[2]
print("ready", flush=True)
for n in range(int(sys.argv[4])):
    value = {"n": n, "fill": who * 200}
    cache.put({f"{who}{n}": value})
    found = cache.get([f"{who}{n}", f"a{n}", f"b{n}"])
    assert all(v["n"] == n for v in found.values()), found
"""
WRITE_JOURNAL = """
import sys
from polymodal.runtime.journal import Call, Journal
journal, who = Journal(sys.argv[1]), sys.argv[2]
print("ready", flush=True)
for n in range(int(sys.argv[3])):
    journal.record([Call("ask", who, str(n), f"{word} of {n}") for word in ("one", "two")])
    print(n, flush=True)
"""


def start(program, *arguments):
    return subprocess.Popen(
        [sys.executable, "-W", "error", "-c", program, *map(str, arguments)],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env={**os.environ, "PYTHONPATH": SRC},
    )


def finish(*processes):
    for process in processes:
        out, err = process.communicate(timeout=100)
        assert process.returncode == 0, err
        yield out


def require_sound(path):
    with sqlite3.connect(path) as raw:
        assert raw.execute("PRAGMA integrity_check").fetchone() == ("ok",)
    raw.close()


@pytest.mark.parametrize("limit", [50_000_000, 150_000])
def test_processes_that_share_a_cache_lose_and_mix_nothing(tmp_path, limit):
    path = tmp_path / "cache"
    list(finish(*(start(WRITE_CACHE, path, who, limit, 150) for who in "abc")))
    require_sound(path)
    cache = Cache(path, max_bytes=limit)
    keys = [f"{who}{n}" for who in "abc" for n in range(150)]
    found = cache.get(keys)
    assert all(found[key] == {"n": int(key[1:]), "fill": key[0] * 200} for key in found)
    if limit > 1_000_000:
        assert len(found) == len(keys)
    assert cache.info().size_bytes <= limit


def test_processes_that_share_a_journal_lose_nothing(tmp_path):
    path = tmp_path / "journal"
    list(finish(*(start(WRITE_JOURNAL, path, who, 100) for who in "abc")))
    require_sound(path)
    calls = Journal(path).calls()
    assert len(calls) == 600
    assert [call.id for call in calls] == list(range(1, 601))
    for who in "abc":
        mine = [call.output for call in calls if call.model == who]
        assert mine == [f"{word} of {n}" for n in range(100) for word in ("one", "two")]


def test_a_damaged_cache_met_by_several_processes_is_set_aside_once(tmp_path):
    path = tmp_path / "cache"
    path.write_bytes(b"no database at all " * 500)
    program = WRITE_CACHE.replace(
        "import sys", "import sys, warnings; warnings.simplefilter('ignore')", 1
    )
    list(finish(*(start(program, path, who, 50_000_000, 30) for who in "abcd")))
    assert len(Cache(path).info().set_aside) == 1
    assert len(Cache(path).get([f"{who}{n}" for who in "abcd" for n in range(30)])) == 120


@pytest.mark.slow
def test_a_killed_writer_leaves_whole_calls_and_a_file_that_opens(tmp_path):
    chance = random.Random(9)
    path = tmp_path / "journal"
    acknowledged = {}
    for run in range(12):
        process = start(WRITE_JOURNAL, path, f"run{run}", 100_000)
        assert process.stdout.readline() == "ready\n", process.stderr.read()
        time.sleep(chance.uniform(0, 0.15))
        process.send_signal(signal.SIGKILL)
        out, _ = process.communicate()
        numbers = [int(line) for line in out.splitlines() if line.endswith(tuple("0123456789"))]
        # The last line may be cut in the middle of its number.
        acknowledged[f"run{run}"] = max(numbers[:-1], default=-1) + 1
    require_sound(path)
    journal = Journal(path)
    for run, count in acknowledged.items():
        outputs = [call.output for call in journal.calls(model=run)]
        assert len(outputs) % 2 == 0
        assert outputs == [f"{w} of {n}" for n in range(len(outputs) // 2) for w in ("one", "two")]
        assert len(outputs) // 2 >= count
    assert sum(acknowledged.values()) > 100
    journal.record([Call("ask", "after", "1", "x")])
    assert journal.calls(model="after")


@pytest.mark.slow
def test_a_cache_whose_writers_are_killed_stays_sound(tmp_path):
    chance = random.Random(10)
    path = tmp_path / "cache"
    for _ in range(12):
        writers = [start(WRITE_CACHE, path, who, 200_000, 100_000) for who in "ab"]
        assert [writer.stdout.readline() for writer in writers] == ["ready\n"] * 2
        time.sleep(chance.uniform(0, 0.15))
        for writer in writers:
            writer.send_signal(signal.SIGKILL)
            writer.communicate()
    require_sound(path)
    list(finish(start(WRITE_CACHE, path, "c", 200_000, 50)))
    assert not [p for p in tmp_path.iterdir() if ".damaged-" in p.name]


def test_threads_may_share_one_cache(tmp_path):
    cache = Cache(tmp_path / "cache")
    failures = []

    def work(who):
        for n in range(60):
            cache.put({f"{who}{n}": n})
            if cache.get([f"{who}{n}"]) != {f"{who}{n}": n}:
                failures.append((who, n))

    threads = [threading.Thread(target=work, args=(who,)) for who in "abcd"]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not failures
    assert cache.info().entries == 240


def _in_child(cache, journal, answers):
    cache.put({"child": 2})
    journal.record([Call("ask", "child", "1", "x")])
    answers.put(cache.get(["parent", "child"]))


def test_a_forked_child_uses_the_same_objects_safely(tmp_path):
    cache, journal = Cache(tmp_path / "cache"), Journal(tmp_path / "journal")
    cache.put({"parent": 1})
    journal.record([Call("ask", "parent", "1", "x")])
    fork = multiprocessing.get_context("fork")
    answers = fork.Queue()
    child = fork.Process(target=_in_child, args=(cache, journal, answers))
    child.start()
    assert answers.get(timeout=60) == {"parent": 1, "child": 2}
    child.join()
    assert child.exitcode == 0
    cache.put({"after": 3})
    assert cache.get(["parent", "child", "after"]) == {"parent": 1, "child": 2, "after": 3}
    assert [call.model for call in journal.calls()] == ["parent", "child"]
    require_sound(cache.path)
