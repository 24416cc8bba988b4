from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from PIL import Image, ImageOps
from safetensors import safe_open
from safetensors.numpy import save_file
from scipy.stats import binomtest

from polymodal.errors import SpaceMismatch, UsageError
from polymodal.media.pictures import DEFAULT_LIMITS
from polymodal.models.mock import MockEmbedder
from polymodal.models.protocols import CloseLook
from polymodal.results import Classification
from polymodal.tasks import probe as module
from polymodal.tasks.classify import Decision
from polymodal.tasks.probe import Probe, classify_with_probe, train_probe
from tests.tasks.close import CloseMock
from tests.tasks.pictures import plain, save


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    for colour in ("red", "blue", "green"):
        for seed in range(6):
            save(plain(colour, seed), tmp_path / "photos" / colour / f"{seed}.png")
    return tmp_path / "photos"


@pytest.fixture
def probe(folder: Path) -> Probe:
    return train_probe(MockEmbedder(), folder, limits=DEFAULT_LIMITS)


def first(
    probe: Probe,
    picture: object,
    unknown: float | None = None,
    model: MockEmbedder | None = None,
) -> Classification:
    stream = classify_with_probe(
        model or MockEmbedder(),
        [picture],  # type: ignore[list-item]
        probe,
        Decision(unknown=unknown),
        limits=DEFAULT_LIMITS,
    )
    ((_, outcome),) = stream
    assert isinstance(outcome, Classification)
    return outcome


def test_a_folder_a_class_becomes_a_classifier(probe: Probe) -> None:
    assert probe.labels == ("blue", "green", "red")
    assert probe.report.images == {"blue": 6, "green": 6, "red": 6}
    assert probe.report.accuracy == 1.0
    result = first(probe, plain("green", 99))
    assert result.label == "green"
    assert result.score > 0.8
    assert sum(result.scores.values()) == pytest.approx(1)


def test_pictures_without_a_folder_become_a_classifier() -> None:
    pictures = {name: [plain(name, seed) for seed in range(3)] for name in ("red", "blue")}
    trained = train_probe(MockEmbedder(), pictures, limits=DEFAULT_LIMITS)
    assert first(trained, plain("blue", 9)).label == "blue"


def test_the_interval_is_wilson_s(folder: Path) -> None:
    for seed in range(6):  # pictures in the wrong folder, so that some are wrong
        save(plain("blue", 50 + seed), folder / "red" / f"wrong{seed}.png")
    report = train_probe(MockEmbedder(), folder, limits=DEFAULT_LIMITS).report
    assert 0 < report.accuracy < 1
    right = round(report.accuracy * 24)
    reference = binomtest(right, 24).proportion_ci(0.95, method="wilson")
    assert report.interval == pytest.approx((reference.low, reference.high), abs=1e-5)


def test_saved_and_loaded_it_is_the_same(probe: Probe, tmp_path: Path) -> None:
    path = probe.save(tmp_path / "colours.probe")
    loaded = Probe.load(path)
    assert loaded.labels == probe.labels
    assert loaded.space == probe.space
    assert loaded.report == probe.report
    assert loaded.temperature == probe.temperature
    np.testing.assert_array_equal(loaded.weights, probe.weights)
    assert list(tmp_path.glob(".*part")) == []


def test_the_file_is_plain_safetensors(probe: Probe, tmp_path: Path) -> None:
    with safe_open(str(probe.save(tmp_path / "p")), framework="numpy") as opened:
        assert set(opened.keys()) == {"weights", "bias"}
        assert opened.metadata()["labels"] == '["blue", "green", "red"]'


def test_another_model_is_a_space_mismatch(probe: Probe) -> None:
    with pytest.raises(SpaceMismatch, match="Train it again"):
        probe.check(MockEmbedder("other"))
    probe.check(MockEmbedder())


def test_another_revision_of_the_model_is_not_offered_as_the_remedy(probe: Probe) -> None:
    older = replace(probe, space=replace(probe.space, revision="older"))
    with pytest.raises(SpaceMismatch, match="another revision") as caught:
        older.check(MockEmbedder())
    assert "classify with -m" not in str(caught.value)


def test_a_broken_picture_is_left_out_and_reported(folder: Path) -> None:
    (folder / "red" / "broken.jpg").write_bytes(b"\xff\xd8\xff not a jpeg")
    report = train_probe(MockEmbedder(), folder, limits=DEFAULT_LIMITS).report
    assert report.images["red"] == 6
    assert [Path(error.input).name for error in report.errors] == ["broken.jpg"]


def test_hidden_folders_and_loose_files_are_no_classes(folder: Path) -> None:
    save(plain("pink"), folder / ".cache" / "x.png")
    save(plain("pink"), folder / "loose.png")
    assert len(train_probe(MockEmbedder(), folder, limits=DEFAULT_LIMITS).labels) == 3


def test_below_the_unknown_threshold_there_is_no_label(probe: Probe) -> None:
    half = np.concatenate([np.asarray(plain("red")), np.asarray(plain("blue"))])
    assert first(probe, half, unknown=0.95).label is None


@pytest.mark.parametrize(
    ("counts", "complaint"),
    [
        ({}, r"two or more classes; it has 0\."),
        ({"red": 4}, r"two or more classes; it has 1 \(red\)\."),
        ({"red": 4, "blue": 1}, r"too few in blue \(1\)"),
        ({"red": 4, "blue": 0}, r"too few in blue \(0\)"),
    ],
)
def test_too_little_to_learn_from_is_explained(
    tmp_path: Path, counts: dict[str, int], complaint: str
) -> None:
    for colour, count in counts.items():
        (tmp_path / colour).mkdir()
        for seed in range(count):
            save(plain(colour, seed), tmp_path / colour / f"{seed}.png")
    with pytest.raises(UsageError, match=complaint):
        train_probe(MockEmbedder(), tmp_path, limits=DEFAULT_LIMITS)


def test_a_class_of_broken_pictures_says_why(folder: Path) -> None:
    for path in (folder / "red").iterdir():
        path.write_bytes(b"")
    with pytest.raises(UsageError, match=r"red \(0\); 6 could not be opened, first: is empty"):
        train_probe(MockEmbedder(), folder, limits=DEFAULT_LIMITS)


def test_something_that_is_no_folder_is_refused(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="is not a folder"):
        train_probe(MockEmbedder(), tmp_path / "nowhere", limits=DEFAULT_LIMITS)


def test_a_missing_probe_file_names_the_command(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="polymodal probe DIR"):
        Probe.load(tmp_path / "none")


def test_a_file_that_is_no_probe_is_refused(tmp_path: Path) -> None:
    (tmp_path / "text").write_text("hello")
    with pytest.raises(UsageError, match="not a readable probe"):
        Probe.load(tmp_path / "text")
    save_file({"weights": np.zeros(3, np.float32)}, tmp_path / "other")
    with pytest.raises(UsageError, match="but not a probe"):
        Probe.load(tmp_path / "other")


def test_a_folder_that_does_not_exist_cannot_be_written_to(probe: Probe, tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=r"cannot be written to .*No such file"):
        probe.save(tmp_path / "nowhere" / "p")


def test_a_closer_look_is_taken_where_there_is_one_and_kept_in_the_file(
    folder: Path, tmp_path: Path
) -> None:
    trained = train_probe(CloseMock(), folder, limits=DEFAULT_LIMITS)
    loaded = Probe.load(trained.save(tmp_path / "p"))
    assert loaded.look == trained.look == CloseLook(64, 2)
    assert loaded.weights.shape == (6, 3)
    assert first(loaded, plain("green", 99), model=CloseMock()).label == "green"


def test_a_closer_look_cannot_tell_a_picture_from_its_mirror_image(folder: Path) -> None:
    picture = Image.new("RGB", (64, 64), "red")
    picture.paste((0, 0, 255), (32, 0, 64, 64))
    pictures = {"a": [picture, plain("green")], "b": [ImageOps.mirror(picture), plain("green")]}
    trained = train_probe(CloseMock(), pictures, limits=DEFAULT_LIMITS)
    assert np.abs(trained.weights).max() < 1e-6


def test_a_probe_file_without_a_look_sees_what_an_embedding_sees(
    probe: Probe, tmp_path: Path
) -> None:
    with safe_open(str(probe.save(tmp_path / "old")), framework="numpy") as opened:
        assert set(opened.metadata()) == {"format", "labels", "space", "temperature", "report"}
    old = Probe.load(tmp_path / "old")
    old.check(CloseMock())
    assert old.look is None
    assert first(old, plain("green", 9), model=CloseMock()) == first(probe, plain("green", 9))


def test_a_probe_that_looks_otherwise_than_the_model_is_refused(folder: Path) -> None:
    trained = train_probe(CloseMock(), folder, limits=DEFAULT_LIMITS)
    trained.check(CloseMock())
    with pytest.raises(UsageError, match=r"looks at 96 px in 2 x 2 cells, and mock looks at 64 px"):
        replace(trained, look=CloseLook(96, 2)).check(CloseMock())
    with pytest.raises(UsageError, match="mock has no closer look"):
        trained.check(MockEmbedder())


def test_a_file_with_half_a_look_is_refused(folder: Path, tmp_path: Path) -> None:
    trained = train_probe(CloseMock(), folder, limits=DEFAULT_LIMITS)
    content = trained.save(tmp_path / "p").read_bytes()
    named = content.replace(b"image_size_px", b"image_size_qx")
    assert named != content
    (tmp_path / "p").write_bytes(named)
    with pytest.raises(UsageError, match="p is not a readable probe"):
        Probe.load(tmp_path / "p")


def test_many_pictures_are_not_looked_at_closely(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert train_probe(CloseMock(), folder, limits=DEFAULT_LIMITS).look is not None
    monkeypatch.setattr(module, "MOST_CLOSE", 17)
    many = train_probe(CloseMock(), folder, limits=DEFAULT_LIMITS)
    assert many.look is None
    assert many.weights.shape == (28, 3)
