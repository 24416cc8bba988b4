"""The shipped embedder: checksums, shape of the space, independence of the batch, recall on dev."""

from __future__ import annotations

import hashlib
import json
import tomllib
from pathlib import Path

import numpy as np
import pytest

ort = pytest.importorskip("onnxruntime", reason="the starter runs on onnxruntime")
tokenizers = pytest.importorskip("tokenizers", reason="the starter reads text with tokenizers")

ROOT = Path(__file__).resolve().parents[2]
WEIGHTS = ROOT / "packages/starter/src/polymodal_starter/weights"
DATA = ROOT.parent / "shared/data"

pytestmark = pytest.mark.skipif(
    not (WEIGHTS / "embedder/image.onnx").exists(),
    reason="no weights: run recipes.starter.embedder",
)
needs_data = pytest.mark.skipif(
    not DATA.exists(), reason="the development data (../shared/data) is not on this machine"
)


@pytest.fixture(scope="module")
def embedder():
    from recipes.starter.evaluate import Embedder

    return Embedder.open(WEIGHTS / "embedder")


@pytest.fixture(scope="module")
def card():
    return tomllib.loads((WEIGHTS / "embedder/card.toml").read_text(encoding="utf-8"))


def pixels(count: int, size: int) -> np.ndarray:
    """Smooth random pictures; plain noise would look alike to the tower."""
    rng = np.random.default_rng(0)
    coarse = rng.integers(0, 256, (count, 8, 8, 3)).astype(np.uint8)
    return coarse.repeat(size // 8, axis=1).repeat(size // 8, axis=2)


def test_manifest_names_every_file_with_its_checksum():
    manifest = json.loads((WEIGHTS / "manifest.json").read_text(encoding="utf-8"))
    assert manifest["format"] == 1
    lines = []
    for name, entry in manifest["files"].items():
        content = (WEIGHTS / name).read_bytes()
        assert len(content) == entry["bytes"]
        assert hashlib.sha256(content).hexdigest() == entry["sha256"], name
        lines.append(f"{name}:{entry['sha256']}")
    revision = hashlib.sha256("\n".join(sorted(lines)).encode()).hexdigest()[:12]
    assert manifest["revision"] == revision
    present = {p.relative_to(WEIGHTS).as_posix() for p in (WEIGHTS / "embedder").iterdir()}
    assert present <= set(manifest["files"])


def test_embedder_files_stay_within_their_budget():
    total = sum(path.stat().st_size for path in (WEIGHTS / "embedder").iterdir())
    assert total <= 50e6  # of 60 MB for all starters


def test_package_root_holds_the_manifest():
    import importlib.util

    path = ROOT / "packages/starter/src/polymodal_starter/__init__.py"
    spec = importlib.util.spec_from_file_location("polymodal_starter_here", path)
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    assert (module.root() / "manifest.json").exists()
    assert module.__version__


def test_embeddings_have_unit_length_and_the_dimension_of_the_card(embedder, card):
    space = card["space"]
    image, features = embedder.image_session.run(
        ["embedding", "features"], {"pixels": pixels(3, space["image_size"])}
    )
    text = embedder.texts(["a dog on a beach", "skirt"])
    assert image.shape == (3, space["dimension"])
    assert features.shape == (3, space["features"])
    assert text.shape == (2, space["dimension"])
    for rows in (image, text):
        assert np.allclose(np.linalg.norm(rows, axis=1), 1.0, atol=1e-4)


def test_an_image_alone_embeds_as_in_a_batch(embedder, card):
    batch = pixels(6, card["space"]["image_size"])
    together = embedder.image_session.run(["embedding"], {"pixels": batch})[0]
    alone = [
        embedder.image_session.run(["embedding"], {"pixels": batch[i : i + 1]})[0][0]
        for i in range(len(batch))
    ]
    assert (together * np.stack(alone)).sum(1).min() > 0.9999


def test_a_text_alone_embeds_as_in_a_padded_batch(embedder):
    texts = [
        "skirt",
        "a brown dog runs over wet sand",
        "two children " * 20,
        *(f"a photograph of {i} men on a red bench" for i in range(61)),
    ]
    together = embedder.texts(texts, batch=64)
    alone = np.concatenate([embedder.texts([text]) for text in texts[:8]])
    assert (together[:8] * alone).sum(1).min() > 0.9999


def test_first_text_embedding_after_a_cold_start_is_quick():
    import time

    from recipes.starter.evaluate import Embedder

    began = time.perf_counter()
    embedder = Embedder.open(WEIGHTS / "embedder")
    embedder.texts(["a dog"])
    assert time.perf_counter() - began < 10  # both towers, on a busy machine


@needs_data
def test_recall_on_a_part_of_dev_is_as_good_as_the_card_says(embedder):
    """On 300 of the 1,000 images, for time: fewer distractors, so a higher bar than the card's."""
    from recipes.starter import data, metrics

    dev = data.flickr(DATA, "dev")
    images = embedder.images(dev.paths[:300])
    texts = embedder.texts([caption for row in dev.captions[:300] for caption in row])
    found = metrics.retrieval(images, texts)
    assert found["text_to_image_r1"] >= 40
    assert found["text_to_image_r10"] >= 85
    assert found["image_to_text_r1"] >= 48


def test_card_scores_reach_the_targets(card):
    scores = card["scores"]
    assert scores["flickr8k_dev_text_to_image_r1"] >= 29
    assert scores["flickr8k_dev_text_to_image_r10"] >= 72
    assert scores["flickr8k_dev_image_to_text_r1"] >= 37
    for wording in ("folder", "natural", "descriptive"):
        assert scores[f"clothing_validation_zero_shot_{wording}_words"] >= 62
