"""One writer, many readers, in one process or in several."""

import os
import threading

import pytest
from store_shop import draw, finish, open_shop, python, state

from polymodal.errors import CollectionLocked

HOLD = """
import sys
from store_shop import open_shop
with open_shop(sys.argv[1]) as shop, shop._access.writing():
    print("holding", flush=True)
    sys.stdin.readline()
"""
SEARCH = """
import sys
from store_shop import open_shop
with open_shop(sys.argv[1], write=False) as shop:
    print(len(shop.search("red", k=50)), flush=True)
    sys.stdin.readline()
    print(len(shop.search("red", k=50)), flush=True)
"""
ADD = """
import sys, time
from polymodal.models.mock import MockEmbedder
from polymodal.search import writer
from store_shop import open_shop

writer.COMMIT_ITEMS = 4

class Slow(MockEmbedder):
    def embed_images(self, batch):
        time.sleep(0.01 * len(batch))
        return super().embed_images(batch)

with open_shop(sys.argv[1], Slow()) as shop:
    print("adding", flush=True)
    print(shop.add(sys.argv[2]).added, flush=True)
"""


@pytest.fixture
def photos(tmp_path):
    for number in range(6):
        draw(tmp_path / "photos" / f"red{number}.png", "red", number)
    return tmp_path / "photos"


@pytest.fixture
def shop(tmp_path, photos):
    with open_shop(tmp_path / "shop") as shop:
        shop.add(photos)
        yield shop


def test_a_second_writer_is_told_who_writes(tmp_path, photos, shop):
    holder = python(HOLD, tmp_path / "shop", stdin=-1)
    assert holder.stdout.readline() == "holding\n"
    draw(photos / "new.png", "blue")
    with pytest.raises(CollectionLocked) as caught:
        shop.add(photos)
    assert f"process {holder.pid} on {os.uname().nodename}" in str(caught.value)
    assert "since" in str(caught.value)
    assert len(shop.search("red", k=10)) == 6  # reading goes on
    holder.communicate("\n")
    assert shop.add(photos).added == 1


def test_the_lock_of_a_killed_writer_holds_nobody_up(tmp_path, photos, shop):
    holder = python(HOLD, tmp_path / "shop", stdin=-1)
    assert holder.stdout.readline() == "holding\n"
    holder.kill()
    holder.communicate()
    draw(photos / "new.png", "blue")
    assert shop.add(photos).added == 1


def test_two_processes_search_at_once_and_see_what_is_added_meanwhile(tmp_path, photos, shop):
    readers = [python(SEARCH, tmp_path / "shop", stdin=-1) for _ in range(2)]
    assert [reader.stdout.readline() for reader in readers] == ["6\n", "6\n"]
    draw(photos / "new.png", "red", 50)
    shop.add(photos)
    for reader in readers:
        out, err = reader.communicate("\n")
        assert out == "7\n", err


def test_searching_while_another_process_adds(tmp_path, photos, shop):
    for number in range(60):
        draw(tmp_path / "more" / f"blue{number}.png", "blue", number)
    adding = python(ADD, tmp_path / "shop", tmp_path / "more")
    assert adding.stdout.readline() == "adding\n"
    seen = []
    while adding.poll() is None:
        seen.append(len(shop.search("blue", k=100)))
    assert finish(adding) == "60\n"
    assert seen == sorted(seen)
    assert len(set(seen)) > 2, "commits became visible one after the other"
    assert len(shop.search("blue", k=100)) == 66


def test_readers_leave_the_files_of_a_collection_as_they_are(tmp_path, shop):
    def files():
        return {
            path: (path.read_bytes(), path.stat().st_mtime_ns)
            for path in (tmp_path / "shop").rglob("*")
            if path.is_file()
        }

    before = files()
    with open_shop(tmp_path / "shop", write=False) as reader:
        reader.search("red")
        state(reader)
        reader.info()
    assert files() == before
    assert list((tmp_path / "shop" / "views").iterdir()) == []


def test_threads_of_one_process_take_turns_writing_and_read_freely(tmp_path, photos):
    for thread in range(4):
        for number in range(8):
            draw(tmp_path / str(thread) / f"{number}.png", "green", 8 * thread + number)
    failures = []
    with open_shop(tmp_path / "shop") as shop:
        shop.add(photos)

        def work(thread):
            try:
                shop.add(tmp_path / str(thread))
                for _ in range(5):
                    assert shop.search("green", k=3).hits
            except Exception as error:
                failures.append(error)

        threads = [threading.Thread(target=work, args=(number,)) for number in range(4)]
        for each in threads:
            each.start()
        for each in threads:
            each.join()
        assert failures == []
        assert len(shop) == 6 + 32
