"""What `add` does with files, folders, tables, changes and failures."""

import json
import os
from pathlib import Path

import numpy as np
import pytest
from store_shop import draw, no_model, open_shop, state, write_csv

from polymodal.errors import CollectionNotFound, SpaceMismatch, UsageError
from polymodal.media.files import printable_name
from polymodal.models.mock import MockEmbedder
from polymodal.search import Progress, open_collection
from tests.media.nasty import make_nasty_folder


@pytest.fixture
def photos(tmp_path):
    folder = tmp_path / "photos"
    for number in range(4):
        draw(folder / f"red{number}.png", "red", number)
        draw(folder / "deep" / f"blue{number}.png", "blue", number)
    return folder


@pytest.fixture
def shop(tmp_path):
    with open_shop(tmp_path / "shop") as shop:
        yield shop


def counts(report):
    return report.added, report.updated, report.skipped, report.removed, report.failed


def test_a_folder_is_added_with_its_folders_and_a_second_run_does_nothing(tmp_path, photos):
    model = MockEmbedder()
    with open_shop(tmp_path / "shop", model) as shop:
        assert counts(shop.add(photos)) == (8, 0, 0, 0, 0)
        before = state(shop)
        assert model.images_seen == 8
        assert counts(shop.add(photos)) == (0, 0, 8, 0, 0)
        assert model.images_seen == 8
        assert state(shop) == before
    with open_shop(tmp_path / "shop") as again:
        assert state(again) == before


def test_files_and_globs_are_added(photos, shop):
    assert counts(shop.add([photos / "red0.png", f"{photos}/**/blue*.png"])) == (5, 0, 0, 0, 0)
    assert shop.add("nowhere/*.png").failed == 1


def test_an_item_is_its_content_wherever_copies_lie(photos, shop):
    copy = photos / "copy of red0.png"
    copy.write_bytes((photos / "red0.png").read_bytes())
    assert counts(shop.add(photos)) == (8, 0, 1, 0, 0)
    (item,) = [item for item in shop.items() if "red0" in item.path]
    assert set(item.places) == {str(copy), str(photos / "red0.png")}
    later = photos / "later.png"
    later.write_bytes(copy.read_bytes())
    assert counts(shop.add(later)) == (0, 1, 0, 0, 0)
    assert len(shop) == 8


def test_new_content_at_a_known_path_replaces_the_old(photos, shop):
    shop.add(photos)
    draw(photos / "red0.png", "green")
    assert counts(shop.add(photos)) == (1, 0, 7, 1, 0)
    assert len(shop) == 8
    assert shop.search("green", k=1).hits[0].path == str(photos / "red0.png")


def test_two_files_that_trade_places_are_both_kept(photos, shop):
    shop.add(photos)
    one, other = photos / "red0.png", photos / "red1.png"
    first, second = one.read_bytes(), other.read_bytes()
    one.write_bytes(second)
    other.write_bytes(first)
    report = shop.add(photos)
    assert (report.added, report.removed, report.failed) == (0, 0, 0)
    assert len(shop) == 8
    assert {path for item in shop.items() for path in item.places} == {
        str(path) for path in photos.rglob("*.png")
    }


def test_a_file_that_is_damaged_later_keeps_its_item_until_it_is_pruned(photos, shop):
    shop.add(photos)
    (photos / "red0.png").write_bytes(b"no picture")
    report = shop.add(photos)
    assert counts(report) == (0, 0, 7, 0, 1)
    assert len(shop) == 8


def test_prune_removes_what_is_gone_under_the_given_roots_only(tmp_path, photos, shop):
    shop.add([photos])
    (photos / "red0.png").unlink()
    (photos / "deep" / "blue0.png").unlink()
    assert counts(shop.add(photos)) == (0, 0, 6, 0, 0)
    assert counts(shop.add(photos / "deep", prune=True)) == (0, 0, 3, 1, 0)
    assert counts(shop.add(photos, prune=True)) == (0, 0, 6, 1, 0)
    assert len(shop) == 6


def test_prune_with_a_pattern_keeps_to_it(photos, shop):
    shop.add(photos)
    (photos / "red0.png").unlink()
    (photos / "deep" / "blue0.png").unlink()
    assert shop.add(f"{photos}/red*.png", prune=True).removed == 1
    assert len(shop) == 7


def test_prune_with_a_missing_root_removes_nothing(photos, shop):
    shop.add(photos)
    photos.rename(photos.parent / "elsewhere")
    report = shop.add(photos, prune=True)
    assert report.removed == 0
    assert report.failed == 1
    assert len(shop) == 8


def test_prune_of_one_copy_keeps_the_item(photos, shop):
    copy = photos / "copy.png"
    copy.write_bytes((photos / "red0.png").read_bytes())
    shop.add(photos)
    (photos / "red0.png").unlink()
    assert shop.add(photos, prune=True).removed == 0
    (item,) = [item for item in shop.items() if str(copy) in item.places]
    assert list(item.places) == [str(copy)]
    assert item.path == str(copy)


def test_a_table_names_pictures_relative_to_itself_and_brings_metadata(photos, shop):
    rows = [{"file": f"red{n}.png", "title": f"Red saree {n}", "price": 100 * n} for n in range(4)]
    table = write_csv(photos / "products.csv", [*rows, {**rows[0], "file": "gone.png"}])
    report = shop.add(table)
    assert counts(report) == (4, 0, 0, 0, 1)
    assert "gone.png" in report.errors[0].input
    assert [dict(hit.metadata) for hit in shop.search("saree", where="price = 300", k=3)] == [
        {"title": "Red saree 3", "price": 300}
    ]


def test_jsonl_metadata_come_back_as_they_were(photos, shop):
    about = {"file": "red0.png", "big": 2**70, "none": None, "f": 0.1}
    about["deep"] = {"a": [1, "ü", True]}
    (photos / "t.jsonl").write_text(json.dumps(about))
    shop.add(photos / "t.jsonl")
    (item,) = shop.items()
    assert dict(item.metadata) == {"big": 2**70, "deep": {"a": [1, "ü", True]}, "f": 0.1}


def test_pruning_with_a_table_removes_what_it_no_longer_lists(photos, shop):
    rows = [{"file": f"red{n}.png", "price": n} for n in range(4)]
    table = write_csv(photos / "products.csv", rows)
    shop.add([table, photos / "deep"])
    write_csv(table, rows[:2])
    assert counts(shop.add(table, prune=True)) == (0, 0, 2, 2, 0)
    assert len(shop) == 6


def test_changed_metadata_are_updated_in_place_without_the_model(tmp_path, photos):
    rows = [{"file": f"red{n}.png", "title": f"red saree {n}", "price": n} for n in range(4)]
    table = write_csv(photos / "products.csv", rows)
    model = MockEmbedder()
    with open_shop(tmp_path / "shop", model) as shop:
        shop.add(table)
        write_csv(table, [{**rows[0], "price": 77, "title": "crimson wrap"}, *rows[1:]])
        assert counts(shop.add(table)) == (0, 1, 3, 0, 0)
        assert model.images_seen == 4
        (hit,) = shop.search(where="price = 77", text="crimson wrap", k=1)
        assert hit.metadata == {"title": "crimson wrap", "price": 77}
        (found,) = shop._access.reading().query(None, 4, text="crimson")
        assert found.item.id == hit.id


def test_a_metadata_file_is_joined_by_path_or_name_and_misfits_are_reported(photos, shop):
    rows = [
        {"image": "photos/red0.png", "price": 1},
        {"image": "blue1.png", "price": 2},
        {"image": "nobody.png", "price": 3},
    ]
    table = write_csv(photos.parent / "about.csv", rows)
    report = shop.add(photos, metadata=table)
    assert counts(report) == (8, 0, 0, 0, 0)
    assert any("1 row of about.csv matches no picture: nobody.png" in note for note in report.notes)
    assert any("6 pictures have no row" in note for note in report.notes)
    prices = {Path(i.path).name: i.metadata.get("price") for i in shop.items()}
    assert (prices["red0.png"], prices["blue1.png"], prices["red1.png"]) == (1, 2, None)


def test_adding_again_without_metadata_keeps_them(photos, shop):
    rows = [{"file": "red0.png", "price": 5}]
    shop.add(photos, metadata=write_csv(photos.parent / "about.csv", rows))
    assert counts(shop.add(photos)) == (0, 0, 8, 0, 0)
    assert [item.metadata for item in shop.items(where="price = 5")] == [{"price": 5}]


def test_copies_with_different_metadata_settle(photos, shop):
    copy = photos / "copy.png"
    copy.write_bytes((photos / "red0.png").read_bytes())
    rows = [
        {"file": "red0.png", "price": 5, "size": "M"},
        {"file": "copy.png", "price": 6, "size": "L"},
    ]
    table = write_csv(photos / "products.csv", rows)
    assert counts(shop.add(table)) == (1, 0, 1, 0, 0)
    assert counts(shop.add(table)) == (0, 0, 2, 0, 0)
    (item,) = shop.items()
    assert item.metadata == {"price": 6, "size": "L"}  # of copy.png, the first in order of paths


def test_one_bad_file_fails_alone(photos, shop):
    (photos / "empty.jpg").write_bytes(b"")
    (photos / "text.png").write_text("no picture")
    half = (photos / "red0.png").read_bytes()
    (photos / "half.png").write_bytes(half[: len(half) // 2])
    (photos / "gone.png").symlink_to("nowhere")
    report = shop.add(photos)
    assert (report.added, report.failed) == (8, 4)
    assert {Path(error.input).name for error in report.errors} == {
        "empty.jpg",
        "text.png",
        "half.png",
        "gone.png",
    }
    assert all(error.reason for error in report.errors)


def test_a_nasty_folder_gives_all_that_is_good_and_names_the_rest(tmp_path, shop):
    nasty = make_nasty_folder(tmp_path / "nasty")

    class Vanishing(MockEmbedder):
        def embed_images(self, batch):
            nasty.vanishing.unlink(missing_ok=True)
            return super().embed_images(batch)

    report = shop.add(nasty.root)
    assert report.added == len(nasty.good)
    assert {error.input for error in report.errors} == {printable_name(path) for path in nasty.bad}
    assert {error.kind for error in report.errors} == {k.__name__ for k in nasty.bad.values()}
    with open_shop(tmp_path / "again", Vanishing()) as again:
        report = again.add(nasty.root)
        assert report.added in (len(nasty.good), len(nasty.good) - 1)
        assert report.added + report.failed == len(nasty.good) + len(nasty.bad)


def test_a_file_that_changes_between_hashing_and_decoding_is_not_indexed_wrongly(photos, tmp_path):
    class Meddling(MockEmbedder):
        def embed_images(self, batch):
            draw(photos / "red3.png", "green")  # the last of the folder
            return super().embed_images(batch)

    for number in range(100):
        draw(photos / "a" / f"{number}.png", "cyan", number)
    with open_shop(tmp_path / "shop", Meddling()) as shop:
        shop.add(photos)
        for item in shop.items(vectors=True):
            colour = "green" if item.path.endswith("red3.png") else None
            assert colour is None or item.vector.argmax() == 4
        shop.add(photos)
        assert len(shop) == 108


def test_a_model_that_gives_nan_fails_that_picture(tmp_path, photos):
    class Broken(MockEmbedder):
        def embed_images(self, batch):
            vectors = super().embed_images(batch)
            vectors[0] = np.nan
            return vectors

    with open_shop(tmp_path / "shop", Broken()) as shop:
        report = shop.add(photos)
        assert (report.added, report.failed) == (7, 1)


def test_names_with_spaces_emoji_newlines_and_bytes_that_are_not_utf8(tmp_path, shop):
    folder = tmp_path / "odd"
    names = ["a b.png", "🦜.png", "two\nlines.png", os.fsdecode(b"latin-\xe9.png"), 'quo"te.png']
    for number, name in enumerate(names):
        draw(folder / "x.png", "red", number).rename(folder / name)
    assert shop.add(folder).added == len(names)
    assert shop.add(folder).skipped == len(names)
    assert {Path(item.path).name for item in shop.items()} == set(names)
    assert len(shop.search("red", k=10)) == len(names)


def test_progress_reaches_the_total_and_names_files(photos, shop):
    seen = []
    shop.add(photos, progress=seen.append)
    assert all(isinstance(each, Progress) and each.stage == "add" for each in seen)
    assert (seen[-1].done, seen[-1].total, seen[-1].eta_s) == (8, 8, 0)
    assert seen[-1].name.endswith(".png")


def test_a_collection_is_bound_to_its_space(tmp_path, photos, shop):
    shop.add(photos)
    with open_shop(tmp_path / "shop", MockEmbedder("other")) as wrong:
        for attempt in (lambda: wrong.add(photos), lambda: wrong.search("red")):
            with pytest.raises(SpaceMismatch, match=r"collection\.reembed\(model\)"):
                attempt()
    assert len(shop) == 8


def test_looking_after_a_collection_loads_no_model(tmp_path, photos, shop):
    shop.add(photos, metadata=write_csv(tmp_path / "m.csv", [{"file": "red0.png", "price": 5}]))
    with open_collection(tmp_path / "shop", no_model, write=True) as quiet:
        assert quiet.info().items == len(quiet) == 8
        assert quiet.info().fields == {"price": "number"}
        assert len(quiet.similar(photos / "red0.png", k=3)) == 3
        assert len(quiet.similar(next(quiet.items()).id, k=3)) == 3
        assert quiet.delete(where="price = 5") == 1
        assert quiet.delete([next(quiet.items()).id]) == 1
        assert len(quiet) == 6
        for nothing in ({}, {"ids": ["x"], "where": "price = 5"}):
            with pytest.raises(UsageError, match="delete"):
                quiet.delete(**nothing)


def test_a_name_lies_in_the_home_folder_and_a_path_where_it_says(tmp_path, photos, monkeypatch):
    model = MockEmbedder()
    with open_collection(
        "my shop", lambda: model, create=True, write=True, home=tmp_path / "home"
    ) as shop:
        shop.add(photos)
        assert shop.path == tmp_path / "home" / "collections" / "my shop"
    monkeypatch.setenv("POLYMODAL_HOME", str(tmp_path / "home"))
    with open_collection("my shop", lambda: model) as same:
        assert len(same) == 8
        with pytest.raises(UsageError, match="reading only"):
            same.add(photos)
    with pytest.raises(CollectionNotFound, match="polymodal add"):
        open_collection("no shop", lambda: model)
    with pytest.raises(UsageError, match="folder of its own"), open_shop(photos) as shop:
        shop.add(photos)
    with pytest.raises(UsageError, match="no name"):
        open_collection("a:b?", lambda: model)


def test_a_field_that_becomes_prose_later_is_searched_for_all_items(photos, shop):
    shop.add(write_csv(photos / "t.csv", [{"file": "red0.png", "make": "Kanchipuram"}]))
    assert shop.info().text_fields == ()
    shop.add(write_csv(photos / "t.csv", [{"file": "red1.png", "make": "from the looms"}]))
    assert shop.info().text_fields == ("make",)
    (found,) = shop._access.reading().query(None, 5, text="kanchipuram")
    assert found.item.path.endswith("red0.png")
