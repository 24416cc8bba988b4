from __future__ import annotations

import io
from importlib.metadata import EntryPoint, EntryPoints
from pathlib import Path

import numpy as np
import pytest

from polymodal.catalog.opening import known_models, open_embedder
from polymodal.errors import DamagedWeights, ModelUnavailable, UsageError
from polymodal.models.mock import MockEmbedder
from polymodal.models.protocols import ModelRequest
from polymodal.models.starter import StarterEmbedder
from tests.models.weights import CARD, write_model


def build(request: ModelRequest) -> MockEmbedder:
    """What a plugin's entry point calls."""
    return MockEmbedder(f"{request.family}/{request.variant}")


def build_nothing(request: ModelRequest) -> str:
    """A plugin's mistake."""
    return request.name


@pytest.fixture
def plugins(monkeypatch: pytest.MonkeyPatch) -> None:
    points = [
        EntryPoint("colours", f"{__name__}:build", "polymodal.models"),
        EntryPoint("broken", f"{__name__}:build_nothing", "polymodal.models"),
    ]
    monkeypatch.setattr(
        "importlib.metadata.entry_points", lambda *, group: EntryPoints(points).select(group=group)
    )


def test_a_folder_is_opened_without_reading_its_towers(tmp_path: Path) -> None:
    embedder = open_embedder(str(write_model(tmp_path)), device="cpu")
    assert embedder.space.model == "tiny"
    assert embedder.space.revision == "r1"
    assert embedder.space.preprocessing == "squash bicubic 16 px"
    assert embedder.image_size_px == 16


def test_preprocessing_and_revision_are_part_of_the_fingerprint(tmp_path: Path) -> None:
    first = open_embedder(str(write_model(tmp_path / "a"))).space
    card = CARD.replace("squash", "pad")
    second = open_embedder(str(write_model(tmp_path / "b", card))).space
    assert first.fingerprint != second.fingerprint


def test_labels_are_judged_as_descriptions_where_the_card_says_nothing_else(
    tmp_path: Path,
) -> None:
    embedder = open_embedder(str(write_model(tmp_path / "a")))
    assert isinstance(embedder, StarterEmbedder)
    assert embedder.calibration.unknown_bias == -3.0
    card = CARD.replace("[scores]", "unknown_bias = -5.0\n[scores]")
    other = open_embedder(str(write_model(tmp_path / "b", card)))
    assert isinstance(other, StarterEmbedder)
    assert (other.calibration.unknown_scale, other.calibration.unknown_bias) == (10, -5)


def _npy(array: np.ndarray) -> bytes:
    file = io.BytesIO()
    np.save(file, array, allow_pickle=True)
    return file.getvalue()


def test_everyday_things_come_from_their_file(tmp_path: Path) -> None:
    card = CARD.replace("[scores]", "[everyday]\nnearest = 2\n[scores]")
    things = np.eye(3, 8, dtype=np.float16)
    embedder = open_embedder(str(write_model(tmp_path / "a", card, everyday__npy=_npy(things))))
    assert isinstance(embedder, StarterEmbedder)
    assert embedder.calibration.everyday_nearest == 2
    assert embedder.calibration.everyday is not None
    np.testing.assert_array_equal(embedder.calibration.everyday, things)
    for mistake in (np.eye(3, 7), np.array([{}])):
        damaged = open_embedder(str(write_model(tmp_path / "b", card, everyday__npy=_npy(mistake))))
        assert isinstance(damaged, StarterEmbedder)
        with pytest.raises(DamagedWeights, match=r"everyday\.npy"):
            damaged.calibration.everyday  # noqa: B018 - reading it is what fails


def test_a_card_without_calibration_is_damage(tmp_path: Path) -> None:
    card = CARD.replace("match_bias = -3.0", "")
    with pytest.raises(DamagedWeights, match=r"\[calibration\] has no 'match_bias'"):
        open_embedder(str(write_model(tmp_path, card)))


def test_a_wrong_name_suggests_the_nearest() -> None:
    with pytest.raises(ModelUnavailable, match=r"no model is called 'startr'.*mean 'starter'"):
        open_embedder("startr")


def test_a_wrong_path_says_that_it_is_not_there() -> None:
    with pytest.raises(ModelUnavailable, match=r"the folder \./nowhere \(not there\)"):
        open_embedder("./nowhere")


def test_a_wrong_device_is_refused() -> None:
    with pytest.raises(UsageError, match="device 'tpu' is not known"):
        open_embedder("starter", device="tpu")  # type: ignore[arg-type]


@pytest.mark.usefixtures("plugins")
def test_a_plugin_family_is_opened_by_name_and_variant() -> None:
    assert open_embedder("colours:bright").space.model == "colours/bright"
    assert known_models() == ["broken", "colours", "starter"]


@pytest.mark.usefixtures("plugins")
def test_a_plugin_that_returns_no_embedder_is_named() -> None:
    with pytest.raises(UsageError, match=r"plugin 'broken'.*returned str"):
        open_embedder("broken")


@pytest.mark.usefixtures("plugins")
def test_plugins_are_among_the_suggestions() -> None:
    with pytest.raises(ModelUnavailable, match="mean 'colours'"):
        open_embedder("colors")
