"""The store itself, over the graph and beside it, against plain numpy."""

import hashlib
import uuid

import numpy as np
import pytest
from store_shop import draw, open_shop

from polymodal.errors import CollectionError, SpaceMismatch
from polymodal.models.mock import MockEmbedder
from polymodal.results import Space
from polymodal.search import Item, access, graph
from polymodal.search.edge import EdgeStore
from polymodal.search.filters import matches, to_filter

COUNT = 12_000
DIMENSION = 32
SPACE = Space("numbers", "1", DIMENSION)


def make_items(count=COUNT):
    chance = np.random.default_rng(0)
    centres = chance.standard_normal((50, DIMENSION))
    vectors = centres[chance.integers(0, 50, count)] * 0.7 + chance.standard_normal(
        (count, DIMENSION)
    )
    vectors = (vectors / np.linalg.norm(vectors, axis=1, keepdims=True)).astype(np.float32)
    return [
        Item(
            id=hashlib.sha256(str(n).encode()).hexdigest(),
            path=f"/photos/{n}.jpg",
            vector=vector,
            metadata={
                "price": n % 1000 + 0.5,
                "kind": f"k{n % 4}",
                "new": n % 2 == 0,
                "sku": f"s{n}",
            },
        )
        for n, vector in enumerate(vectors)
    ]


@pytest.fixture(scope="module")
def items():
    return make_items()


@pytest.fixture(scope="module")
def folder(tmp_path_factory, items):
    """A collection large enough for a graph, which is built by a process of its own."""
    folder = tmp_path_factory.mktemp("large") / "shop"
    with open_shop(folder) as shop:
        assert shop.put(items, SPACE) == COUNT
        info = shop.info()
        assert (info.items, info.indexed, info.generation) == (COUNT, COUNT, 2)
    return folder


@pytest.fixture
def view(folder):
    store = EdgeStore.view(folder / "data-000002", folder / "views")
    yield store
    store.close()


def best(items, query, k):
    cosines = np.stack([item.vector for item in items]) @ query
    order = np.argsort(-cosines)[:k]
    return {items[n].id for n in order}, cosines[order]


def queries(count=30):
    chance = np.random.default_rng(7)
    picked = make_items(400)[:count]
    moved = np.stack([i.vector for i in picked]) + 0.1 * chance.standard_normal((count, DIMENSION))
    return (moved / np.linalg.norm(moved, axis=1, keepdims=True)).astype(np.float32)


@pytest.mark.parametrize(
    "where",
    [
        None,
        'kind = "k1"',
        "price < 500",
        "price < 50",
        "new = true",
        'not kind = "k1"',
        'kind in ("k0", "k1") and price < 500',
        'sku contains "7"',
    ],
)
def test_the_graph_finds_what_a_full_comparison_finds(view, items, where):
    passing = to_filter(where)
    chosen = [item for item in items if passing is None or matches(passing, item.metadata)]
    found = hits = 0
    for query in queries():
        wanted, cosines = best(chosen, query, 10)
        result = view.query(query, 10, passing)
        found += len(wanted & {each.item.id for each in result})
        hits += len(result)
        assert result[0].similarity == pytest.approx(cosines[0], abs=1e-4) or found < hits
        assert passing is None or all(matches(passing, each.item.metadata) for each in result)
    assert hits == 300
    assert found / hits >= 0.98


def test_exact_search_is_exact(view, items):
    for query in queries(20):
        wanted, cosines = best(items, query, 10)
        result = view.query(query, 10, exact=True)
        assert {each.item.id for each in result} == wanted
        assert [each.score for each in result] == pytest.approx(cosines.tolist(), abs=1e-5)
        ids = {str(uuid.UUID(hex=each[:32])) for each in wanted}
        assert {point for point, _ in view.query_ids(query, 10, exact=True)} == ids


def test_items_come_back_as_they_went_in(view, items):
    chosen = [items[0], items[777], items[-1]]
    back = {item.id: item for item in view.get([each.id for each in chosen], vectors=True)}
    for item in chosen:
        assert back[item.id].metadata == item.metadata
        assert back[item.id].path == item.path
        assert np.allclose(back[item.id].vector, item.vector, atol=1e-6)
    assert view.count() == COUNT == sum(1 for _ in view.scroll())
    assert view.count(to_filter("price < 100")) == sum(i.metadata["price"] < 100 for i in items)
    assert [i.path for i in view.at_paths(["/photos/5.jpg", "/nowhere"])] == ["/photos/5.jpg"]


def test_a_view_shares_large_files_and_keeps_what_it_saw(folder, items):
    data = folder / "data-000002"
    matrices = list(data.glob("segments/*/vector_storage-image/matrix.dat"))
    assert matrices
    before = EdgeStore.view(data, folder / "views")
    with open_shop(folder) as shop:
        gone = items[5]
        assert shop.delete(gone.id) == 1
        query = gone.vector
        assert gone.id not in {hit.id for hit in shop.similar(items[6].id, k=COUNT // 100)}
        assert before.query(query, 1)[0].item.id == gone.id
        assert before.count() == COUNT
        shop.put([gone], SPACE)
        assert len(shop) == COUNT
        assert shop._access.reading().query(query, 1)[0].item.id == gone.id
    before.close()
    with pytest.raises(CollectionError, match="closed"):
        before.count()
    assert list((folder / "views").iterdir()) == []


def test_put_replaces_known_ids_and_refuses_other_spaces(tmp_path, items):
    with open_shop(tmp_path / "shop") as shop:
        shop.put(items[:10], SPACE)
        changed = Item(items[0].id, "/elsewhere.jpg", items[1].vector, {"price": 7})
        assert shop.put([changed, items[10]], SPACE) == 2
        assert len(shop) == 11
        (back,) = shop.get([items[0].id], vectors=True)
        assert (back.path, back.metadata) == ("/elsewhere.jpg", {"price": 7})
        assert shop.info().fields == {
            "price": "number",
            "kind": "text",
            "new": "bool",
            "sku": "text",
        }
        with pytest.raises(SpaceMismatch):
            shop.put(items[:2], Space("numbers", "2", DIMENSION))


@pytest.fixture
def eager(monkeypatch, tmp_path):
    """A collection that builds its graph after any change."""
    monkeypatch.setattr(access, "SCAN_LIMIT", 1)
    for number in range(12):
        draw(tmp_path / "photos" / f"{number}.png", "red", number)
    with open_shop(tmp_path / "shop") as shop:
        yield shop, tmp_path / "photos"


def test_the_graph_is_built_after_the_data_are_safe_with_progress(eager, monkeypatch):
    monkeypatch.setattr(graph, "REPORT_EVERY_S", 0.01)
    shop, photos = eager
    seen = []
    assert shop.add(photos, progress=seen.append).added == 12
    assert seen[-1].stage == "graph"
    assert seen[-1].elapsed_s > 0
    assert shop.info().generation == 2
    assert len(shop.search("red", k=20)) == 12


def test_an_interrupted_graph_leaves_the_data(eager, monkeypatch, tmp_path):
    shop, photos = eager

    def interrupt(progress):
        if progress.stage == "graph":
            raise KeyboardInterrupt

    monkeypatch.setattr(graph, "REPORT_EVERY_S", 0.01)
    with pytest.raises(KeyboardInterrupt):
        shop.add(photos, progress=interrupt)
    assert len(shop.search("red", k=20)) == 12
    assert [path.name for path in (tmp_path / "shop").glob("data-*")] == ["data-000001"]


def test_a_graph_that_cannot_be_built_is_a_note(eager, monkeypatch):
    shop, photos = eager
    monkeypatch.setattr(graph, "CODE", "raise SystemExit('no luck')")
    report = shop.add(photos)
    assert report.added == 12
    assert "no luck" in report.notes[0]
    assert len(shop.search("red", k=20)) == 12


def test_a_model_of_the_wrong_dimension_is_refused(tmp_path):
    draw(tmp_path / "a.png")
    with open_shop(tmp_path / "shop") as shop:
        shop.add(tmp_path / "a.png")
    wide = open_shop(tmp_path / "shop", MockEmbedder(dimension=96))
    with wide, pytest.raises(SpaceMismatch):
        wide.add(tmp_path / "a.png")
