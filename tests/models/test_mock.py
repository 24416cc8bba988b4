from __future__ import annotations

import numpy as np
import pytest
from PIL import Image

from polymodal.errors import UsageError
from polymodal.models.mock import COLOURS, MockEmbedder
from polymodal.models.protocols import Calibrated, Embedder, FeatureExtractor


def test_it_fits_every_protocol_of_an_embedder() -> None:
    mock = MockEmbedder()
    assert isinstance(mock, Embedder)
    assert isinstance(mock, Calibrated)
    assert isinstance(mock, FeatureExtractor)


def test_vectors_are_normalised_and_the_same_every_time() -> None:
    noise = np.random.default_rng(0).integers(0, 255, (40, 30, 3), np.uint8)
    image = Image.fromarray(noise)
    first, second = MockEmbedder(), MockEmbedder()
    vectors = first.embed_images([first.preprocess(image)])
    assert vectors.dtype == np.float32
    np.testing.assert_allclose(np.linalg.norm(vectors, axis=1), 1, atol=1e-6)
    np.testing.assert_array_equal(vectors, second.embed_images([second.preprocess(image)]))


@pytest.mark.parametrize("colour", COLOURS)
def test_a_colour_word_is_nearest_to_a_picture_of_that_colour(colour: str) -> None:
    mock = MockEmbedder()
    pictures = [mock.preprocess(Image.new("RGB", (20, 20), rgb)) for rgb in COLOURS.values()]
    cosines = mock.embed_images(pictures) @ mock.embed_texts([f"a {colour} square"])[0]
    assert list(COLOURS)[int(cosines.argmax())] == colour


def test_name_and_dimension_make_the_space() -> None:
    spaces = {MockEmbedder(), MockEmbedder("other"), MockEmbedder(dimension=99)}
    assert len({embedder.space.fingerprint for embedder in spaces}) == 3


def test_empty_text_is_refused_by_position() -> None:
    with pytest.raises(UsageError, match="text 1 is empty"):
        MockEmbedder().embed_texts(["red", "  "])
