from __future__ import annotations

import numpy as np

from polymodal.models.mock import MockEmbedder
from polymodal.runtime.texts import TextVectors


def test_a_text_is_embedded_once() -> None:
    mock = MockEmbedder()
    texts = TextVectors(mock)
    first = texts.embed(["red", "blue", "red"])
    again = texts.embed(["blue", "red"])
    assert mock.texts_seen == 2
    np.testing.assert_array_equal(again, first[[1, 0]])


def test_the_oldest_goes_first() -> None:
    mock = MockEmbedder()
    texts = TextVectors(mock, capacity=2)
    texts.embed(["red", "blue"])
    texts.embed(["red"])
    texts.embed(["green"])
    texts.embed(["red"])
    assert mock.texts_seen == 3
    texts.embed(["blue"])
    assert mock.texts_seen == 4


def test_more_texts_than_are_kept_still_come_out_right() -> None:
    names = [f"word{i}" for i in range(10)]
    vectors = TextVectors(MockEmbedder(), capacity=3).embed(names)
    np.testing.assert_array_equal(vectors, MockEmbedder().embed_texts(names))


def test_no_texts_give_no_rows() -> None:
    assert TextVectors(MockEmbedder(dimension=40)).embed([]).shape == (0, 40)
