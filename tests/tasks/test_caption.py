"""The verb caption: results in order, failures in place, cache and journal; on the real starter."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
import skimage.data
from PIL import Image

import polymodal as pm
from polymodal.models.captioner import StarterCaptioner
from polymodal.models.describing import Sight
from polymodal.models.protocols import Pixels
from polymodal.tasks.caption import CaptionOptions
from tests.models.weights import captioner_or_skip
from tests.tasks.pictures import save


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("photographs")
    for name in ("astronaut", "chelsea", "coffee"):
        Image.fromarray(getattr(skimage.data, name)()).save(root / f"{name}.png")
    return root


@pytest.fixture
def looked(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """How many pictures each pass of the image tower had."""
    captioner_or_skip()
    seen: list[int] = []
    original = StarterCaptioner.look

    def look(self: StarterCaptioner, batch: Sequence[Pixels]) -> list[Sight]:
        seen.append(len(batch))
        return original(self, batch)

    monkeypatch.setattr(StarterCaptioner, "look", look)
    return seen


def test_the_fit_of_a_caption_is_what_match_says_of_it(folder: Path, tmp_path: Path) -> None:
    captioner_or_skip()
    suite = pm.Suite(home=tmp_path)
    for name in ("astronaut", "coffee"):
        for found in (suite.caption(folder / f"{name}.png") for _ in range(2)):  # then cached
            probability = suite.match(folder / f"{name}.png", found.text).probability
            assert found.fit == pytest.approx(probability, abs=0.02)


def test_one_picture_gives_one_caption_with_its_origin(folder: Path, tmp_path: Path) -> None:
    captioner = captioner_or_skip()
    found = pm.Suite(home=tmp_path).caption(folder / "astronaut.png", candidates=3)
    assert found.text == found.candidates[0].text
    assert found.score == found.candidates[0].score
    assert 0 < found.score <= 1
    assert len(found.candidates) == 3
    assert found.input.endswith("astronaut.png")
    assert found.provenance == captioner.provenance
    direct = captioner.look([captioner.preprocess(Image.open(folder / "astronaut.png"))])
    assert [said.text for said in captioner.caption(direct, candidates=3)[0]] == [
        each.text for each in found.candidates
    ]


def test_a_damaged_picture_fails_alone(folder: Path, tmp_path: Path, looked: list[int]) -> None:
    broken = tmp_path / "broken.png"
    broken.write_bytes((folder / "coffee.png").read_bytes()[:5000])
    inputs = [folder / "coffee.png", broken, tmp_path / "gone.png", folder / "chelsea.png"]
    found = pm.Suite(home=tmp_path).caption(inputs)
    assert [type(item) for item in found] == [pm.Caption, pm.ItemError, pm.ItemError, pm.Caption]
    assert [item.input for item in found] == [str(path) for path in inputs]
    assert looked == [2]
    with pytest.raises(pm.MediaNotFound):
        pm.Suite(home=tmp_path).caption(tmp_path / "gone.png")


def test_a_second_run_looks_at_nothing_and_says_the_same(
    folder: Path, tmp_path: Path, looked: list[int]
) -> None:
    inputs = sorted(folder.iterdir())
    first = pm.Suite(home=tmp_path).caption(inputs, candidates=2)
    assert looked == [3]
    assert pm.Suite(home=tmp_path).caption(inputs, candidates=2) == first
    assert looked == [3]
    pm.Suite(home=tmp_path).caption(inputs, style="short")  # other parameters, other results
    assert looked == [3, 3]


def test_without_a_cache_the_same_is_computed_again(
    folder: Path, tmp_path: Path, looked: list[int]
) -> None:
    suite = pm.Suite(home=tmp_path, cache=False)
    first, again = (suite.caption(folder / "coffee.png") for _ in range(2))
    assert looked == [1, 1]
    assert first == again


def test_every_computed_caption_is_in_the_journal(folder: Path, tmp_path: Path) -> None:
    captioner_or_skip()
    suite = pm.Suite(home=tmp_path)
    found = suite.caption(sorted(folder.iterdir()))
    suite.caption(sorted(folder.iterdir()))  # from the cache: no call
    assert suite.journal is not None
    calls = suite.journal.calls(verb="caption")
    assert [call.output for call in calls] == [
        item.text for item in found if isinstance(item, pm.Caption)
    ]
    assert {call.revision for call in calls} == {suite.captioner().provenance.revision}
    assert all(len(call.inputs[0]["sha256"]) == 64 for call in calls)


def test_an_iterator_of_pictures_is_captioned_lazily(folder: Path, tmp_path: Path) -> None:
    captioner_or_skip()
    stream = pm.Suite(home=tmp_path).caption(iter(sorted(folder.iterdir())))
    first = next(stream)
    assert isinstance(first, pm.Caption)
    assert len(list(stream)) == 2


@pytest.mark.parametrize(
    ("options", "reason"),
    [
        ({"style": "long"}, "style 'long'"),
        ({"candidates": 0}, "1 to 20"),
        ({"candidates": 21}, "1 to 20"),
        ({"about": "x" * 1001}, "1001 characters"),
        ({"about": "dog", "style": "short"}, "leave one of them out"),
    ],
)
def test_options_that_cannot_be_used_are_refused_before_anything_loads(
    options: dict[str, object], reason: str
) -> None:
    with pytest.raises(pm.UsageError, match=reason):
        CaptionOptions(**options)  # type: ignore[arg-type]


def test_a_model_without_a_captioner_is_named(tmp_path: Path) -> None:
    with pytest.raises(pm.ModelUnavailable, match="has no captioner"):
        pm.Suite(pm.MockEmbedder(), home=tmp_path).caption("p.jpg")


@pytest.mark.parametrize("options", [{}, {"about": "a red car"}, {"candidates": 3}])
def test_a_blank_picture_fails_alone_and_leaves_nothing_behind(
    folder: Path, looked: list[int], tmp_path: Path, options: dict[str, Any]
) -> None:
    page = save(Image.new("RGB", (300, 400), "white"), tmp_path / "page.png")
    suite = pm.Suite(home=tmp_path / "home")
    for _ in range(2):
        found = suite.caption([page, folder / "coffee.png", page], **options)
        assert [type(each).__name__ for each in found] == ["ItemError", "Caption", "ItemError"]
        assert isinstance(found[0], pm.ItemError)
        assert (found[0].input, found[0].kind) == (str(page), "BlankPicture")
        assert found[0].reason == "is blank (one even color, #ffffff): there is nothing to describe"
    assert looked == [1]
    assert suite.journal is not None
    assert [call.inputs[0]["name"] for call in suite.journal.calls()] == [
        str(folder / "coffee.png")
    ]
    with pytest.raises(pm.BlankPicture, match=r"page\.png: is blank"):
        suite.caption(page, **options)
