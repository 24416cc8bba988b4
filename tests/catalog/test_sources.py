from __future__ import annotations

import sys
import types
from pathlib import Path

import pytest

from polymodal.catalog.sources import find_weights
from polymodal.errors import DamagedWeights, ModelUnavailable
from tests.models.weights import write_model


def test_bytes_come_back_when_they_fit_the_manifest(tmp_path: Path) -> None:
    weights = find_weights(str(write_model(tmp_path, text__onnx=b"weights")))
    assert weights.read("embedder/text.onnx") == b"weights"
    assert weights.revision == "r1"


def test_a_flipped_bit_is_damage_that_names_the_file(tmp_path: Path) -> None:
    weights = find_weights(str(write_model(tmp_path, text__onnx=b"weights")))
    (tmp_path / "embedder/text.onnx").write_bytes(b"veights")
    with pytest.raises(DamagedWeights, match=r"embedder/text\.onnx is damaged"):
        weights.read("embedder/text.onnx")


def test_a_truncated_file_is_damage(tmp_path: Path) -> None:
    weights = find_weights(str(write_model(tmp_path, text__onnx=b"weights")))
    (tmp_path / "embedder/text.onnx").write_bytes(b"weig")
    with pytest.raises(DamagedWeights, match="of 4 bytes"):
        weights.read("embedder/text.onnx")


def test_a_missing_file_is_damage(tmp_path: Path) -> None:
    weights = find_weights(str(write_model(tmp_path, text__onnx=b"weights")))
    (tmp_path / "embedder/text.onnx").unlink()
    with pytest.raises(DamagedWeights, match=r"text\.onnx cannot be read \(No such file"):
        weights.read("embedder/text.onnx")


def test_only_the_file_that_is_read_is_checked(tmp_path: Path) -> None:
    weights = find_weights(str(write_model(tmp_path, text__onnx=b"t", image__onnx=b"i")))
    (tmp_path / "embedder/image.onnx").write_bytes(b"broken")
    assert weights.read("embedder/text.onnx") == b"t"


def test_a_file_that_the_manifest_does_not_list_is_not_used(tmp_path: Path) -> None:
    weights = find_weights(str(write_model(tmp_path)))
    (tmp_path / "embedder/text.onnx").write_bytes(b"unchecked")
    with pytest.raises(DamagedWeights, match=r"does not list embedder/text\.onnx"):
        weights.read("embedder/text.onnx")


@pytest.mark.parametrize("content", ["", "[]", '{"files": {}}', '{"revision": 1, "files": 3}'])
def test_a_broken_manifest_is_damage(tmp_path: Path, content: str) -> None:
    write_model(tmp_path)
    (tmp_path / "manifest.json").write_text(content)
    with pytest.raises(DamagedWeights, match=r"manifest\.json is not a weight manifest"):
        find_weights(str(tmp_path))


def test_a_folder_without_a_manifest_says_what_is_missing(tmp_path: Path) -> None:
    with pytest.raises(ModelUnavailable, match=r"has no manifest\.json"):
        find_weights(str(tmp_path))


def test_without_the_weight_package_the_command_is_named(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setitem(sys.modules, "polymodal_starter", None)
    with pytest.raises(ModelUnavailable, match="pip install polymodal-starter"):
        find_weights("starter")


def test_damage_in_the_weight_package_says_how_to_reinstall(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    module = types.ModuleType("polymodal_starter")
    module.root = lambda: write_model(tmp_path, text__onnx=b"x")  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, "polymodal_starter", module)
    weights = find_weights("starter")
    (tmp_path / "embedder/text.onnx").write_bytes(b"y")
    with pytest.raises(DamagedWeights, match="--force-reinstall"):
        weights.read("embedder/text.onnx")
