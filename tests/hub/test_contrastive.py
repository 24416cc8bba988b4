"""CLIP, SigLIP and SigLIP 2 checkpoints against transformers itself."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import transformers as hf

import polymodal as pm
from polymodal.catalog.opening import open_embedder
from tests.hub import tiny

TEXTS = ["red saree", "blue jeans", "cat in question", "two dogs"]
MODELS = {"clip": hf.CLIPModel, "siglip": hf.SiglipModel, "siglip2": hf.Siglip2Model}
Get = Callable[[str], Path]

pytestmark = pytest.mark.parametrize("family", sorted(MODELS))


def directly(family: str, folder: Path, images: list[Any], texts: list[str]) -> Any:
    """The model's own output, as transformers' documentation calls it."""
    processor = hf.AutoProcessor.from_pretrained(folder)
    model = MODELS[family].from_pretrained(folder, dtype=torch.float32).eval()
    padding: dict[str, Any] = {"padding": True, "truncation": True, "max_length": 24}
    if family != "clip":
        padding = {"padding": "max_length", "truncation": True}
        padding["max_length"] = {"siglip": 16, "siglip2": 64}[family]
    inputs = processor(text=texts, images=images, return_tensors="pt", **padding)
    with torch.inference_mode():
        return model(**inputs)


@pytest.mark.parametrize(("pictures", "texts"), [(1, 1), (1, 4), (3, 1), (5, 3)])
def test_vectors_are_those_of_transformers(
    checkpoint: Get, family: str, pictures: int, texts: int
) -> None:
    images = [tiny.picture(n, (40 + 9 * n, 70 - 11 * n)) for n in range(pictures)]
    expected = directly(family, checkpoint(family), images, TEXTS[:texts])
    embedder = open_embedder(str(checkpoint(family)), device="cpu")
    got_images = embedder.embed_images([embedder.preprocess(each) for each in images])
    got_texts = embedder.embed_texts(TEXTS[:texts])
    for got, wanted in ((got_images, expected.image_embeds), (got_texts, expected.text_embeds)):
        assert got.dtype == np.float32
        # Transformers divides by a norm summed in another order: the last bit may differ there.
        np.testing.assert_allclose(got, wanted.numpy(), rtol=0, atol=1.5e-7)
    assert embedder.space.dimension == got_images.shape[1]


def test_features_before_the_norm_are_exactly_those_of_transformers(
    checkpoint: Get, family: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("polymodal.models.hub_contrastive.normalised", lambda vectors: vectors)
    folder, images = checkpoint(family), [tiny.picture(n) for n in range(3)]
    embedder = open_embedder(str(folder), device="cpu")
    model = MODELS[family].from_pretrained(folder, dtype=torch.float32).eval()
    # Weights that lie at odd addresses of a mapped file, or attention that keeps what gradients
    # need, sum in another order.
    for weights in model.requires_grad_(False).parameters():
        weights.data = weights.data.clone()
    processor = hf.AutoProcessor.from_pretrained(folder)
    with torch.inference_mode():
        wanted = model.get_image_features(**processor(images=images, return_tensors="pt"))
    got = embedder.embed_images([embedder.preprocess(each) for each in images])
    assert np.array_equal(got, wanted.pooler_output.numpy())


def test_probabilities_are_those_that_the_model_was_trained_for(
    checkpoint: Get, family: str, recwarn: pytest.WarningsRecorder
) -> None:
    folder, image = checkpoint(family), tiny.picture(3)
    logits = directly(family, folder, [image], TEXTS).logits_per_image[0]
    suite = pm.Suite(str(folder), device="cpu")
    found = suite.classify(image, TEXTS, templates=["{}"])
    wanted = dict(zip(TEXTS, logits.softmax(-1).tolist(), strict=True))
    assert found.scores == pytest.approx(wanted, abs=1e-5)
    assert not recwarn.list
    if family != "clip":
        alone = logits.sigmoid().tolist()
        matches = suite.match_pairs([(image, text) for text in TEXTS])
        assert [each.probability for each in matches] == pytest.approx(alone, abs=1e-5)
        several = suite.classify(image, TEXTS, templates=["{}"], multi_label=True)
        assert several.scores == pytest.approx(dict(zip(TEXTS, alone, strict=True)), abs=1e-5)
        assert not recwarn.list
    else:
        with pytest.warns(UserWarning, match="rule of thumb"):
            suite.match(image, TEXTS[0])


def test_every_verb_that_needs_vectors_works(checkpoint: Get, family: str, tmp_path: Path) -> None:
    for n in range(3):
        tiny.picture(n, (90, 70)).save(tmp_path / f"{n}.png")
    suite = pm.Suite(str(checkpoint(family)), device="cpu")
    rows = suite.embed(images=[str(tmp_path / f"{n}.png") for n in range(3)], texts=TEXTS).vectors
    assert rows.shape == (7, suite.embedder().space.dimension)
    with suite.collection(tmp_path / "shop") as shop:
        shop.add([str(tmp_path / f"{n}.png") for n in range(3)])
        hits = shop.search(TEXTS[0], k=3).hits
        best = int(np.argmax(rows[:3] @ rows[3]))
        assert Path(hits[0].path).name == f"{best}.png"


def test_a_long_text_is_cut_and_said_once(checkpoint: Get, family: str) -> None:
    embedder = open_embedder(str(checkpoint(family)), device="cpu")
    long = "a red saree and blue jeans " * 20
    with pytest.warns(UserWarning, match="tokens was cut to") as caught:
        cut = embedder.embed_texts([long, "cat"])
    assert len(caught) == 1
    assert np.isfinite(cut).all()
    embedder.embed_texts([long])
    with pytest.raises(pm.UsageError, match="text 1 is empty"):
        embedder.embed_texts(["a", " "])


def test_nothing_gives_no_vectors_and_opening_loads_nothing(checkpoint: Get, family: str) -> None:
    embedder = open_embedder(str(checkpoint(family)), device="cpu")
    assert embedder.embed_images([]).shape == (0, embedder.space.dimension)
    assert embedder.embed_texts([]).shape == (0, embedder.space.dimension)
    assert embedder._model._own is None  # type: ignore[attr-defined]


def test_the_space_changes_with_the_weights(checkpoint: Get, family: str, tmp_path: Path) -> None:
    import shutil

    copy = shutil.copytree(checkpoint(family), tmp_path / checkpoint(family).name)
    before, same = open_embedder(str(checkpoint(family))).space, open_embedder(str(copy)).space
    assert before.fingerprint == same.fingerprint
    weights = bytearray((copy / "model.safetensors").read_bytes())
    weights[-1] ^= 1
    (copy / "model.safetensors").write_bytes(weights)
    assert open_embedder(str(copy)).space.fingerprint != before.fingerprint
