from __future__ import annotations

import shutil
import warnings
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import onnxruntime
import pytest
import skimage.data
from PIL import Image, ImageOps
from tokenizers import Tokenizer

from polymodal.catalog.opening import open_embedder, read_card
from polymodal.catalog.sources import WeightFolder, find_weights
from polymodal.errors import DamagedWeights, UsageError
from polymodal.models.protocols import (
    Calibrated,
    CloseLook,
    CloseLooker,
    Embedder,
    FeatureExtractor,
)
from polymodal.models.starter import StarterEmbedder, resize_square
from polymodal.models.starter_close import cells_of
from tests.models.weights import starter_or_skip

TEXTS = [
    "a cat",
    "two dogs run through the snow",
    "an astronaut in an orange suit smiles in front of a flag",
    "a cup of coffee on a wooden table, seen from above, with a spoon and a saucer beside it",
    "coins",
    "a red dress",
]


def photographs() -> list[Image.Image]:
    names = ("astronaut", "chelsea", "coffee", "rocket")
    return [Image.fromarray(getattr(skimage.data, name)()) for name in names]


def session(name: str, side_px: int | None = None) -> onnxruntime.InferenceSession:
    """A tower; with a side, made for photographs of that size alone."""
    content = find_weights("starter").read(f"embedder/{name}.onnx")
    options = onnxruntime.SessionOptions()
    for axis in ("height", "width") if side_px else ():
        options.add_free_dimension_override_by_name(axis, side_px)
    return onnxruntime.InferenceSession(content, options, providers=["CPUExecutionProvider"])


def test_it_fits_every_protocol_of_an_embedder(starter: StarterEmbedder) -> None:
    assert isinstance(starter, Embedder)
    assert isinstance(starter, Calibrated)
    assert isinstance(starter, FeatureExtractor)


def test_pictures_come_out_as_from_the_network_itself(starter: StarterEmbedder) -> None:
    card = read_card("starter")
    side = (card.image_size_px, card.image_size_px)
    assert (card.crop, card.resize) == ("center", "bicubic")
    pixels = np.stack(
        [np.asarray(ImageOps.fit(image, side, Image.Resampling.BICUBIC)) for image in photographs()]
    )
    outputs = session("image").run(["embedding", "features"], {"pixels": pixels})
    batch = [starter.preprocess(image) for image in photographs()]
    np.testing.assert_array_equal(np.stack(batch), pixels)
    np.testing.assert_allclose(starter.embed_images(batch), outputs[0], atol=1e-4)
    np.testing.assert_allclose(starter.extract_features(batch), outputs[1], atol=1e-3)
    assert outputs[0].shape == (4, card.dimension)
    assert outputs[1].shape == (4, card.features)


def test_one_tower_for_all_sizes_gives_the_bits_of_one_for_its_size(
    starter: StarterEmbedder,
) -> None:
    batch = [starter.preprocess(image) for image in photographs()]
    network = session("image", 256)
    assert network.get_inputs()[0].shape[1:] == [256, 256, 3]
    reference = [network.run(["embedding", "features", "grid"], {"pixels": x[None]}) for x in batch]
    vectors, features = starter.embed_and_extract(batch)
    grids = starter.embed_and_grid(batch)[1]
    for row, (vector, feature, grid) in enumerate(reference):
        np.testing.assert_array_equal(vectors[row], vector[0])
        np.testing.assert_array_equal(features[row], feature[0])
        np.testing.assert_array_equal(grids[row], grid[0])
    assert starter.close_up is not None
    starter.close_up.extract_features([starter.close_up.preprocess(photographs()[0])])
    np.testing.assert_array_equal(starter.embed_images(batch), vectors)


def test_a_closer_look_is_the_network_on_a_larger_photograph(starter: StarterEmbedder) -> None:
    close_up = starter.close_up
    assert isinstance(starter, CloseLooker)
    assert close_up is not None
    assert close_up.look == CloseLook(320, 5) == read_card("starter").close_look
    side = (320, 320)
    pixels = [
        np.asarray(ImageOps.fit(each, side, Image.Resampling.BICUBIC)) for each in photographs()
    ]
    batch = [close_up.preprocess(image) for image in photographs()]
    np.testing.assert_array_equal(batch, pixels)
    found = close_up.extract_features(batch)
    network = session("image", 320)
    for row, each in zip(found, pixels, strict=True):
        features, grid = network.run(["features", "grid"], {"pixels": each[None]})
        np.testing.assert_array_equal(row[:5840], features[0])
        places = grid[0].reshape(10, 10, -1).astype(np.float64)
        top_left = np.concatenate([places[:2, :2], places[:2, 8:]], 1).mean((0, 1))
        centre = places[4:6, 4:6].mean((0, 1))
        width = places.shape[2]
        assert row.shape == (5840 + 15 * width,)
        cells = row[5840:].reshape(5, 3, width)
        np.testing.assert_allclose(cells[0, 0], top_left**0.5, atol=1e-4)
        np.testing.assert_allclose(cells[2, 2], centre**0.5, atol=1e-4)
    assert close_up.extract_features([]).shape == (0, 0)


def test_cells_of_a_mirrored_grid_are_the_same() -> None:
    grid = np.random.default_rng(0).random((10, 10, 7)).astype(np.float32)
    mirrored = np.ascontiguousarray(grid[:, ::-1])
    for cells, columns in ((1, 1), (3, 2), (4, 2), (5, 3)):
        row = cells_of(grid.reshape(100, 7), cells)
        assert row.shape == (cells * columns * 7,)
        np.testing.assert_allclose(cells_of(mirrored.reshape(100, 7), cells), row, atol=1e-6)


def test_texts_come_out_as_from_the_network_itself(starter: StarterEmbedder) -> None:
    tokenizer = Tokenizer.from_buffer(find_weights("starter").read("embedder/tokenizer.json"))
    tokenizer.no_padding()
    tokenizer.no_truncation()
    network = session("text")
    for text, vector in zip(TEXTS, starter.embed_texts(TEXTS), strict=True):
        ids = np.array([tokenizer.encode(text).ids])
        feed = {"input_ids": ids, "attention_mask": np.ones_like(ids)}
        np.testing.assert_allclose(vector, network.run(["embedding"], feed)[0][0], atol=1e-4)


def test_a_text_does_not_depend_on_its_neighbours(starter: StarterEmbedder) -> None:
    together = starter.embed_texts(TEXTS * 12)
    alone = np.concatenate([starter.embed_texts([text]) for text in TEXTS])
    np.testing.assert_allclose(together, np.tile(alone, (12, 1)), atol=1e-4)


def test_a_picture_does_not_depend_on_its_neighbours(starter: StarterEmbedder) -> None:
    batch = [starter.preprocess(image) for image in photographs()]
    together = starter.embed_images(batch * 5)
    alone = np.concatenate([starter.embed_images([pixels]) for pixels in batch])
    np.testing.assert_allclose(together, np.tile(alone, (5, 1)), atol=1e-4)


def test_vectors_have_length_one(starter: StarterEmbedder) -> None:
    images = starter.embed_images([starter.preprocess(image) for image in photographs()])
    for vectors in (images, starter.embed_texts(TEXTS)):
        assert vectors.dtype == np.float32
        np.testing.assert_allclose(np.linalg.norm(vectors, axis=1), 1, atol=1e-4)


def test_words_find_their_picture(starter: StarterEmbedder) -> None:
    images = starter.embed_images([starter.preprocess(image) for image in photographs()])
    texts = starter.embed_texts(["a woman in an orange suit smiling", "a rocket at night"])
    assert (texts @ images.T).argmax(1).tolist() == [0, 3]


def test_nothing_in_nothing_out(starter: StarterEmbedder) -> None:
    assert starter.embed_images([]).shape == (0, starter.space.dimension)
    assert starter.embed_texts([]).shape == (0, starter.space.dimension)


@pytest.mark.parametrize("empty", ["", " ", "\t\n"])
def test_an_empty_text_is_refused_by_position(starter: StarterEmbedder, empty: str) -> None:
    with pytest.raises(UsageError, match="text 1 is empty"):
        starter.embed_texts(["a cat", empty])


@pytest.mark.parametrize("text", ["🦊", "साड़ी", "...", "a\0b", "\u202e", "x" * 5000])
def test_odd_texts_have_a_vector_too(starter: StarterEmbedder, text: str) -> None:
    assert np.isfinite(starter.embed_texts([text])).all()


def test_a_long_text_is_cut_and_said_once() -> None:
    starter = starter_or_skip()
    limit = read_card("starter").max_tokens
    long = "saree " * (limit + 50)
    with pytest.warns(UserWarning, match=rf"a text of \d+ tokens was cut to the {limit}") as caught:
        first = starter.embed_texts(["a cat", long, long + "and more"])
    assert len(caught) == 1
    counted = int(str(caught[0].message).split()[3])
    tokenizer = Tokenizer.from_buffer(find_weights("starter").read("embedder/tokenizer.json"))
    tokenizer.no_truncation()
    assert counted == len(tokenizer.encode(long).ids)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        again = starter.embed_texts([long])
    np.testing.assert_allclose(again[0], first[1], atol=1e-4)


def test_threads_may_share_it(starter: StarterEmbedder) -> None:
    fresh = open_embedder("starter", device="cpu")
    expected = starter.embed_texts(TEXTS)
    with ThreadPoolExecutor(4) as pool:
        found = list(pool.map(lambda _: fresh.embed_texts(TEXTS), range(8)))
    for vectors in found:
        np.testing.assert_allclose(vectors, expected, atol=1e-4)


@pytest.fixture
def copied(starter: StarterEmbedder, tmp_path: Path) -> Path:
    """A copy of the weights that a test may damage."""
    return Path(shutil.copytree(find_weights("starter").root, tmp_path / "copy"))


def test_a_text_never_reads_the_image_tower(copied: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    read: list[str] = []
    original = WeightFolder.read

    def spy(self: WeightFolder, relative: str) -> bytes:
        read.append(relative)
        return original(self, relative)

    monkeypatch.setattr(WeightFolder, "read", spy)
    embedder = open_embedder(str(copied))
    assert read == ["embedder/card.toml"]
    embedder.embed_texts(["a cat"])
    assert sorted(read[1:]) == ["embedder/text.onnx", "embedder/tokenizer.json"]
    embedder.embed_texts(["a dog"])
    assert len(read) == 3
    embedder.embed_images([embedder.preprocess(photographs()[0])])
    assert read[3:] == ["embedder/image.onnx"]


def test_a_damaged_tower_is_named_and_the_other_still_works(copied: Path) -> None:
    tower = copied / "embedder" / "image.onnx"
    content = bytearray(tower.read_bytes())
    content[len(content) // 2] ^= 1
    tower.write_bytes(content)
    embedder = open_embedder(str(copied))
    assert embedder.embed_texts(["a cat"]).shape[0] == 1
    with pytest.raises(DamagedWeights, match=r"image\.onnx is damaged"):
        embedder.embed_images([embedder.preprocess(photographs()[0])])


def test_a_copy_of_the_folder_is_the_same_space(starter: StarterEmbedder, copied: Path) -> None:
    assert open_embedder(str(copied)).space == starter.space


@pytest.mark.parametrize("size", [(300, 200), (200, 300), (256, 256), (1, 500)])
def test_squares_are_those_of_pillow(size: tuple[int, int]) -> None:
    noise = np.random.default_rng(0).integers(0, 255, (size[1], size[0], 3), np.uint8)
    image = Image.fromarray(noise)
    squash = np.asarray(image.resize((64, 64), Image.Resampling.BICUBIC, reducing_gap=3.0))
    np.testing.assert_array_equal(resize_square(image, 64, "squash", "bicubic"), squash)
    cut = min(size)
    left, top = (size[0] - cut) / 2, (size[1] - cut) / 2
    box = (left, top, left + cut, top + cut)
    center = np.asarray(image.resize((64, 64), Image.Resampling.BILINEAR, box, reducing_gap=3.0))
    np.testing.assert_array_equal(resize_square(image, 64, "center", "bilinear"), center)


def test_padding_keeps_proportions() -> None:
    white = Image.new("RGB", (200, 100), "white")
    padded = resize_square(white, 64, "pad", "bicubic")
    assert padded.shape == (64, 64, 3)
    assert (padded[:15] == 127).all()
    assert (padded[17:47] == 255).all()
    assert (padded[49:] == 127).all()


def test_a_wrong_device_is_refused(starter: StarterEmbedder) -> None:
    with pytest.raises(UsageError, match="'tpu'"):
        StarterEmbedder(starter._spec, lambda _: b"", device="tpu")  # type: ignore[arg-type]
