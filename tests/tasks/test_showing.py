"""What a generator is shown of documents, videos and recordings, and how answers are checked."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

import polymodal as pm
from polymodal.media.limits import DEFAULT_LIMITS
from polymodal.media.video import sample_frames
from polymodal.models.mock import COLOURS
from polymodal.results import Provenance
from polymodal.results_documents import Line, PageInfo, Reading
from polymodal.results_speech import SpeechSegment, Transcript
from polymodal.tasks.showing import kind_of_media
from tests.media.recordings import tone, write_sound, write_video
from tests.tasks.pictures import marked, save

HEARD = "the parcel arrived broken"


class Hearing(pm.Suite):
    """A suite that hears one sentence in everything, and reads one line from every document."""

    said: str = HEARD

    def transcribe(self, source: Any, **_: Any) -> Any:
        segments = (SpeechSegment(0.0, 1.0, self.said, 0.9),) if self.said else ()
        return Transcript(str(source), "en", 1.0, self.said, segments, 1.0, Provenance("ear", "1"))

    def read(self, documents: Any) -> Any:
        line = Line("TOTAL 12.50", (0.0, 0.0, 9.0, 9.0), 0.9, 1)
        return Reading(str(documents), (line,), (PageInfo(1, 9, 9),), Provenance("reader", "1"))


def blind(answer: str) -> pm.MockGenerator:
    """A model that takes text alone."""
    generator = pm.MockGenerator([answer])
    generator.info = replace(generator.info, media=frozenset({"text"}), max_media=0)
    return generator


def seeing(answer: str, max_media: int = 20) -> pm.MockGenerator:
    """A model that takes text and pictures."""
    generator = pm.MockGenerator([answer], max_media=max_media)
    generator.info = replace(generator.info, media=frozenset({"text", "image"}))
    return generator


@pytest.fixture
def suite(tmp_path: Path) -> Hearing:
    return Hearing(pm.MockEmbedder(), home=tmp_path / "home")


@pytest.fixture(scope="module")
def clip(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Red, then blue, two seconds each, with a tone."""
    path = tmp_path_factory.mktemp("clips") / "clip.mp4"
    return write_video(path, [marked("red"), marked("blue")], sound=tone(4.0))


@pytest.fixture(scope="module")
def call(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_sound(tmp_path_factory.mktemp("calls") / "call.wav", tone(1.0))


@pytest.fixture
def pages(tmp_path: Path) -> Path:
    """A PDF of three pages, each of one colour."""
    path = tmp_path / "pages.pdf"
    first, *others = [marked(name, side=200) for name in ("red", "green", "blue")]
    first.save(path, save_all=True, append_images=others)
    return path


def colours(generator: pm.MockGenerator) -> list[str]:
    """Of the pictures and frames of the last conversation."""
    parts = [part for message in generator.seen[-1][0] for part in message.parts]
    pictures = [part.image for part in parts if isinstance(part, pm.ImagePart)]
    pictures += [f for part in parts if isinstance(part, pm.VideoPart) for f in part.frames]
    palette = np.array(list(COLOURS.values()), np.float32)
    means = [np.asarray(each.convert("RGB"), np.float32).mean((0, 1)) for each in pictures]
    return [list(COLOURS)[int(((palette - mean) ** 2).sum(1).argmin())] for mean in means]


def words(generator: pm.MockGenerator) -> str:
    return generator.seen[-1][0][-1].text


def test_what_a_file_is_is_told_by_its_content(
    clip: Path, call: Path, pages: Path, tmp_path: Path
) -> None:
    red = save(marked("red"), tmp_path / "red.png")
    found = [kind_of_media(each) for each in (clip, call, pages, red, marked("red"))]
    assert found == ["video", "recording", "document", "picture", "picture"]
    assert kind_of_media(clip.read_bytes()) == "video"
    assert kind_of_media(call.read_bytes()) == "recording"
    disguised = tmp_path / "clip.jpg"
    disguised.write_bytes(pages.read_bytes())
    assert kind_of_media(disguised) == "document"
    assert kind_of_media(tmp_path / "gone.mp4") == "picture"  # opening it says that it is gone


def test_a_video_is_frames_with_times_and_what_is_said(suite: Hearing, clip: Path) -> None:
    generator = seeing("a red wall")
    found = suite.ask(clip, "What happens?", generator=generator, threshold=0)
    assert found.text == "a red wall"
    seen = colours(generator)
    assert (len(seen), seen[0], seen[-1]) == (8, "red", "blue")
    said = words(generator)
    assert "The video at 0.0 s:" in said
    assert "The video at 2.0 s:" in said
    assert f"[0.0 s] {HEARD}" in said
    assert said.index(HEARD) < said.index("What happens?")
    assert "Answer the question about the video" in generator.seen[0][0][0].text


def test_a_model_that_takes_videos_gets_one(suite: Hearing, clip: Path) -> None:
    generator = pm.MockGenerator(["a red wall"])
    suite.ask(clip, "What happens?", generator=generator, threshold=0)
    (video,) = [p for p in generator.seen[0][0][-1].parts if isinstance(p, pm.VideoPart)]
    assert len(video.frames) == len(video.times_s) == 16
    assert list(video.times_s) == sorted(video.times_s)
    assert set(colours(generator)) == {"red", "blue"}


def test_frames_leave_room_for_examples(suite: Hearing, clip: Path) -> None:
    generator = seeing("a red wall", max_media=6)
    examples = [(marked("green"), "What is this?", "a green wall")]
    suite.ask(clip, "What happens?", generator=generator, examples=examples, threshold=0)
    assert len(colours(generator)) == 6


def test_a_recording_is_what_is_said_in_it(suite: Hearing, call: Path) -> None:
    generator = seeing("the parcel arrived broken")
    found = suite.ask(call, "What does the caller say?", generator=generator, threshold=0)
    assert HEARD in words(generator)
    assert "what the recording says" in generator.seen[0][0][0].text
    assert any(HEARD in each.text and each.supports for each in found.evidence)
    suite.said = ""
    with pytest.raises(pm.UnsupportedMedia, match="nobody speaks in it"):
        suite.ask(call, "What does the caller say?", generator=generator)


def test_a_model_that_hears_gets_the_sound(suite: Hearing, call: Path) -> None:
    generator = pm.MockGenerator(["a tone"])
    found = suite.ask(call, "What is heard?", generator=generator, threshold=0)
    (sound,) = [p for p in generator.seen[0][0][-1].parts if isinstance(p, pm.AudioPart)]
    assert (sound.rate_hz, sound.samples.size) == (16_000, 16_000)
    assert any(each.source == "missing" for each in found.evidence)


def test_a_document_is_its_pages(suite: Hearing, pages: Path) -> None:
    generator = seeing("three walls")
    found = suite.ask(pages, "What is on these pages?", generator=generator, threshold=0)
    assert colours(generator) == ["red", "green", "blue"]
    assert all(
        max(p.image.size) <= 32 for p in generator.seen[0][0][-1].parts if hasattr(p, "image")
    )
    generator = seeing("two walls", max_media=2)
    found = suite.ask(pages, "What is on these pages?", generator=generator, threshold=0)
    assert colours(generator) == ["red", "green"]
    assert any("only the first 2 page(s)" in each.text for each in found.evidence)


def test_a_model_without_eyes_reads_and_hears(suite: Hearing, pages: Path, clip: Path) -> None:
    generator = blind("12.50")
    found = suite.ask(pages, "What is the total?", generator=generator)
    assert "TOTAL 12.50" in words(generator)
    assert found.text == "12.50"
    suite.ask(clip, "What happens?", generator=generator, threshold=0)
    assert HEARD in words(generator)
    suite.said = ""
    with pytest.raises(pm.UnsupportedMedia, match="takes no pictures, and nobody speaks"):
        suite.ask(clip, "What happens?", generator=generator)


def test_without_a_generator_a_video_is_refused_with_what_to_do(clip: Path, tmp_path: Path) -> None:
    from tests.tasks.test_ask import Teller

    with pytest.raises(pm.UnsupportedMedia, match=r"is a video, .* use a model that writes"):
        pm.Suite(Teller(), home=tmp_path).ask(clip, "What happens?")


def test_extract_shows_the_pages_beside_the_text(suite: Hearing, pages: Path) -> None:
    from polymodal.tasks.extract import Extractor
    from polymodal.tasks.schemas import as_schema
    from polymodal.tasks.showing import Shower

    schema = as_schema({"type": "object", "properties": {"total": {"type": "string"}}})
    generator = seeing('{"total": "12.50"}')
    shower = Shower(generator.info, DEFAULT_LIMITS)
    extractor = Extractor(schema, None, Provenance("x", "1"), generator, shower=shower)  # type: ignore[arg-type]
    found = extractor.fill(suite.read(pages), pages)
    assert found.data == {"total": "12.50"}
    assert colours(generator) == ["red", "green", "blue"]
    assert "TOTAL 12.50" in words(generator)


def test_frames_of_a_long_video_are_found_without_reading_all_of_it(tmp_path: Path) -> None:
    names = ["red", "green", "blue", "yellow"]
    path = write_video(
        tmp_path / "long.mp4", [marked(name) for name in names], seconds_each=40.0, fps=2
    )
    frames, length_s = sample_frames(path, 4, side_px=40)
    assert length_s == pytest.approx(160.0, abs=1.0)
    assert [round(each.time_s / 40) for each in frames] == [0, 1, 2, 3]
    means = [np.asarray(each.image, np.float32).mean((0, 1)) for each in frames]
    palette = np.array([COLOURS[name] for name in names], np.float32)
    assert [int(((palette - mean) ** 2).sum(1).argmin()) for mean in means] == [0, 1, 2, 3]


def test_a_short_video_gives_each_frame_once(tmp_path: Path) -> None:
    path = write_video(tmp_path / "short.mp4", [Image.new("RGB", (160, 120))], seconds_each=0.3)
    frames, _ = sample_frames(path, 8, side_px=40)
    assert len({each.time_s for each in frames}) == len(frames) == 3
