"""Searching: by words, by pictures, by examples, with filters, and what the hits say."""

from types import SimpleNamespace

import numpy as np
import pytest
from PIL import Image
from store_shop import draw, no_model, open_shop, write_csv

from polymodal.errors import CollectionNotFound, FilterSyntaxError, MediaNotFound, UsageError
from polymodal.models.mock import MockEmbedder
from polymodal.search import edge_payload, open_collection

COLOURS = ("red", "blue", "green", "yellow")


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """Twelve pictures in four colours; the titles of the blue ones lie."""
    folder = tmp_path_factory.mktemp("goods")
    rows = []
    for colour in COLOURS:
        for number in range(3):
            file = draw(folder / "photos" / f"{colour}{number}.png", colour, number * 5)
            title = f"{'red' if colour == 'blue' else colour} saree {number}"
            price = 100 * (len(rows) + 1)
            rows.append({"file": file.name, "title": title, "price": price, "sku": f"K{number}"})
    with open_shop(folder / "shop") as shop:
        shop.add(write_csv(folder / "photos" / "goods.csv", rows))
    return folder


@pytest.fixture
def shop(folder):
    with open_shop(folder / "shop", create=False) as shop:
        yield shop


def names(result):
    return [hit.path.rpartition("/")[2].removesuffix(".png") for hit in result]


def test_a_text_finds_pictures_and_scores_are_cosines(shop):
    result = shop.search("green", k=3, hybrid=False)
    assert {name[:-1] for name in names(result)} == {"green"}
    query = MockEmbedder().embed_texts(["green"])[0]
    vectors = {item.id: item.vector for item in shop.items(vectors=True)}
    for hit in result:
        assert hit.score == hit.similarity == pytest.approx(vectors[hit.id] @ query, abs=1e-5)
    assert [hit.score for hit in result] == sorted((h.score for h in result), reverse=True)


def test_k_and_offset_page_through_the_same_order(shop):
    for hybrid in (False, True):
        whole = names(shop.search("green saree", k=12, hybrid=hybrid))
        assert len(set(whole)) == 12
        pages = [shop.search("green saree", k=4, offset=o, hybrid=hybrid) for o in (0, 4, 8, 12)]
        assert [name for page in pages for name in names(page)] == whole
    for nonsense in ({"k": 0}, {"offset": -1}):
        with pytest.raises(UsageError):
            shop.search("green", **nonsense)


def test_hybrid_search_is_on_where_there_is_text_and_fuses_ranks(shop):
    assert shop.info().text_fields == ("title",)
    alone = shop.search("red", k=6, hybrid=False)
    assert {name[:-1] for name in names(alone)[:3]} == {"red"}
    fused = shop.search("red", k=6)
    assert {name[:-1] for name in names(fused)} == {"red", "blue"}  # blue by the titles alone
    for hit in fused:  # reciprocal ranks: at most first in both
        assert 0 < hit.score <= 2 / 60 + 1e-6
        assert hit.similarity is not None
    cosines = {hit.id: hit.similarity for hit in alone}
    for hit in fused:
        assert hit.similarity == pytest.approx(cosines.get(hit.id, 0), abs=1e-5)


def test_words_that_are_nowhere_leave_the_vectors_to_decide(shop):
    assert {name[:-1] for name in names(shop.search("green zzz", k=3))} == {"green"}


def test_a_picture_finds_its_like_and_itself(shop, folder):
    file = folder / "photos" / "green1.png"
    picture = Image.open(file)
    for image in (file, str(file), file.read_bytes(), picture, np.asarray(picture)):
        result = shop.search(image=image, k=3)
        assert names(result)[0] == "green1"
        assert result.hits[0].score == pytest.approx(1, abs=1e-5)


def test_text_and_picture_are_mixed_by_weight(shop, folder):
    green = folder / "photos" / "green0.png"

    def best(weights):
        return names(shop.search("yellow", image=green, weights=weights, k=1, hybrid=False))[0][:-1]

    assert best((0.1, 1)) == "green"
    assert best((1, 0.1)) == "yellow"
    assert best((0, 1)) == "green"
    with pytest.raises(UsageError, match="nothing to search for"):
        shop.search("yellow", image=green, weights=(0, 0))


def test_words_in_text_fields_count_for_as_much_as_the_text_does(shop, folder):
    blue = folder / "photos" / "blue0.png"

    def found(weights):
        return names(shop.search("yellow", image=blue, weights=weights, k=3))

    alone = names(shop.search(image=blue, k=3))
    assert found((0, 1)) == found((-0.001, 1)) == alone
    assert found((0.01, 1))[0] == alone[0] == "blue0"
    assert {name[:-1] for name in found((1, 0.01))} == {"yellow"}
    assert found((1, 0)) == names(shop.search("yellow", k=3))


def test_examples_move_the_search_and_are_not_among_the_hits(shop, folder):
    photos = folder / "photos"
    liked = names(shop.search(like=[photos / "green0.png"], k=2))
    assert {name[:-1] for name in liked} == {"green"}
    assert "green0" not in liked
    plain = shop.search("red green", k=12, hybrid=False)
    moved = shop.search("red green", unlike=[photos / "red0.png"], k=12, hybrid=False)
    assert names(moved)[0].startswith("green")
    assert "red0" not in names(moved)
    assert "red0" in names(plain)
    by_id = next(item.id for item in shop.items() if item.path.endswith("green0.png"))
    assert names(shop.search(like=[by_id], k=2)) == liked
    with pytest.raises(UsageError, match="alone"):
        shop.search(unlike=[photos / "red0.png"])


def test_filters_narrow_every_kind_of_search(shop, folder):
    photo = folder / "photos" / "green1.png"
    for result in (
        shop.search("green", where="price <= 200", k=5),
        shop.search("green", where={"price": {"lte": 200}}, k=5, hybrid=False),
        shop.search(image=photo, where="price <= 200", k=5),
        shop.similar(photo, k=5, where="price <= 200"),
        shop.search(like=[photo], where="price <= 200", k=5),
    ):
        assert sorted(names(result)) == ["red0", "red1"]
        assert result.where == "price <= 200"
    with pytest.raises(FilterSyntaxError):
        shop.search("green", where="price <=")
    assert "pirce" in shop.search("green", where="pirce < 5").notes[0]


def test_prices_in_the_text_become_filters_and_the_notes_say_so(shop):
    result = shop.search("red saree under 250 rupees", k=12)
    assert sorted(names(result)) == ["red0", "red1"]
    assert result.where == "price < 250"
    assert "under 250 rupees" in result.notes[0]
    literal = shop.search("red saree under 250 rupees", k=12, understand=False)
    assert (len(literal), literal.where, literal.notes) == (12, "", ())
    both = shop.search("saree under 250 rupees", where="price > 100", k=12)
    assert names(both) == ["red1"]


def test_similar_leaves_out_the_picture_its_copies_and_its_path(shop, folder, tmp_path):
    file = folder / "photos" / "green1.png"
    assert sorted(names(shop.similar(file, k=2))) == ["green0", "green2"]
    copy = tmp_path / "copy.png"
    copy.write_bytes(file.read_bytes())
    assert "green1" not in names(shop.similar(copy, k=12))
    identity = next(item.id for item in shop.items() if item.path == str(file))
    assert "green1" not in names(shop.similar(identity, k=12))
    before = file.read_bytes()
    try:
        draw(file, "green", 99)  # other content since it was added
        assert "green1" not in names(shop.similar(file, k=12))
    finally:
        file.write_bytes(before)
    with pytest.raises(MediaNotFound):
        shop.similar(tmp_path / "none.png")
    with pytest.raises(UsageError, match="no item"):
        shop.similar("0" * 64)


def test_relevance_is_the_models_cut_and_can_be_asked_for(shop):
    result = shop.search("green", k=12, hybrid=False)
    cut = MockEmbedder().calibration.relevant_cosine
    assert [hit.relevant for hit in result] == [hit.similarity >= cut for hit in result]
    few = shop.search("green", k=12, hybrid=False, relevant=True)
    assert {name[:-1] for name in names(few)} == {"green"}
    by_title = [hit for hit in shop.search("red", k=12) if "blue" in hit.path]
    assert all(hit.relevant and hit.similarity < cut for hit in by_title)
    pictures = shop.search(image=result.hits[0].path, k=3, relevant=True)
    assert len(pictures) == 3
    assert "text alone" in pictures.notes[0]


def test_hits_carry_the_users_metadata_and_nothing_else(shop):
    (hit,) = shop.search("yellow", k=1, where="price = 1000")
    assert hit.metadata == {"title": "yellow saree 0", "price": 1000, "sku": "K0"}
    assert len(hit.id) == 64


def test_nothing_to_search_for_is_said(shop):
    for empty in ({}, {"text": "  "}, {"like": []}):
        with pytest.raises(UsageError, match="nothing to search for"):
            shop.search(**empty)


def test_a_collection_that_was_never_added_to_says_how(tmp_path):
    with open_collection(tmp_path / "new", no_model, create=True, write=True) as shop:
        for question in (shop.info, lambda: shop.search("red"), lambda: len(shop)):
            with pytest.raises(CollectionNotFound, match="polymodal add"):
                question()
        assert not (tmp_path / "new").exists()


def test_a_closed_collection_says_so(folder):
    shop = open_shop(folder / "shop")
    with shop:
        assert len(shop) == 12
    with pytest.raises(UsageError, match="closed"):
        shop.search("red")


def test_what_is_no_id_is_an_unknown_id(tmp_path):
    draw(tmp_path / "red.png")
    with open_shop(tmp_path / "shop") as shop:
        shop.add(tmp_path / "red.png")
        (item,) = shop.items()
        # The second half of an id counts too, though items are stored by the first.
        for wrong in ("zzz", "", item.id[:40], item.id[:32] + "0" * 32, item.id.upper() + "g"):
            assert shop.get([wrong, item.id]) == [item]
            assert shop.delete([wrong]) == 0
        assert len(shop) == 1


def test_a_cosine_never_exceeds_one(shop):
    (item, *_) = shop.items(vectors=True)
    for score, cosine in ((1.0000001, 1.0), (-1.0000002, -1.0), (0.5, 0.5)):
        point = SimpleNamespace(
            payload=edge_payload.to_payload(item), vector={"image": item.vector.tolist()}
        )
        found = edge_payload.to_found(point, score, item.vector, None)
        assert (found.score, found.similarity) == (cosine, cosine)


def test_a_price_kept_as_text_is_named_with_an_example(tmp_path):
    rows = [{"file": "red.png", "price": "1,500", "size": 7}]
    draw(tmp_path / "red.png")
    note = "price is text here (for example '1,500'), and < compares numbers"
    with open_shop(tmp_path / "shop") as shop:
        shop.add(write_csv(tmp_path / "t.csv", rows))
        assert shop.search("red", where="price < 2000").notes == (note,)
        assert shop.search("red", where="not price < 2000 and size > 3").notes == (note,)
        assert shop.similar(tmp_path / "red.png", where="price < 2000").notes == (note,)
        (equal,) = shop.search("red", where="price in (1500, 2)").notes
        assert equal.endswith("a number never equals text")
        for fine in ("price = '1,500'", "size < 9", "price exists", "price contains '15'"):
            assert shop.search("red", where=fine).notes == ()
        spoken = shop.search("red saree under 2000 rupees")
        assert (spoken.notes, spoken.where, len(spoken)) == ((note,), "", 1)
        assert shop.search("red saree").notes == ()
