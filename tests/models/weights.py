"""The real starter where it is installed, and a made-up weight folder for what needs none."""

from __future__ import annotations

import hashlib
import importlib.util
import json
from pathlib import Path

import numpy as np
import pytest

from polymodal.catalog.captioners import open_captioner
from polymodal.catalog.opening import open_embedder
from polymodal.errors import DamagedWeights, ModelUnavailable
from polymodal.models.captioner import StarterCaptioner
from polymodal.models.starter import StarterEmbedder

DATA = Path(__file__).resolve().parents[3] / "shared" / "data"

CARD = """
[model]
id = "tiny"
name = "Tiny"
version = "1"
licence = "Apache-2.0"

[space]
dimension = 8
image_size = 16
resize = "bicubic"
crop = "squash"
features = 4
max_tokens = 12

[prompts]
templates = ["{}", "a photo of a {}."]

[calibration]
classify_temperature = 0.05
match_scale = 10
match_bias = -3.0
relevant_cosine = 0.2

[scores]
"""


def starter_or_skip() -> StarterEmbedder:
    """The installed starter; the test is skipped where its weights are not there."""
    if importlib.util.find_spec("polymodal_starter") is None:
        pytest.skip("the package polymodal-starter is not installed")
    import polymodal_starter

    if not (Path(polymodal_starter.root()) / "manifest.json").exists():
        pytest.skip("polymodal-starter has no weights yet: run recipes.starter")
    embedder = open_embedder("starter", device="cpu")
    assert isinstance(embedder, StarterEmbedder)
    return embedder


def data_or_skip(name: str) -> Path:
    """A folder of the development data, which is not part of the repository."""
    if not (DATA / name).is_dir():
        pytest.skip(f"needs the development data shared/data/{name}")
    return DATA / name


def write_model(root: Path, card: str = CARD, **files: bytes) -> Path:
    """A model folder with a card, the files given, and a manifest that fits."""
    contents = {"embedder/card.toml": card.encode()}
    contents |= {f"embedder/{name.replace('__', '.')}": value for name, value in files.items()}
    for relative, content in contents.items():
        (root / relative).parent.mkdir(parents=True, exist_ok=True)
        (root / relative).write_bytes(content)
    entries = {
        relative: {"sha256": hashlib.sha256(content).hexdigest(), "bytes": len(content)}
        for relative, content in contents.items()
    }
    manifest = {"format": 1, "revision": "r1", "files": entries}
    (root / "manifest.json").write_text(json.dumps(manifest))
    return root


def captioner_or_skip() -> StarterCaptioner:
    """The installed starter's captioner; the test is skipped where its weights are not there."""
    embedder = starter_or_skip()
    try:
        captioner = open_captioner("starter", embedder=embedder)
    except ModelUnavailable:
        pytest.skip("polymodal-starter has no captioner yet: run recipes.starter.captioner")
    assert isinstance(captioner, StarterCaptioner)
    try:
        captioner.look([np.zeros((embedder.image_size_px, embedder.image_size_px, 3), np.uint8)])
    except DamagedWeights as error:
        pytest.skip(f"run recipes.starter.embedder: {error}")
    return captioner
