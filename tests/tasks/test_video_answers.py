"""Answers about videos held against frames: what fits, at which moment, and what is only said."""

from __future__ import annotations

import math
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

import polymodal as pm
from polymodal.results_answers import Evidence
from polymodal.tasks.grounding import anywhere
from tests.media.recordings import tone, write_video
from tests.tasks.pictures import marked, save
from tests.tasks.test_showing import HEARD, Hearing, blind

QUESTION = "What color is the wall?"


@pytest.fixture
def suite(tmp_path: Path) -> Hearing:
    silent = Hearing(pm.MockEmbedder(), home=tmp_path / "home")
    silent.said = ""
    return silent


@pytest.fixture(scope="module")
def clip(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Red, then blue, two seconds each, with a tone."""
    path = tmp_path_factory.mktemp("clips") / "clip.mp4"
    return write_video(path, [marked("red"), marked("blue")], sound=tone(4.0))


def named(name: str, answer: str, *, video: bool = False) -> pm.MockGenerator:
    """A model of its own name, so that the cache knows it for another."""
    generator = pm.MockGenerator([answer], name=f"{name} {answer}", max_media=20)
    if not video:
        generator.info = replace(generator.info, media=frozenset({"text", "image"}))
    return generator


def seen_in(answer: pm.Answer) -> Evidence:
    (found,) = [each for each in answer.evidence if each.source == "picture"]
    return found


@pytest.mark.parametrize("video", [False, True], ids=["as pictures", "as a video"])
def test_what_some_frame_shows_is_answered_and_the_time_named(
    suite: Hearing, clip: Path, *, video: bool
) -> None:
    first = suite.ask(clip, QUESTION, generator=named("a", "red", video=video))
    later = suite.ask(clip, QUESTION, generator=named("a", "It is blue.", video=video))
    assert (first.text, later.text) == ("red", "It is blue.")
    for found, begins_s in ((seen_in(first), 0.0), (seen_in(later), 2.0)):
        assert found.supports
        assert found.time_s is not None
        assert begins_s <= found.time_s < begins_s + 2.0
        assert f"fits the video at {found.time_s:.1f} s better than" in found.text


def test_what_no_frame_shows_is_not_sure(suite: Hearing, clip: Path) -> None:
    found = suite.ask(clip, QUESTION, generator=named("b", "green"))
    assert (found.abstained, found.guess) == (True, "green")
    assert seen_in(found).supports is False
    unchecked = suite.ask(clip, QUESTION, generator=named("b", "green"), grounded=False)
    assert unchecked.text == "green"


def test_a_statement_is_compared_with_every_frame(suite: Hearing, clip: Path) -> None:
    fits = suite.ask(clip, "What happens?", generator=named("c", "blue blue blue wall"))
    wrong = suite.ask(clip, "What happens?", generator=named("c", "green green green wall"))
    assert fits.confidence > wrong.confidence
    time_s = seen_in(fits).time_s
    assert time_s is not None
    assert time_s >= 2.0
    assert f"best at {time_s:.1f} s" in seen_in(fits).text


def test_a_video_that_does_not_move_is_judged_as_a_picture(suite: Hearing, tmp_path: Path) -> None:
    still = write_video(tmp_path / "still.mp4", [marked("red")], seconds_each=3.0)
    picture = save(marked("red"), tmp_path / "red.png")
    for answer in ("red", "red red wall"):
        both = [
            suite.ask(each, QUESTION, generator=named("d", answer), threshold=0)
            for each in (still, picture)
        ]
        assert both[0].confidence == pytest.approx(both[1].confidence, abs=0.02)


def test_what_is_said_is_not_refuted_by_frames(suite: Hearing, clip: Path) -> None:
    suite.said = HEARD
    held = suite.ask(clip, "What happens?", generator=named("e", HEARD))
    assert held.text == HEARD
    assert any(each.source == "text" and HEARD in each.text for each in held.evidence)
    reworded = suite.ask(clip, "Why is he angry?", generator=named("e", "his package broke"))
    silent = Hearing(pm.MockEmbedder(), home=suite.cache.path.parent / "other")  # type: ignore[union-attr]
    silent.said = ""
    alone = silent.ask(clip, "Why is he angry?", generator=named("e", "his package broke"))
    assert reworded.confidence > alone.confidence  # it may have been said in other words
    color = suite.ask(clip, QUESTION, generator=named("e", "green"))
    assert color.abstained  # nobody says so, and no frame shows it


def test_a_model_without_eyes_is_held_against_speech_alone(suite: Hearing, clip: Path) -> None:
    suite.said = HEARD
    found = suite.ask(clip, "What happens?", generator=blind(HEARD))
    assert [each.source for each in found.evidence] == ["model", "text"]


def test_frames_are_embedded_once_for_several_questions(suite: Hearing, clip: Path) -> None:
    embedder = suite.embedder()
    suite.ask(clip, [QUESTION, "Is there a wall?", "What happens?"], generator=named("f", "red"))
    assert embedder.images_seen == 8  # type: ignore[attr-defined]


def test_a_no_names_no_time(suite: Hearing, clip: Path) -> None:
    found = suite.ask(clip, "Is there a dog?", generator=named("g", "no"), threshold=0)
    assert seen_in(found).time_s is None


def test_evidence_with_a_time_survives_json_and_the_cache(suite: Hearing, clip: Path) -> None:
    one, two = (suite.ask(clip, QUESTION, generator=named("h", "red")) for _ in range(2))
    assert one == two
    (evidence,) = [each for each in one.evidence if each.time_s is not None]
    assert Evidence.from_dict(evidence.to_dict()) == evidence


def test_the_odds_of_several_pictures_are_their_mean() -> None:
    one = np.array([[0.3, -2.0]])
    np.testing.assert_array_equal(anywhere(one), one[0])
    np.testing.assert_allclose(anywhere(np.repeat(one, 8, axis=0)), one[0])
    odds = np.array([0.5, 3.0, 0.01])
    assert float(anywhere(np.log(odds))) == pytest.approx(math.log(odds.mean()))
