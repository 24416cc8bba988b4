"""Near-duplicates: exact against a plain reference, without chains, and who represents a group."""

from __future__ import annotations

import io
from collections.abc import Iterator
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from PIL import Image

from polymodal.errors import UsageError
from polymodal.search import duplicates
from polymodal.search.duplicates import find_duplicates, group
from polymodal.search.looks import LOOK_BYTES, SAME_LOOK, look_of, looks_to_vectors
from polymodal.search.store import Item


def unit(vectors: np.ndarray) -> np.ndarray:
    return (vectors / np.linalg.norm(vectors, axis=1, keepdims=True)).astype(np.float32)


def clustered(count: int, dimension: int, seed: int, spread: float) -> np.ndarray:
    random = np.random.default_rng(seed)
    centres = random.normal(size=(max(1, count // 5), dimension))
    chosen = centres[random.integers(0, len(centres), count)]
    return unit(chosen + spread * random.normal(size=(count, dimension)))


def plain_groups(vectors: np.ndarray, threshold: float) -> list[list[int]]:
    """The definition, a row at a time."""
    leaders: list[int] = []
    members: dict[int, list[tuple[float, int]]] = {}
    for row, vector in enumerate(vectors):
        cosines = [(float(vector @ vectors[leader]), -leader) for leader in leaders]
        close = [pair for pair in cosines if pair[0] >= threshold]
        if close:
            cosine, leader = max(close)
            members.setdefault(-leader, []).append((-cosine, row))
        else:
            leaders.append(row)
    return [[leader, *(row for _, row in sorted(rows))] for leader, rows in sorted(members.items())]


@pytest.fixture(params=["small", "large"])
def any_size(request, monkeypatch) -> None:
    """Have few rows treated as many, too: those are told apart by their shadows first."""
    if request.param == "large":
        monkeypatch.setattr(duplicates, "SMALL", 0)


@pytest.mark.usefixtures("any_size")
@settings(
    max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(
    count=st.integers(1, 150),
    dimension=st.sampled_from([2, 16, 80, 130]),
    seed=st.integers(0, 1000),
    spread=st.sampled_from([0.0, 0.05, 0.3, 1.0]),
    threshold=st.sampled_from([0.2, 0.7, 0.9, 0.97]),
)
def test_groups_are_those_of_the_plain_definition(
    count, dimension, seed, spread, threshold
) -> None:
    vectors = clustered(count, dimension, seed, spread)
    found = {frozenset(rows): rows[0] for rows in group(vectors, threshold)}
    expected = {frozenset(rows): rows[0] for rows in plain_groups(vectors, threshold)}
    cosines = vectors @ vectors.T
    if np.abs(cosines - threshold).min() > 1e-5 and spread:  # no pair on the edge, no equal pairs
        assert found == expected
    for rows in group(vectors, threshold):
        assert (vectors[rows] @ vectors[rows[0]] >= threshold - 1e-6).all()


@pytest.mark.usefixtures("any_size")
def test_blocks_do_not_change_the_groups(monkeypatch) -> None:
    vectors = clustered(700, 96, 1, 0.3)
    whole = group(vectors, 0.85)
    monkeypatch.setattr(duplicates, "ROWS_AT_ONCE", 37)
    monkeypatch.setattr(duplicates, "LEADERS_AT_ONCE", 53)
    assert group(vectors, 0.85) == whole
    monkeypatch.setattr(duplicates, "MOST_CANDIDATES", 0.0)  # always the full comparison
    assert group(vectors, 0.85) == whole
    assert len(whole) > 50


def test_similar_pictures_do_not_chain() -> None:
    angles = np.linspace(0, np.pi / 2, 40)  # each neighbour is within 2.3 degrees, the ends are 90
    vectors = np.stack([np.cos(angles), np.sin(angles)], axis=1).astype(np.float32)
    threshold = float(np.cos(np.radians(10)))
    groups = group(vectors, threshold)
    assert len(groups) > 4
    for rows in groups:
        assert (vectors[rows] @ vectors[rows[0]]).min() >= threshold - 1e-6


def test_a_member_joins_the_representative_it_resembles_most() -> None:
    angles = np.radians([0.0, 15.0, 9.0])
    vectors = np.stack([np.cos(angles), np.sin(angles)], axis=1).astype(np.float32)
    assert group(vectors, float(np.cos(np.radians(10)))) == [[1, 2]]


def test_five_thousand_equal_pictures_are_one_group() -> None:
    vectors = np.repeat(clustered(1, 64, 0, 1.0), 5_000, axis=0)
    assert group(vectors, 1.0) == [list(range(5_000))]


@pytest.mark.parametrize("count", [0, 1])
def test_nothing_to_compare_gives_no_groups(count) -> None:
    assert group(np.zeros((count, 8), np.float32), 0.9) == []


class Album:
    """A collection with these items."""

    def __init__(self, *items: Item) -> None:
        self._items = items

    def items(self, *, vectors: bool = False) -> Iterator[Item]:
        assert vectors
        return iter(self._items)


def picture(name: str, angle: float, **about: int) -> Item:
    radians = np.radians(angle)
    vector = np.array([np.cos(radians), np.sin(radians)], np.float32)
    return Item(id=name, path=f"/{name}.jpg", vector=vector, metadata={"n": name}, **about)


def test_most_pixels_then_most_bytes_represent_a_group() -> None:
    found = find_duplicates(
        Album(
            picture("small", 1, width_px=10, height_px=10, bytes=900),
            picture("heavy", 2, width_px=30, height_px=10, bytes=700),
            picture("light", 0, width_px=10, height_px=30, bytes=600),
            picture("other", 80, width_px=90, height_px=90, bytes=1),
        ),
        threshold=0.99,
    )
    assert [[hit.id for hit in one.hits] for one in found] == [["heavy", "small", "light"]]
    first, second, third = found[0].hits
    assert first.score == pytest.approx(1.0)
    assert second.score == pytest.approx(np.cos(np.radians(1)), abs=1e-6)
    assert found[0].similarity == third.score == third.similarity
    assert first.metadata == {"n": "heavy"}


def test_largest_group_comes_first() -> None:
    found = find_duplicates(
        Album(*(picture(f"a{i}", 0) for i in range(2)), *(picture(f"b{i}", 90) for i in range(3)))
    )
    assert [len(one.hits) for one in found] == [3, 2]


def test_empty_collection_has_no_duplicates() -> None:
    assert find_duplicates(Album()) == []


@pytest.mark.parametrize("threshold", [0, -1, 1.5, 95])
def test_threshold_that_is_no_cosine_is_refused(threshold) -> None:
    with pytest.raises(UsageError, match="cosine"):
        find_duplicates(Album(), threshold)


# Thumbnails.


def photograph(name: str = "astronaut") -> Image.Image:
    data = pytest.importorskip("skimage.data")
    return Image.fromarray(getattr(data, name)()).convert("RGB")


def correlation(one: bytes, other: bytes) -> float:
    first, second = looks_to_vectors([one, other])
    return float(first @ second)


def encoded(image: Image.Image, quality: int) -> Image.Image:
    buffer = io.BytesIO()
    image.save(buffer, "JPEG", quality=quality)
    return Image.open(buffer)


@pytest.mark.parametrize("name", ["astronaut", "chelsea", "coffee", "rocket"])
@pytest.mark.parametrize("share", [1.0, 0.5, 0.25])
@pytest.mark.parametrize("quality", [30, 90])
def test_compressed_and_scaled_copies_have_the_same_look(name, share, quality) -> None:
    image = photograph(name)
    size = (int(image.width * share), int(image.height * share))
    copy = encoded(image.resize(size, Image.Resampling.LANCZOS), quality)
    assert correlation(look_of(image), look_of(copy)) >= SAME_LOOK


def test_other_pictures_and_mirrored_ones_look_different() -> None:
    images = [photograph(name) for name in ("astronaut", "chelsea", "coffee", "rocket")]
    images.append(images[0].transpose(Image.Transpose.FLIP_LEFT_RIGHT))
    vectors = looks_to_vectors([look_of(image) for image in images])
    assert (vectors @ vectors.T - np.eye(5)).max() < 0.9


def test_the_same_shape_in_another_colour_looks_different() -> None:
    looks = []
    for colour in ("red", "blue", "green"):
        image = Image.new("RGB", (200, 200), "white")
        image.paste(colour, (50, 30, 150, 170))
        looks.append(look_of(image))
    vectors = looks_to_vectors(looks)
    assert (vectors @ vectors.T - np.eye(3)).max() < 0.9


def test_plain_missing_and_damaged_looks_are_like_nothing() -> None:
    plain = look_of(Image.new("RGB", (50, 50), (200, 200, 203)))
    assert len(plain) == LOOK_BYTES
    assert not looks_to_vectors([plain, b"", b"short"]).any()
    assert looks_to_vectors([]).shape == (0, LOOK_BYTES)


def test_equal_looks_join_what_the_embedding_tells_apart() -> None:
    look = look_of(photograph())
    other = look_of(photograph("coffee"))
    angles = {"a": (0, look), "b": (60, look), "c": (5, other), "d": (90, b""), "e": (100, b"")}
    items = [replace(picture(name, angle), look=look) for name, (angle, look) in angles.items()]
    found = find_duplicates(Album(*items), threshold=0.99)
    assert [{hit.id for hit in one.hits} for one in found] == [{"a", "b", "c"}]
    assert found[0].similarity == pytest.approx(np.cos(np.radians(5)), abs=1e-5)
    scores = {hit.id: hit.score for hit in found[0].hits}
    assert scores["b"] == pytest.approx(1.0)


@pytest.mark.usefixtures("any_size")
def test_blocks_do_not_change_groups_by_looks(monkeypatch) -> None:
    vectors = clustered(300, 96, 1, 0.3)
    random = np.random.default_rng(0)
    looks = looks_to_vectors([random.bytes(LOOK_BYTES) if i % 3 else b"" for i in range(300)])
    looks[150:200] = looks[100:150]
    whole = group(vectors, 0.85, looks)
    assert len({row for rows in whole for row in rows} & set(range(150, 200))) >= 30
    monkeypatch.setattr(duplicates, "ROWS_AT_ONCE", 37)
    monkeypatch.setattr(duplicates, "LEADERS_AT_ONCE", 53)
    assert group(vectors, 0.85, looks) == whole
