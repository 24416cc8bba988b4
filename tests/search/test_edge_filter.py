"""The translation for Qdrant Edge, held against `matches` on real shards."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator, Sequence
from typing import Any

import pytest
import qdrant_edge as edge
from filter_strategies import FILTERS, METADATA, metadata
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from polymodal.search import edge_filter
from polymodal.search.filter_parser import parse
from polymodal.search.filters import And, Comparison, Filter, In, Not, Or, matches


def shard_of(items: Sequence[dict[str, Any]], folder: str, *, indexed: bool) -> edge.EdgeShard:
    shard = edge.EdgeShard.create(
        folder,
        edge.EdgeConfig(vectors=edge.EdgeVectorParams(size=2, distance=edge.Distance.Cosine)),
    )
    views = [edge_filter.view(item) for item in items]
    if indexed:
        for path, kind in {
            k: v for one in views for k, v in edge_filter.indexes(one).items()
        }.items():
            shard.update(edge.UpdateOperation.create_field_index(path, kind))
    fill(shard, items)
    return shard


def fill(shard: edge.EdgeShard, items: Sequence[dict[str, Any]]) -> None:
    views = [edge_filter.view(item) for item in items]
    points = [edge.Point(i, [1.0, 0.5], {"find": one}) for i, one in enumerate(views)]
    shard.update(edge.UpdateOperation.upsert_points(points))


def found(shard: edge.EdgeShard, tree: Filter) -> list[int]:
    request = edge.ScrollRequest(
        limit=1000, filter=edge_filter.to_edge(tree), with_payload=False, with_vector=False
    )
    return sorted(int(record.id) for record in shard.scroll(request)[0])


def expected(items: Sequence[dict[str, Any]], tree: Filter) -> list[int]:
    return [i for i, item in enumerate(items) if matches(tree, item)]


# Few shards and few indexes, since making one waits for the disk; many items and filters on each.
QUICK = settings(max_examples=8, deadline=None, suppress_health_check=list(HealthCheck))
INDEXED_NAMES = ["a", "b", 'q"x']
TREES = st.lists(FILTERS, min_size=20, max_size=60)


@QUICK
@given(items=st.lists(METADATA, min_size=10, max_size=40), trees=TREES)
def test_edge_finds_what_the_reference_matches(items, trees) -> None:
    with tempfile.TemporaryDirectory() as folder:
        shard = shard_of(items, folder, indexed=False)
        for tree in trees:
            assert found(shard, tree) == expected(items, tree), tree
        shard.close()


@pytest.fixture(scope="module")
def indexed_shard(tmp_path_factory) -> Iterator[edge.EdgeShard]:
    shard = shard_of([], str(tmp_path_factory.mktemp("indexed") / "shard"), indexed=False)
    one_of_each = {name: [1, "x", True] for name in INDEXED_NAMES}
    for path, kind in edge_filter.indexes(edge_filter.view(one_of_each)).items():
        shard.update(edge.UpdateOperation.create_field_index(path, kind))
    yield shard
    shard.close()


@QUICK
@given(
    items=st.lists(metadata(st.sampled_from(INDEXED_NAMES)), min_size=9, max_size=40), trees=TREES
)
def test_edge_finds_the_same_through_indexes(indexed_shard, items, trees) -> None:
    indexed_shard.update(edge.UpdateOperation.delete_points_by_filter(edge.Filter()))
    fill(indexed_shard, items)
    for tree in trees:
        assert found(indexed_shard, tree) == expected(items, tree), tree


ITEMS: list[dict[str, Any]] = [
    {"price": 1500, "category": "saree", "new": True, "title": "Red SILK saree"},
    {"price": 1500.5, "category": "jeans", "new": False, "title": "Blue denim"},
    {"price": "1500", "category": ["saree", "silk"], "new": 1},
    {"price": [5, 9000], "spec": {"size": 42}, "title": ["x", "silky"]},
    {"price": None, "spec.size": 42.0, "category": ""},
    {},
    {"price": 2**80, "long": "word " * 100},
    {"price": float("nan"), "odd": "\ud800", "inf": float("inf")},
]


@pytest.fixture(scope="module", params=["plain", "indexed"])
def known_shard(request, tmp_path_factory) -> Iterator[edge.EdgeShard]:
    folder = str(tmp_path_factory.mktemp("known") / "shard")
    shard = shard_of(ITEMS, folder, indexed=request.param == "indexed")
    yield shard
    shard.close()


@pytest.mark.parametrize(
    ("expression", "ids"),
    [
        ("price < 2000", [0, 1, 3]),
        ("price = 1500", [0]),
        ("price > 1500 and price < 1501", [1, 3]),
        ('category = "saree"', [0, 2]),
        ('category != "saree"', [1, 3, 4, 5, 6, 7]),
        ("new = true", [0]),
        ("new = 1", [2]),
        ("new in (false, 1)", [1, 2]),
        ("spec.size = 42", [3, 4]),
        ("spec exists", [3]),
        ('title contains "silk"', [0, 3]),
        ("price exists", [0, 1, 2, 3, 6, 7]),
        ("price is null", [4, 5]),
        ("category in ()", []),
        ("category not in ()", [0, 1, 2, 3, 4, 5, 6, 7]),
        ("inf > 5", [7]),
        (f'long = "{"word " * 100}"', [6]),
        (f'long contains "{"ORDW" * 3}"', []),
        ('long contains "WORD WORD"', [6]),
    ],
)
def test_known_answers(known_shard, expression, ids) -> None:
    tree = parse(expression)
    assert found(known_shard, tree) == ids == expected(ITEMS, tree)


def test_half_characters_are_stored_and_found(known_shard) -> None:
    shard = known_shard
    assert found(shard, Comparison("odd", "=", "\ud800")) == [7]
    assert found(shard, Comparison("odd", "=", "\ud801")) == []


def test_empty_and_deep_trees_translate(known_shard) -> None:
    shard = known_shard
    everything = list(range(len(ITEMS)))
    assert found(shard, And(())) == everything == expected(ITEMS, And(()))
    assert found(shard, Or(())) == [] == expected(ITEMS, Or(()))
    tree: Filter = In("category", ("saree",))
    for _ in range(100):
        tree = Not(tree)
    assert found(shard, tree) == expected(ITEMS, tree)


def test_indexes_name_a_type_for_every_part() -> None:
    kinds = edge_filter.indexes(edge_filter.view({"price": 5, "tag": ["x", True]}))
    keyword = edge.PayloadSchemaType.Keyword
    assert kinds == {
        "find.x": keyword,
        'find.n."price"': edge.PayloadSchemaType.Float,
        'find.s."tag"': keyword,
        'find.f."tag"': keyword,
        'find.b."tag"': keyword,
    }


def test_metadata_without_values_have_an_empty_view() -> None:
    assert edge_filter.view({"a": None, "b": [], "c": {}}) == {}


def test_categories_are_told_from_titles() -> None:
    shop = [{"category": c, "title": f"{c} {n}", "new": n > 3} for n in range(9) for c in "ab"]
    views = [edge_filter.view(each) for each in shop]
    assert edge_filter.repeating(views) == {'find.s."category"', 'find.b."new"'}


def test_conditions_side_by_side_stay_side_by_side() -> None:
    tree = parse('price < 2 and (a = "x" and b = "y") and c = 1')
    assert len(edge_filter.conditions(tree)) == 4
