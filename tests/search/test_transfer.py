"""Export and import: everything comes back, files are whole, and mistakes are named."""

from __future__ import annotations

import dataclasses
import hashlib
import json
import math
import sys
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from polymodal.errors import (
    CollectionNotFound,
    MissingDependency,
    SpaceMismatch,
    StorageError,
    UsageError,
)
from polymodal.models.mock import MockEmbedder
from polymodal.results import Space
from polymodal.search import open_collection
from polymodal.search.store import Item, Place
from polymodal.search.transfer import export_items, import_items

SPACE = Space("model", "r1", 8, "squash", "words")
FORMATS = ["jsonl", "parquet"]


class Memory:
    """A collection in memory."""

    def __init__(self, items: Iterable[Item] = (), space: Space | None = SPACE) -> None:
        self.held = {item.id: item for item in items}
        self._space = space
        self.name = "memory"

    @property
    def space(self) -> Space:
        if self._space is None:
            raise CollectionNotFound("there is none")
        return self._space

    def items(self, *, vectors: bool = False) -> Iterator[Item]:
        for item in self.held.values():
            yield item if vectors else dataclasses.replace(item, vector=np.zeros(0, np.float32))

    def put(self, items: Iterable[Item], space: Space) -> int:
        self._space = space
        written = list(items)
        self.held.update({item.id: item for item in written})
        return len(written)


def item(number: int, path: str = "", metadata: dict[str, Any] | None = None, **more: Any) -> Item:
    random = np.random.default_rng(number)
    vector = random.normal(size=8)
    return Item(
        id=hashlib.sha256(str(number).encode()).hexdigest(),
        path=path or f"/photos/{number}.jpg",
        vector=(vector / np.linalg.norm(vector)).astype(np.float32),
        metadata=metadata or {},
        bytes=1000 + number,
        width_px=640,
        height_px=480,
        **more,
    )


LOOK = bytes(range(216)) * 2
ODD = [
    item(5, look=LOOK),
    item(0),
    item(1, "/photos/two\nlines 😀 ' \" \\.jpg", {"title": "सिल्क साड़ी", "emoji": "👗\n"}),
    item(2, "/photos/not-utf8-\udcff.jpg", {"half": "\ud800"}),
    item(
        3, metadata={"n": 2**70, "f": 0.1, "b": True, "none": None, "deep": {"a": [1, {"b": []}]}}
    ),
    item(
        4,
        "/a.jpg",
        {"price": 5},
        places={"/a.jpg": Place({"price": 5}, "/shop.csv"), "/b\udcfe.jpg": Place({}, "")},
    ),
]


def same(one: Item, other: Item) -> bool:
    whole = {"vector": one.vector, "places": one.all_places()}
    alike = dataclasses.replace(other, **whole) == dataclasses.replace(one, **whole)
    return (
        alike
        and one.all_places() == other.all_places()
        and np.array_equal(one.vector, other.vector)
    )


@pytest.mark.parametrize("ending", FORMATS)
def test_everything_comes_back_exactly(tmp_path, ending) -> None:
    file = tmp_path / f"out 😀.{ending}"
    assert export_items(Memory(ODD), file) == len(ODD)
    new = Memory(space=None)
    assert import_items(new, file) == len(ODD)
    assert new.space == SPACE
    for original in ODD:
        assert same(new.held[original.id], original)


@pytest.mark.parametrize("ending", FORMATS)
def test_importing_twice_changes_nothing(tmp_path, ending) -> None:
    file = tmp_path / f"out.{ending}"
    export_items(Memory(ODD), file)
    target = Memory([item(9)])
    for _ in range(2):
        import_items(target, file)
        assert set(target.held) == {each.id for each in (*ODD, item(9))}


@pytest.mark.parametrize("ending", FORMATS)
def test_other_space_is_refused_and_nothing_written(tmp_path, ending) -> None:
    file = tmp_path / f"out.{ending}"
    export_items(Memory(ODD), file)
    target = Memory(space=Space("other", "r1", 8))
    with pytest.raises(SpaceMismatch, match="import out"):
        import_items(target, file)
    assert not target.held


@pytest.mark.parametrize("ending", FORMATS)
def test_empty_collection_exports_and_imports(tmp_path, ending) -> None:
    file = tmp_path / f"out.{ending}"
    assert export_items(Memory(), file) == 0
    assert import_items(Memory(), file) == 0


def test_jsonl_is_an_item_a_line_with_id_path_metadata_and_space(tmp_path) -> None:
    file = tmp_path / "out.jsonl"
    export_items(Memory(ODD), file)
    lines = [json.loads(line) for line in file.read_text().splitlines()]
    assert len(lines) == len(ODD)
    for line, original in zip(lines, ODD, strict=True):
        assert line["id"] == original.id
        assert line["path"] == original.path
        assert line["metadata"] == original.metadata
        assert line["space"] == SPACE.fingerprint
        assert len(line["vector"]) == 8
    assert ["space_info" in line for line in lines] == [True] + [False] * 5


def test_letters_of_all_scripts_are_readable_in_the_file(tmp_path) -> None:
    file = tmp_path / "out.jsonl"
    export_items(Memory([item(1, metadata={"title": "सिल्क"})]), file)
    assert "सिल्क" in file.read_text(encoding="utf-8")


def test_without_vectors_lines_have_none_and_cannot_be_imported(tmp_path) -> None:
    for ending in FORMATS:
        file = tmp_path / f"out.{ending}"
        export_items(Memory(ODD), file, vectors=False)
        with pytest.raises(UsageError, match="again with vectors"):
            import_items(Memory(), file)
    assert "vector" not in json.loads((tmp_path / "out.jsonl").read_text().splitlines()[0])


def test_numbers_that_json_lacks_become_null(tmp_path) -> None:
    file = tmp_path / "out.jsonl"
    export_items(Memory([item(1, metadata={"a": math.nan, "b": [math.inf, {"c": 1.5}]})]), file)
    line = json.loads(file.read_text(), parse_constant=pytest.fail)
    assert line["metadata"] == {"a": None, "b": [None, {"c": 1.5}]}


def test_shuffled_lines_import_into_a_collection_of_the_space(tmp_path) -> None:
    file = tmp_path / "out.jsonl"
    export_items(Memory(ODD), file)
    lines = file.read_text().splitlines()
    file.write_text("\n\n".join(reversed(lines)) + "\n\n")
    target = Memory()
    assert import_items(target, file) == len(ODD)
    with pytest.raises(UsageError, match="space_info"):
        import_items(Memory(space=None), file)


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"id": "short"}, "SHA-256"),
        ({"vector": [1.0]}, "shape"),
        ({"vector": [0.0] * 8}, "length 0"),
        ({"vector": ["x"] * 8}, "line 2"),
        ({"vector": None}, "line 2"),
        ({"metadata": [1]}, "metadata an object"),
        ({"path": 5}, "path has to be text"),
        ({"places": {"/a": 5}}, "line 2"),
        ({"look": "%"}, "line 2"),
        ({"look": 5}, "line 2"),
        ({"id": ...}, "it has no 'id'"),
    ],
)
def test_line_that_is_no_item_is_named(tmp_path, change, said) -> None:
    file = tmp_path / "out.jsonl"
    export_items(Memory(ODD), file)
    lines = file.read_text().splitlines()
    record = {**json.loads(lines[1]), **change}
    lines[1] = json.dumps({key: value for key, value in record.items() if value is not ...})
    file.write_text("\n".join(lines))
    with pytest.raises(UsageError, match=r"line 2 of out\.jsonl") as caught:
        import_items(Memory(), file)
    assert said in str(caught.value)


@pytest.mark.parametrize("content", ["{", "[1]", "5", "[" * 100_000, "\x00", "nonsense"])
def test_file_that_is_no_export_is_named(tmp_path, content) -> None:
    for ending in FORMATS:
        file = tmp_path / f"out.{ending}"
        file.write_text(content)
        with pytest.raises(UsageError, match=rf"out\.{ending}"):
            import_items(Memory(), file)


def test_line_of_another_space_in_the_middle_is_refused(tmp_path) -> None:
    file = tmp_path / "out.jsonl"
    export_items(Memory(ODD), file)
    lines = file.read_text().splitlines()
    lines[2] = json.dumps({**json.loads(lines[2]), "space": "feedfacefeedface"})
    file.write_text("\n".join(lines))
    with pytest.raises(SpaceMismatch, match="line 3"):
        import_items(Memory(), file)


def test_parquet_of_somebody_else_is_refused(tmp_path) -> None:
    arrow = pytest.importorskip("pyarrow")
    import pyarrow.parquet as parquet

    parquet.write_table(arrow.table({"id": ["x"]}), tmp_path / "out.parquet")
    with pytest.raises(UsageError, match="not exported by polymodal"):
        import_items(Memory(), tmp_path / "out.parquet")


def test_parquet_without_pyarrow_names_the_command(tmp_path, monkeypatch) -> None:
    monkeypatch.setitem(sys.modules, "pyarrow", None)
    with pytest.raises(MissingDependency, match=r"pip install 'polymodal\[parquet\]'"):
        export_items(Memory(ODD), tmp_path / "out.parquet")
    assert list(tmp_path.iterdir()) == []


def test_vectors_are_fixed_size_lists_in_parquet(tmp_path) -> None:
    arrow = pytest.importorskip("pyarrow")
    import pyarrow.parquet as parquet

    export_items(Memory(ODD), tmp_path / "out.parquet")
    schema = parquet.read_schema(tmp_path / "out.parquet")
    assert schema.field("vector").type == arrow.list_(arrow.float32(), 8)


class Failing(Memory):
    """Fails in the middle of reading."""

    def items(self, *, vectors: bool = False) -> Iterator[Item]:
        yield item(0)
        raise StorageError("disk trouble")


@pytest.mark.parametrize("ending", FORMATS)
def test_export_that_fails_keeps_the_old_file_and_leaves_no_other(tmp_path, ending) -> None:
    file = tmp_path / f"out.{ending}"
    file.write_text("old")
    with pytest.raises(StorageError, match="disk trouble"):
        export_items(Failing(), file)
    assert file.read_text() == "old"
    assert list(tmp_path.iterdir()) == [file]


@pytest.mark.parametrize("name", ["out.csv", "out", "out.jsonl.gz"])
def test_other_endings_are_refused(tmp_path, name) -> None:
    for transfer in (export_items, import_items):
        with pytest.raises(UsageError, match=r"\.jsonl or \.parquet"):
            transfer(Memory(), tmp_path / name)


def test_folder_that_is_missing_and_file_that_is_missing_are_usage_errors(tmp_path) -> None:
    with pytest.raises(UsageError, match="does not exist"):
        export_items(Memory(), tmp_path / "no" / "out.jsonl")
    (tmp_path / "folder.jsonl").mkdir()
    with pytest.raises(UsageError, match="is a folder"):
        export_items(Memory(), tmp_path / "folder.jsonl")
    with pytest.raises(UsageError, match="no such file"):
        import_items(Memory(), tmp_path / "out.jsonl")


def test_full_disk_is_a_storage_error(tmp_path) -> None:
    if not Path("/dev/full").exists():
        pytest.skip("this system has no /dev/full")
    part = tmp_path / f".out.jsonl.{__import__('os').getpid()}.part"
    part.symlink_to("/dev/full")
    with pytest.raises(StorageError, match="No space left"):
        export_items(Memory(ODD), tmp_path / "out.jsonl")
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("ending", FORMATS)
def test_a_real_collection_survives_the_round_trip(tmp_path, ending) -> None:
    embedder = MockEmbedder()
    random = np.random.default_rng(0)
    vectors = random.normal(size=(600, 64)).astype(np.float32)
    vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)
    items = [
        dataclasses.replace(
            item(i, metadata={"price": i, "title": f"number {i}"}, look=LOOK), vector=vector
        )
        for i, vector in enumerate(vectors)
    ]
    file = tmp_path / f"out.{ending}"
    with open_collection(tmp_path / "one", lambda: embedder, create=True, write=True) as one:
        one.put(items, embedder.space)
        assert one.export(file) == 600
    with open_collection(tmp_path / "two", lambda: embedder, create=True, write=True) as two:
        for _ in range(2):
            assert two.import_(file) == 600
            assert len(two) == 600
        back = {each.id: each for each in two.items(vectors=True)}
        assert two.space == embedder.space
        assert two.info().fields == {"price": "number", "title": "text"}
        assert len(list(two.items(where="price < 50"))) == 50
    for original in items:
        assert back[original.id].metadata == original.metadata
        assert back[original.id].path == original.path
        assert back[original.id].look == LOOK
        assert np.allclose(back[original.id].vector, original.vector, atol=1e-6)
