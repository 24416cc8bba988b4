"""Data sets are read alike from every format, and what cannot be used is named."""

import json

import numpy as np
import pytest

from polymodal import TrainingError, UsageError
from polymodal.training.loading import Loader, PairSamples
from polymodal.training.pairs import open_pairs
from polymodal.training.pictures import Preparation
from polymodal.training.ranks import Ranks
from tests.training import tiny


def test_a_table_and_shards_give_the_same_pictures_and_texts(tmp_path):
    listed = open_pairs(tiny.table(tmp_path / "table"))
    packed = open_pairs(tiny.shards(tmp_path / "shards"))
    by_text = {item.captions[0]: item for item in packed.items}
    assert len(listed) == len(packed) == 24
    for item in listed.items:
        other = by_text[item.captions[0]].open().image
        assert np.array_equal(np.asarray(item.open().image), np.asarray(other))


def test_csv_rows_of_one_picture_are_joined(tmp_path):
    tiny.class_folders(tmp_path, each=1)
    rows = ["file,text", "red/0.jpg,a red one", "blue/0.jpg,a blue one", "red/0.jpg,crimson"]
    (tmp_path / "t.csv").write_text("\n".join(rows), encoding="utf-8")
    pairs = open_pairs(tmp_path / "t.csv")
    assert [item.captions for item in pairs.items] == [("a red one", "crimson"), ("a blue one",)]


def test_class_folders_take_descriptions(tmp_path):
    tiny.class_folders(tmp_path / "data")
    described = tmp_path / "classes.json"
    described.write_text(json.dumps({each: ["a colour", "paint"] for each in tiny.COLOURS}))
    pairs = open_pairs(tmp_path / "data", classes=str(described))
    assert pairs.classes == ("blue", "green", "grey", "red")
    assert {item.captions for item in pairs.items} == {("a colour", "paint")}
    described.write_text(json.dumps({"red": "a colour"}))
    with pytest.raises(UsageError, match="describes no class 'blue'"):
        open_pairs(tmp_path / "data", classes=str(described))


def test_missing_pictures_and_empty_captions_are_skipped_by_name(tmp_path):
    tiny.class_folders(tmp_path, each=2)
    rows = [
        {"image": "red/0.jpg", "caption": "red"},
        {"image": "nowhere.jpg", "caption": "nothing"},
        {"image": "blue/0.jpg", "caption": "  "},
        {"caption": "no picture"},
        {"image": "grey/1.jpg", "caption": "grey"},
    ]
    (tmp_path / "t.jsonl").write_text("\n".join(map(json.dumps, rows)))
    pairs = open_pairs(tmp_path / "t.jsonl")
    assert [item.name for item in pairs.items] == ["red/0.jpg", "grey/1.jpg"]
    assert pairs.skipped == (
        "nowhere.jpg: there is no such file",
        "blue/0.jpg: its caption is empty",
        "row 4: names no picture",
    )


@pytest.mark.parametrize(
    ("rows", "said"),
    [
        ([{"image": "red/0.jpg", "caption": ""}], "no usable pair"),
        ([{"image": f"red/{n}.jpg", "caption": "red"} for n in (0, 1)], "has the same text"),
        ([{"image": "red/0.jpg", "words": "red"}], "no column of captions"),
    ],
)
def test_a_table_that_teaches_nothing_says_why(tmp_path, rows, said):
    tiny.class_folders(tmp_path, each=2)
    (tmp_path / "t.jsonl").write_text("\n".join(map(json.dumps, rows)))
    with pytest.raises(UsageError, match=said):
        open_pairs(tmp_path / "t.jsonl")


def test_one_class_alone_is_refused(tmp_path):
    tiny.class_folders(tmp_path, colours=("red",))
    with pytest.raises(UsageError, match=r"the class 'red'.*two classes"):
        open_pairs(tmp_path)


def loader(pairs, batch=6, **others):
    samples = PairSamples(pairs, Preparation(16, smallest=0.5), seed=3)
    return Loader(samples, lambda values: values, batch, seed=3, **others)


def seen(batches):
    return [
        (name, value[1], value[0].tobytes())
        for batch in batches
        for name, value in zip(batch.names, batch.inputs, strict=True)
    ]


@pytest.mark.parametrize("form", ["table", "class_folders", "shards"])
def test_every_format_resumes_at_the_exact_sample(tmp_path, form):
    pairs = open_pairs(getattr(tiny, form)(tmp_path / "data"))
    whole = seen(loader(pairs).from_step(0, 10))
    assert len(set(whole)) > 24  # crops and captions differ between passes
    again = open_pairs(pairs.source)
    assert seen(loader(again).from_step(7, 10)) == whole[7 * 6 :]


def test_a_pass_shows_every_item_once_and_the_next_in_another_order(tmp_path):
    pairs = open_pairs(tiny.table(tmp_path / "data"))
    names = [name for name, *_ in seen(loader(pairs).from_step(0, 8))]
    assert sorted(names[:24]) == sorted(names[24:]) == sorted(item.name for item in pairs.items)
    assert names[:24] != names[24:]


def test_a_corrupt_picture_is_named_and_replaced(tmp_path):
    file = tiny.table(tmp_path / "data")
    (tmp_path / "data" / "red" / "2.jpg").write_bytes(b"\xff\xd8\xff no picture")
    pairs = open_pairs(file)
    batches = list(loader(pairs).from_step(0, 4))
    failures = [line for batch in batches for line in batch.failures]
    assert len(failures) == 1
    assert failures[0].startswith("red/2.jpg: ")
    assert all(len(batch.names) == 6 for batch in batches)
    assert "red/2.jpg" not in {name for batch in batches for name in batch.names}


def test_a_batch_larger_than_the_data_says_what_would_fit(tmp_path):
    pairs = open_pairs(tiny.table(tmp_path / "data"))
    with pytest.raises(UsageError, match="set `batch` to 24 or less"):
        loader(pairs, batch=25)


def test_processes_that_do_not_divide_the_batch_are_refused(tmp_path, monkeypatch):
    pairs = open_pairs(tiny.table(tmp_path / "data"))
    monkeypatch.setattr("polymodal.training.loading.ranks", lambda: Ranks(0, 4))
    with pytest.raises(UsageError, match=r"6 cannot be shared by 4 processes.*such as 8"):
        loader(pairs, batch=6)
    shares = []
    for rank in range(4):
        monkeypatch.setattr("polymodal.training.loading.ranks", lambda r=rank: Ranks(r, 4))
        shares.append(seen(loader(pairs, batch=8).from_step(0, 3)))
    monkeypatch.undo()
    whole = seen(loader(pairs, batch=8).from_step(0, 3))
    joined = [shares[r][2 * s + i] for s in range(3) for r in range(4) for i in range(2)]
    assert joined == whole  # the batch is the same on any number of processes


def test_a_crop_keeps_proportions():
    from PIL import Image, ImageDraw

    image = Image.new("RGB", (200, 100), "black")
    ImageDraw.Draw(image).ellipse((75, 25, 125, 75), fill="white")
    pixels = Preparation(64, (0,), (1,), smallest=1.0)(image)[0] > 0.5
    rows, columns = pixels.any(1).sum(), pixels.any(0).sum()
    assert rows == columns  # the disc is still round


def held_out(folder, damaged):
    """Two dozen pictures, some cut off in their bytes."""
    pairs = open_pairs(tiny.table(folder))
    for item in pairs.items[damaged]:
        item.picture.write_bytes(item.picture.read_bytes()[:20])
    return pairs, PairSamples(pairs, Preparation(16), seed=3, train=False)


def test_what_is_measured_is_every_picture_that_opens_however_many_do_not(tmp_path):
    pairs, samples = held_out(tmp_path, slice(1, 23))  # more in a row than are tried in training
    assert [number for number, _ in samples.that_open()] == [0, 23]
    for number, sample in samples.that_open():
        assert sample.name == pairs.items[number].name
        assert np.array_equal(sample.value[0], samples.sample(0, number).value[0])


def test_where_no_picture_opens_the_error_names_files_and_says_what_to_do(tmp_path):
    pairs, samples = held_out(tmp_path, slice(None))
    with pytest.raises(TrainingError) as error:
        list(samples.that_open())
    first, second, third, fourth = (item.name for item in pairs.items[:4])
    said = str(error.value)
    assert all(name in said for name in (pairs.source, first, second, third, "and 21 more"))
    assert fourth not in said
    assert said.endswith("Mend these files, or give other pairs as validation.")
