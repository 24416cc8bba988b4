"""open_clip's own checkpoints against open_clip itself."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

import polymodal as pm
from polymodal.catalog.known import folder_of, known_models, pull, remove, show
from polymodal.catalog.known_openclip import glance
from polymodal.catalog.opening import open_embedder
from tests.hub import tiny
from tests.hub.server import Hub

open_clip: Any = pytest.importorskip("open_clip", reason="the extra `openclip` is not installed")

CONFIG = {
    "embed_dim": 16,
    "vision_cfg": {"image_size": 32, "layers": 2, "width": 64, "patch_size": 8},
    "text_cfg": {"context_length": 20, "vocab_size": 49408, "width": 32, "heads": 4, "layers": 2},
}
TEXTS = ["red saree", "blue jeans", "two dogs"]


@pytest.fixture(scope="module")
def weights(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """A tiny architecture, known to open_clip for as long as the module's tests run."""
    from safetensors.torch import save_file

    folder = tmp_path_factory.mktemp("openclip")
    (folder / "tiny-ViT.json").write_text(json.dumps(CONFIG))
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(open_clip.factory, "_MODEL_CONFIGS", dict(open_clip.factory._MODEL_CONFIGS))
        patch.setattr(
            open_clip.factory, "_MODEL_CONFIG_PATHS", list(open_clip.factory._MODEL_CONFIG_PATHS)
        )
        open_clip.add_model_config(folder / "tiny-ViT.json")
        torch.manual_seed(5)
        model = open_clip.create_model("tiny-ViT", load_weights=False)
        path = folder / "open_clip_model.safetensors"
        save_file({name: each.contiguous() for name, each in model.state_dict().items()}, path)
        yield path


def test_vectors_and_probabilities_are_those_of_open_clip(weights: Path) -> None:
    images = [tiny.picture(n, (50 + 8 * n, 70)) for n in range(3)]
    model, _, transform = open_clip.create_model_and_transforms("tiny-ViT", pretrained=str(weights))
    tokens = open_clip.get_tokenizer("tiny-ViT")(TEXTS)
    with torch.inference_mode():
        pixels = torch.stack([transform(each) for each in images])
        by_image, by_text, scale = model.eval()(pixels, tokens)[:3]
        wanted = (scale * by_image @ by_text.T).softmax(-1)[0].tolist()
    suite = pm.Suite(f"open_clip:tiny-ViT/{weights}", device="cpu")
    embedder = suite.embedder()
    got = embedder.embed_images([embedder.preprocess(each) for each in images])
    np.testing.assert_allclose(got, by_image.numpy(), rtol=0, atol=1.5e-7)
    np.testing.assert_allclose(embedder.embed_texts(TEXTS), by_text.numpy(), rtol=0, atol=1.5e-7)
    found = suite.classify(images[0], TEXTS, templates=["{}"]).scores
    assert found == pytest.approx(dict(zip(TEXTS, wanted, strict=True)), abs=1e-5)
    assert embedder.space.model == "open_clip:tiny-ViT/open_clip_model.safetensors"
    assert embedder.space.dimension == 16


def test_a_long_text_is_said(weights: Path) -> None:
    embedder = open_embedder(f"open_clip:tiny-ViT/{weights}", device="cpu")
    with pytest.warns(UserWarning, match="32 tokens was cut to the 20"):
        embedder.embed_texts(["dog " * 30])
    with pytest.raises(pm.UsageError, match="text 0 is empty"):
        embedder.embed_texts([""])
    assert embedder.embed_texts([]).shape == (0, 16)


@pytest.mark.parametrize(
    ("variant", "said"),
    [
        ("ViT-B-32", r"write open_clip:ARCH/PRETRAINED"),
        ("ViT-B32/openai", r"no architecture 'ViT-B32'\. Did you mean ViT-B-32"),
        ("ViT-B-32/laion2b_s34b_b79", r"Known weights: laion2b_s34b_b79k"),
    ],
)
def test_wrong_names_are_told_the_right_ones(variant: str, said: str) -> None:
    with pytest.raises(pm.PolymodalError, match=said):
        open_embedder(f"open_clip:{variant}")


def test_weights_of_another_architecture_are_named(weights: Path) -> None:
    with pytest.raises(pm.DamagedWeights, match=r"open_clip_model\.safetensors cannot be loaded"):
        open_embedder(f"open_clip:ViT-S-32/{weights}", device="cpu").embed_texts(["a"])


def test_pickles_are_refused(weights: Path) -> None:
    path = weights.with_name("weights.pt")
    torch.save({}, path)
    with pytest.raises(pm.ModelUnavailable, match="is a pickle"):
        open_embedder(f"open_clip:tiny-ViT/{path}")


@pytest.mark.usefixtures("nowhere")
def test_weights_by_tag_are_looked_for_on_the_hub(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("POLYMODAL_OFFLINE", "1")
    with pytest.raises(pm.ModelUnavailable, match="POLYMODAL_OFFLINE forbids it"):
        open_embedder("open_clip:ViT-B-32/laion2b_s34b_b79k")


@pytest.mark.usefixtures("nowhere")
def test_names_are_listed_and_shown_without_a_network(
    weights: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("POLYMODAL_OFFLINE", "1")
    usual = "open_clip:ViT-B-32/laion2b_s34b_b79k"
    assert usual in {row.name for row in known_models()}
    table = {f"open_clip:{arch}/{tag}" for arch, tag in open_clip.list_pretrained()}
    rows = {row.name: row for row in known_models(family="openclip") if ":" in row.name}
    assert set(rows) == table
    config = open_clip.get_pretrained_cfg("ViT-B-32", "laion2b_s34b_b79k")
    assert glance().repository == config["hf_hub"].rstrip("/") == show(usual).details["repository"]
    assert show(usual).details["dimension"] == open_clip.get_model_config("ViT-B-32")["embed_dim"]
    with pytest.raises(pm.ModelUnavailable, match=f"Run: polymodal models pull {usual}"):
        folder_of(usual)
    with pytest.raises(pm.UsageError, match="no model is of the family 'clop'; there are starter"):
        known_models(family="clop")
    mine = show(f"open_clip:tiny-ViT/{weights}")
    model = open_clip.create_model("tiny-ViT", load_weights=False)
    assert mine.details["parameters"] == sum(each.numel() for each in model.state_dict().values())
    assert (mine.folder, mine.size_bytes) == (weights.parent, weights.stat().st_size)
    with pytest.raises(pm.UsageError, match="a file of yours"):
        remove(mine.name)


def test_weights_of_a_tag_are_pulled_shown_and_removed(
    weights: Path, hub: Hub, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    table = {**open_clip.pretrained._PRETRAINED, "tiny-ViT": {"mine": {"hf_hub": "org/tiny/"}}}
    monkeypatch.setattr(open_clip.pretrained, "_PRETRAINED", table)
    (tmp_path / "repository").mkdir()
    shutil.copy(weights, tmp_path / "repository")
    hub.repositories["org/tiny"] = tmp_path / "repository"
    name = "open_clip:tiny-ViT/mine"
    assert show(name).folder is None
    folder = pull(name)
    monkeypatch.setenv("POLYMODAL_OFFLINE", "1")
    assert folder_of(name) == show(name).folder == folder
    assert open_embedder(name, device="cpu").embed_texts(["cat"]).shape == (1, 16)
    assert remove(name) >= weights.stat().st_size
    assert show(name).folder is None


def test_the_list_does_not_import_torch() -> None:
    code = (
        "import sys; from polymodal.catalog.known import known_models; known_models();"
        "sys.exit('torch' in sys.modules or 'open_clip' in sys.modules)"
    )
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
