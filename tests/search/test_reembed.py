"""Moving a collection to another model."""

import pytest
from store_shop import draw, open_shop, python, state, write_csv

from polymodal.errors import CollectionError, SpaceMismatch
from polymodal.models.mock import MockEmbedder

REEMBED = """
import sys, time
from polymodal.models.mock import MockEmbedder
from store_shop import open_shop

class Slow(MockEmbedder):
    def embed_images(self, batch):
        print("embedding", flush=True)
        time.sleep(60)  # killed long before
        return super().embed_images(batch)

with open_shop(sys.argv[1]) as shop:
    shop.reembed(Slow("other"))
"""


@pytest.fixture
def photos(tmp_path):
    for number in range(40):
        draw(tmp_path / "photos" / f"red{number}.png", "red", number)
    rows = [{"file": f"red{n}.png", "title": f"saree number {n}", "price": n} for n in range(40)]
    return write_csv(tmp_path / "photos" / "t.csv", rows)


@pytest.fixture
def shop(tmp_path, photos):
    with open_shop(tmp_path / "shop") as shop:
        shop.add(photos)
        yield shop


def test_all_vectors_change_and_everything_else_stays(tmp_path, shop, photos):
    other = MockEmbedder("other", dimension=96)
    before = state(shop)
    seen = []
    report = shop.reembed(other, progress=seen.append)
    assert (report.updated, report.failed, report.removed) == (40, 0, 0)
    assert (seen[-1].stage, seen[-1].done, seen[-1].total) == ("reembed", 40, 40)
    assert shop.space == other.space
    with open_shop(tmp_path / "shop", other) as moved:
        after = state(moved)
        assert {i: (a[0], a[1], a[3], a[4]) for i, a in after.items()} == {
            i: (b[0], b[1], b[3], b[4]) for i, b in before.items()
        }
        assert all(len(each[2]) == 96 for each in after.values())
        assert moved.search("red saree", where="price = 7", k=1).hits[0].metadata["price"] == 7
        assert moved.add(photos).skipped == 40
        assert moved.info().generation == 2
    assert sorted(p.name for p in (tmp_path / "shop").glob("data-*")) == ["data-000002"]
    with pytest.raises(SpaceMismatch):
        shop.search("red")


def test_a_reader_goes_on_with_the_old_vectors_until_it_looks_again(tmp_path, shop):
    with open_shop(tmp_path / "shop", write=False) as reader:
        view = reader._access.reading()
        query = MockEmbedder().embed_texts(["red"])[0]
        before = [(f.item.id, f.score) for f in view.query(query, 5)]
        shop.reembed(MockEmbedder("other", dimension=96))
        assert [(f.item.id, f.score) for f in view.query(query, 5)] == before


def test_killed_in_the_middle_the_old_stays_and_the_leftover_goes(tmp_path, shop, photos):
    before = state(shop)
    process = python(REEMBED, tmp_path / "shop")
    assert process.stdout.readline() == "embedding\n"
    process.kill()
    process.communicate()
    assert len(list((tmp_path / "shop").glob("data-*"))) == 2
    with open_shop(tmp_path / "shop") as again:
        assert state(again) == before
        again.add(photos)
    assert len(list((tmp_path / "shop").glob("data-*"))) == 1


def test_a_picture_that_is_gone_refuses_the_move_unless_it_may_be_dropped(tmp_path, shop, photos):
    gone = photos.parent / "red3.png"
    gone.unlink()
    before = state(shop)
    other = MockEmbedder("other")
    with pytest.raises(CollectionError, match=r"1 of 40 .*red3\.png.*--drop-missing"):
        shop.reembed(other)
    assert other.images_seen == 0, "found before the long work"
    assert state(shop) == before
    report = shop.reembed(other, drop_missing=True)
    assert (report.updated, report.removed, report.failed) == (39, 1, 0)
    assert [each.input for each in report.dropped] == [str(gone)]
    assert len(shop) == 39


def test_a_picture_that_is_another_now_counts_as_gone_but_a_copy_of_it_serves(shop, photos):
    first, second = photos.parent / "red3.png", photos.parent / "red4.png"
    copy = photos.parent / "copy.png"
    copy.write_bytes(first.read_bytes())
    shop.add(copy)
    draw(first, "blue")
    shop.reembed(MockEmbedder("other"))
    assert len(shop) == 40
    draw(second, "blue", 1)
    with pytest.raises(CollectionError, match="holds another picture now"):
        shop.reembed(MockEmbedder())


def test_moving_to_the_same_model_does_nothing_and_says_so(shop):
    before = state(shop)
    model = MockEmbedder()
    report = shop.reembed(model)
    assert (model.images_seen, report.updated, report.skipped) == (0, 0, 40)
    assert any("nothing to embed anew" in note for note in report.notes)
    assert state(shop) == before
    assert shop.info().generation == 1


def test_moving_to_the_same_model_still_drops_what_is_gone_when_told(shop, photos):
    gone = photos.parent / "red3.png"
    gone.unlink()
    assert shop.reembed(MockEmbedder()).removed == 0
    report = shop.reembed(MockEmbedder(), drop_missing=True)
    assert (report.removed, report.failed, len(shop)) == (1, 0, 39)
    assert [each.input for each in report.dropped] == [str(gone)]
