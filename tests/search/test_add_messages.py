"""What `add` says and leaves behind when tables, names or models do not fit."""

from pathlib import Path

import pytest
from store_shop import draw, open_shop, write_csv

from polymodal.errors import CollectionDamaged, DamagedWeights, SpaceMismatch, UsageError
from polymodal.models.mock import MockEmbedder
from polymodal.results import Space
from polymodal.search import open_collection


@pytest.fixture
def photos(tmp_path):
    for number in range(4):
        draw(tmp_path / "photos" / f"red{number}.png", "red", number)
    return tmp_path / "photos"


@pytest.fixture
def shop(tmp_path):
    with open_shop(tmp_path / "shop") as shop:
        yield shop


def named(name, model, home, **options):
    return open_collection(name, lambda: model, create=True, write=True, home=home, **options)


def prices(shop):
    return {Path(item.path).name: item.metadata.get("price") for item in shop.items()}


def test_a_name_is_not_taken_for_a_folder_of_pictures(tmp_path, monkeypatch):
    draw(tmp_path / "shop" / "red.png")
    monkeypatch.chdir(tmp_path)
    with named("shop", MockEmbedder(), tmp_path / "home") as shop:
        assert shop.add("shop/").added == 1
        assert shop.path == tmp_path / "home" / "collections" / "shop"
    with named("./mine", MockEmbedder(), tmp_path / "home") as mine:
        mine.add("shop/")
    with named("mine", MockEmbedder(), tmp_path / "home") as same:
        assert (same.path, len(same)) == (tmp_path / "mine", 1)


class Revised(MockEmbedder):
    @property
    def space(self):
        old = super().space
        return Space(old.model, "later", old.dimension, old.preprocessing, old.prompt)


@pytest.mark.parametrize(
    ("model_name", "command"),
    [
        ("", "polymodal reembed -c 'my shop'"),
        ("starter", "polymodal reembed -c 'my shop'"),
        ("models/my model", "polymodal reembed -c 'my shop' -m 'models/my model'"),
    ],
)
def test_another_revision_of_the_model_says_just_that(tmp_path, photos, model_name, command):
    with named("my shop", MockEmbedder("starter"), tmp_path) as shop:
        shop.add(photos)
    with named("my shop", Revised("starter"), tmp_path, model_name=model_name) as shop:
        with pytest.raises(SpaceMismatch) as caught:
            shop.search("red")
        assert str(caught.value) == (
            "starter has changed since this collection was built (another revision);"
            f" re-embed it: {command}"
        )


def test_another_model_is_suggested_as_the_user_calls_it(tmp_path, photos):
    with named("shop", MockEmbedder(), tmp_path) as shop:
        shop.add(photos)
    other = named("shop", MockEmbedder("other"), tmp_path, model_name="models/mine")
    command = r"polymodal reembed -c shop -m models/mine$"
    with other as shop, pytest.raises(SpaceMismatch, match=command):
        shop.search("red")


@pytest.mark.parametrize("folder", ["", "photos/"])
def test_two_rows_that_name_one_file_are_named_and_the_later_counts(tmp_path, photos, folder):
    rows = [{"file": f"{folder}red{n}.png", "price": n} for n in (1, 2, 1)]
    table = write_csv((tmp_path if folder else photos / "..") / "about.csv", rows)
    with open_shop(tmp_path / "joined") as joined:
        rows_say = joined.add(photos, metadata=table).notes
        assert prices(joined)["red1.png"] == 1
    rows[2]["price"] = 7
    write_csv(table, rows)
    with open_shop(tmp_path / "again") as again:
        again.add(photos, metadata=table)
        assert prices(again) == {"red0.png": None, "red1.png": 7, "red2.png": 2, "red3.png": None}
    expected = f"rows 2 and 4 of about.csv both name {folder}red1.png; the later one counts"
    assert expected in rows_say
    assert not any("match" in note for note in rows_say)


def test_a_table_that_lists_a_file_twice_says_so(photos, shop):
    lines = [f'{{"file": "red1.png", "price": {n}}}' for n in (1, 2, 3)]
    (photos / "t.jsonl").write_text("\n".join([*lines, '{"price": 4}']))
    report = shop.add(photos / "t.jsonl")
    assert prices(shop) == {"red1.png": 3}
    assert report.notes == (
        "rows 1, 2 and 3 of t.jsonl all name red1.png; the last one counts",
        "1 row of t.jsonl names no picture",
    )


def test_a_name_that_fits_rows_of_different_files_decides_nothing(tmp_path, photos, shop):
    rows = [{"file": f"{folder}/red1.png", "price": 1} for folder in "ab"]
    report = shop.add(photos, metadata=write_csv(tmp_path / "about.csv", rows))
    assert prices(shop)["red1.png"] is None
    assert any(
        note.startswith("1 picture fits several rows of about.csv by name")
        and note.endswith("photos/red1.png")
        for note in report.notes
    )


def test_rows_without_a_file_name_are_no_doubles(tmp_path, photos, shop):
    table = tmp_path / "about.csv"
    table.write_text("file,price\nred0.png,1\n,2\n,3\n")
    notes = shop.add(photos, metadata=table).notes
    assert not any("both name" in note for note in notes)
    assert any(note.startswith("2 rows of about.csv match no picture") for note in notes)


@pytest.mark.parametrize("joined", [True, False])
def test_a_table_without_a_path_column_is_named(tmp_path, photos, shop, joined):
    table = write_csv(tmp_path / "prices.csv", [{"sku": "a", "price": 1}])
    with pytest.raises(UsageError, match=r"^prices\.csv has no column"):
        shop.add(photos, metadata=table) if joined else shop.add(table)


def test_failures_are_named_as_the_caller_named_the_folder(photos, shop, monkeypatch):
    (photos / "bad.png").write_bytes(b"no picture")
    (photos / "gone.png").symlink_to("nowhere")
    (photos / "t.csv").write_text("file\nbad.png\nnone.png\n")
    monkeypatch.chdir(photos.parent)
    found = {error.input for error in shop.add("photos").errors}
    assert found == {"photos/bad.png", "photos/gone.png"}
    found = {error.input for error in shop.add("photos/t.csv").errors}
    assert found == {"photos/bad.png", "photos/none.png"}
    assert {error.input for error in shop.add(photos).errors} == {
        str(photos / "bad.png"),
        str(photos / "gone.png"),
    }


def test_an_add_that_fails_altogether_leaves_no_collection(tmp_path, photos):
    (photos / "bad.png").write_bytes(b"no picture")

    class Damaged(MockEmbedder):
        def embed_images(self, batch):
            raise DamagedWeights("the weights are damaged")

    with open_shop(tmp_path / "shop") as shop:
        report = shop.add([photos / "bad.png", tmp_path / "nowhere"])
        assert (report.added, report.failed) == (0, 2)
    assert not (tmp_path / "shop").exists()
    with open_shop(tmp_path / "shop", Damaged()) as shop, pytest.raises(DamagedWeights):
        shop.add(photos)
    assert not (tmp_path / "shop").exists()
    with open_shop(tmp_path / "shop") as shop:
        assert shop.add(photos / "red0.png").added == 1
        shop.add(photos / "bad.png")
        assert len(shop) == 1


def test_a_collection_that_was_emptied_stays_when_adding_fails(tmp_path, photos, shop):
    shop.add(photos / "red0.png")
    shop.delete([item.id for item in shop.items()])
    shop.add(tmp_path / "nowhere")
    assert len(shop) == 0


@pytest.mark.parametrize("content", ["{", '{"format": 1}'])
def test_a_damaged_manifest_names_the_file_and_what_to_do(tmp_path, photos, shop, content):
    shop.add(photos)
    (tmp_path / "shop" / "collection.json").write_text(content)
    with pytest.raises(CollectionDamaged, match=r"the file .*collection\.json.* add the pictures"):
        shop.info()
