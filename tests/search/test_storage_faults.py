"""Full disks, read-only folders, lost and damaged files: clear errors, and nothing lost."""

import json
import shutil
import subprocess
from dataclasses import replace
from types import SimpleNamespace

import pytest
from store_shop import draw, finish, open_shop, python, state

from polymodal.errors import (
    CollectionDamaged,
    CollectionError,
    CollectionNotFound,
    StorageError,
    UsageError,
)
from polymodal.models.mock import MockEmbedder
from polymodal.search import edge, edge_payload, open_collection

MB = 1 << 20


@pytest.fixture
def photos(tmp_path):
    for number in range(40):
        draw(tmp_path / "photos" / f"red{number}.png", "red", number)
    return tmp_path / "photos"


@pytest.fixture
def small_disk(tmp_path):
    """A disk of 160 MB of its own."""
    folder = tmp_path / "disk"
    folder.mkdir()
    mounted = shutil.which("mount") and subprocess.run(
        ["mount", "-t", "tmpfs", "-o", "size=160m", "tmpfs", str(folder)],
        capture_output=True,
        check=False,
    )
    if not mounted or mounted.returncode:
        pytest.skip("a file system of a given size cannot be mounted here")
    yield folder
    subprocess.run(["umount", "-l", str(folder)], check=True)


def fill(disk):
    with (disk / "ballast").open("wb") as ballast:
        left = shutil.disk_usage(disk).free - 20 * MB
        for _ in range(left // MB):
            ballast.write(b"x" * MB)


def test_a_disk_that_fills_up_meanwhile_is_said_and_the_run_can_be_finished(small_disk, photos):
    class Filling(MockEmbedder):
        def embed_images(self, batch):
            if self.images_seen and not (small_disk / "ballast").exists():
                fill(small_disk)
            return super().embed_images(batch)

    with open_shop(small_disk / "shop", Filling()) as shop:
        shop.add(photos / "red0.png")
        with pytest.raises(StorageError, match=r"disk is full.*same command again"):
            shop.add(photos)
        assert len(shop) == 1
        with pytest.raises(StorageError, match="disk is full"):
            shop.add(photos)
    with open_shop(small_disk / "shop") as shop:
        assert shop.search("red", k=3).hits[0].path.endswith("red0.png")
        (small_disk / "ballast").unlink()
        assert shop.add(photos).added == 39
        assert len(state(shop)) == 40


def test_a_new_collection_on_a_full_disk_leaves_nothing(small_disk, photos):
    fill(small_disk)
    with open_shop(small_disk / "shop") as shop, pytest.raises(StorageError, match="disk is full"):
        shop.add(photos)
    (small_disk / "ballast").unlink()
    with open_shop(small_disk / "shop") as shop:
        assert shop.add(photos).added == 40


def test_even_a_write_that_meets_a_full_disk_leaves_a_collection_that_opens(small_disk, photos):
    with open_shop(small_disk / "shop") as shop:
        shop.add(photos / "red0.png")
    with (small_disk / "ballast").open("wb") as ballast:
        free = shutil.disk_usage(small_disk).free
        ballast.write(b"x" * (free - 8 * 1024))
    code = """
import sys
from polymodal.search import edge, writer
from store_shop import open_shop
edge.RESERVE_BYTES = -1 << 40  # as if another program had taken the space after the check
with open_shop(sys.argv[1]) as shop:
    shop.add(sys.argv[2])
"""
    process = python(code, small_disk / "shop", photos)
    process.communicate(timeout=60)
    assert process.returncode != 0  # killed by SIGBUS: Edge writes through memory maps
    (small_disk / "ballast").unlink()
    with open_shop(small_disk / "shop") as shop:
        before = len(shop)
        assert before in (1, 40)
        assert shop.add(photos).added == 40 - before
        assert len(state(shop)) == 40


def test_a_limit_on_file_sizes_is_a_storage_error(tmp_path, photos):
    code = """
import resource, sys
from polymodal.errors import StorageError
from store_shop import open_shop
resource.setrlimit(resource.RLIMIT_FSIZE, (1 << 20, 1 << 20))
with open_shop(sys.argv[1]) as shop:
    try:
        shop.add(sys.argv[2])
    except StorageError as error:
        print(error)
"""
    assert "file size limit" in finish(python(code, tmp_path / "shop", photos))
    with open_shop(tmp_path / "shop") as shop:
        assert shop.add(photos).added == 40


def test_a_read_only_collection_can_be_searched_and_says_why_it_cannot_be_written(tmp_path, photos):
    with open_shop(tmp_path / "shop") as shop:
        shop.add(photos)
    folder = tmp_path / "frozen"
    folder.mkdir()
    for step in (["--bind", tmp_path / "shop", folder], ["-o", "remount,ro,bind", folder]):
        mounted = subprocess.run(["mount", *step], capture_output=True, check=False)
    if mounted.returncode:
        pytest.skip("a read-only file system cannot be mounted here")
    try:
        with open_shop(folder) as shop:
            assert len(shop.search("red", k=5)) == 5
            draw(photos / "new.png", "blue")
            for attempt in (
                lambda: shop.add(photos),
                lambda: shop.delete(where="price = 1"),
                lambda: shop.reembed(MockEmbedder("other")),
            ):
                with pytest.raises(StorageError, match="Read-only file system"):
                    attempt()
    finally:
        subprocess.run(["umount", "-l", str(folder)], check=True)


def test_a_folder_that_may_not_be_created_is_said(tmp_path, photos):
    (tmp_path / "file").write_text("")
    with pytest.raises(UsageError, match="is a file"):
        open_shop(tmp_path / "file")
    with open_shop(tmp_path / "file" / "shop") as shop, pytest.raises(StorageError, match="create"):
        shop.add(photos)


def test_a_manifest_that_is_damaged_or_of_the_future_is_said(tmp_path, photos):
    with open_shop(tmp_path / "shop") as shop:
        shop.add(photos)
    path = tmp_path / "shop" / "collection.json"
    good = path.read_text()
    path.write_text(good[:50])
    with pytest.raises(CollectionDamaged, match=r"collection\.json"):
        open_shop(tmp_path / "shop")
    path.write_text(json.dumps({**json.loads(good), "format": 99}))
    with pytest.raises(CollectionDamaged, match="upgrade polymodal"):
        open_shop(tmp_path / "shop")
    path.write_text("[1]")
    with pytest.raises(CollectionDamaged):
        open_shop(tmp_path / "shop")
    path.unlink()
    with pytest.raises(CollectionNotFound):
        open_shop(tmp_path / "shop", create=False)


def test_lost_or_damaged_data_are_said(tmp_path, photos):
    with open_shop(tmp_path / "shop") as shop:
        shop.add(photos)
    (segment,) = (tmp_path / "shop" / "data-000001" / "segments").iterdir()
    (segment / "segment.json").write_text("{")
    with open_shop(tmp_path / "shop") as shop, pytest.raises(CollectionDamaged):
        shop.search("red")
    shutil.rmtree(tmp_path / "shop" / "data-000001")
    with open_shop(tmp_path / "shop") as shop:
        for attempt in (lambda: shop.search("red"), lambda: shop.add(photos)):
            with pytest.raises(CollectionDamaged, match="lost its data"):
                attempt()


def test_a_panic_of_the_engine_becomes_an_error_of_ours(tmp_path, photos):
    class PanicException(BaseException):
        pass

    class Panicking:
        def info(self):
            return SimpleNamespace(points_count=1)

        def query(self, request):
            raise PanicException("index out of bounds")

    store = edge.EdgeStore(Panicking(), tmp_path, read_only=True)
    with pytest.raises(CollectionError, match="index out of bounds"):
        store.query_ids(MockEmbedder().embed_texts(["red"])[0], 3)
    with pytest.raises(KeyboardInterrupt):
        Panicking.query = lambda self, request: (_ for _ in ()).throw(KeyboardInterrupt())
        store.query_ids(MockEmbedder().embed_texts(["red"])[0], 3)


def test_leftovers_of_interrupted_writers_are_swept_by_the_next(tmp_path, photos):
    with open_shop(tmp_path / "shop") as shop:
        shop.add(photos)
        left = tmp_path / "shop" / "data-000002.new-12345678"
        left.mkdir()
        (left / "x").write_text("x")
        (tmp_path / "shop" / "data-000002").mkdir()
        shop.add(photos)
        assert sorted(p.name for p in (tmp_path / "shop").glob("data-*")) == ["data-000001"]


def test_an_item_whose_rewriting_was_cut_short_is_written_whole(tmp_path, photos):
    (photos / "t.jsonl").write_text(json.dumps({"file": "red0.png", "title": "old words"}))
    with open_shop(tmp_path / "shop") as shop:
        shop.add(photos / "t.jsonl")
        (item,) = shop.items()
        data = tmp_path / "shop" / "data-000001"
        store = edge.EdgeStore.open(data)  # new metadata, but the words of the old: torn
        (whole,) = store.get([item.id], vectors=True)
        torn = replace(whole, metadata={"title": "new words"}, places={}, text="old")
        store.commit(rewrite=[torn])
        edge_payload.write_intent(data, [item.id])
        store.close()
        shop.delete("0" * 64)  # any write repairs
        assert not (data / "rewriting.json").exists()
        found = shop._access.reading().query(None, 5, text="new")
        assert [each.item.id for each in found] == [item.id]


def test_no_collection_for_a_name_that_is_a_model_mistake(tmp_path):
    with pytest.raises(CollectionNotFound):
        open_collection(tmp_path / "nothing", MockEmbedder)
