from __future__ import annotations

import numpy as np
import pytest

from polymodal.errors import ItemsFailed
from polymodal.media.pictures import DEFAULT_LIMITS
from polymodal.models.mock import MockEmbedder
from polymodal.results import Embeddings, ItemError
from polymodal.tasks.embed import embed
from tests.tasks.pictures import plain


def run(**inputs: object) -> Embeddings:
    return embed(MockEmbedder(), **inputs, limits=DEFAULT_LIMITS)  # type: ignore[arg-type]


def test_pictures_then_texts_in_order() -> None:
    found = run(images=[plain("red"), plain("blue")], texts=["blue", "red"])
    assert found.vectors.shape == (4, 64)
    assert found.vectors.dtype == np.float32
    cosines = found.vectors @ found.vectors.T
    np.testing.assert_allclose(cosines[0, 3], 1, atol=0.02)
    np.testing.assert_allclose(cosines[1, 2], 1, atol=0.02)
    assert cosines[0, 2] < 0.1


def test_more_pictures_than_a_batch_keep_their_order() -> None:
    colours = ["red", "blue", "green", "white", "black"] * 15
    found = run(images=[plain(colour) for colour in colours])
    expected = MockEmbedder().embed_texts(colours)
    np.testing.assert_allclose(found.vectors, expected, atol=0.02)


def test_a_bad_picture_and_an_empty_text_fail_in_their_place() -> None:
    found = run(images=[plain("red"), b"", plain("blue")], texts=["red", " "])
    assert [isinstance(item, ItemError) for item in found.items] == [0, 1, 0, 0, 1]
    assert [error.kind for error in found.errors] == ["DamagedMedia", "UsageError"]
    positions, vectors = found.valid()
    assert positions == [0, 2, 3]
    assert vectors.shape == (3, 64)
    with pytest.raises(ItemsFailed, match="2 of 5 items failed"):
        _ = found.vectors


def test_nothing_gives_nothing() -> None:
    assert len(run()) == 0


def test_a_text_that_is_none_fails_in_its_place() -> None:
    found = run(texts=["red", None])  # type: ignore[list-item]
    assert found.errors[0].reason == "is NoneType, not a text."
