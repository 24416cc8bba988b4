"""The demo: it runs, its page holds every step, and the commands it shows are real."""

import re
import shlex
import shutil

import pytest
from PIL import Image

from polymodal.cli.demo_receipt import can_read
from polymodal.cli.demo_speech import can_listen
from tests.models.weights import captioner_or_skip

pytest.importorskip("skimage", reason="the demo extra is not installed")
pytest.importorskip("sklearn", reason="the demo extra is not installed")


@pytest.fixture(scope="module")
def drawn(tmp_path_factory):
    """The demo's pictures, which take seconds to draw."""
    from polymodal.cli.demo_data import prepare

    return prepare(tmp_path_factory.mktemp("drawn") / "demo-out").root


@pytest.fixture
def demo(polymodal, tmp_path, drawn):
    """The first run, on the mock model."""
    shutil.copytree(drawn, tmp_path / "demo-out")
    ran = polymodal("demo")
    assert ran.code == 0, ran
    return ran


def test_the_page_has_a_section_a_step_and_pictures(demo, tmp_path):
    page = (tmp_path / "demo-out" / "index.html").read_text()
    assert page.count("<section") == 7 + 2 * can_listen() + can_read()
    assert page.count("data:image/jpeg") > 40
    assert str(tmp_path / "demo-out" / "index.html") in demo.stdout


def test_at_least_twelve_photographs_are_real(demo, tmp_path):
    photos = list((tmp_path / "demo-out" / "pictures" / "photos").iterdir())
    assert len(photos) >= 12
    for path in photos:
        with Image.open(path) as image:
            assert min(image.size) >= 200


def test_the_commands_shown_do_what_the_demo_did(demo, polymodal):
    commands = re.findall(r"^\$ polymodal (.*)$", demo.stdout, re.MULTILINE)
    assert [line.split()[0] for line in commands] == [
        *("add", "search", "search", "search", "search"),
        *(["search"] if can_listen() else []),
        *("classify", "moderate", "add", "duplicates"),
        *(["read", "extract"] if can_read() else []),
        *(["watch"] if can_listen() else []),
    ]
    for line in commands:
        # The reader of text is no model that could be mocked.
        ran = polymodal(*shlex.split(line), mock=line.split()[0] not in {"read", "extract"})
        assert ran.code == 0, line
        if not line.startswith("add"):
            assert ran.stdout in demo.stdout, line


def test_a_price_in_words_is_shown_as_a_filter(demo, tmp_path):
    assert "note: price < 2000" in demo.stdout
    assert "price &lt; 2000" in (tmp_path / "demo-out" / "index.html").read_text()


def test_a_second_run_reuses_what_is_there(demo, polymodal):
    again = polymodal("demo", "--json")
    assert again.code == 0
    (line,) = again.lines
    assert set(line) == {"page", "collection", "items", "seconds"}
    assert line["items"] >= 36
    assert "already there" in polymodal("demo").stdout


def test_a_run_with_another_model_moves_the_collections(demo, polymodal):
    ran = polymodal("demo", "-m", "mock:2", mock=False)
    assert ran.code == 0, ran
    assert "polymodal add" in ran.stdout


def test_without_its_photographs_the_demo_says_what_to_install(polymodal, monkeypatch):
    monkeypatch.setattr("polymodal.cli.demo_data.find_spec", lambda name: None)
    ran = polymodal("demo")
    assert ran.code == 3
    assert "pip install" in ran.stderr


@pytest.mark.skipif(not can_listen(), reason="the extra `speech` is not installed")
def test_the_spoken_query_is_heard_and_the_video_has_its_scenes(demo, tmp_path):
    assert "note: heard: a cup of coffee" in demo.stdout.lower()
    assert "clip.mp4#t=6.000,9.000" in (tmp_path / "demo-out" / "index.html").read_text()
    assert (tmp_path / "demo-out" / "clip.mp4").stat().st_size < 1_000_000


@pytest.mark.skipif(not can_read(), reason="the extra `documents` is not installed")
def test_the_receipt_is_read_into_fields_that_the_page_shows_in_their_places(demo, tmp_path):
    for name, value in (("date", "14/06/2025"), ("total", "32.75")):
        assert re.search(rf"^{name} +{value} \(\d\.\d\d\)", demo.stdout, re.MULTILINE)
    page = (tmp_path / "demo-out" / "index.html").read_text()
    assert ">total</text>" in page
    assert "<td>32.75</td>" in page


def test_without_the_extra_the_receipt_is_left_out_in_a_line(
    polymodal, monkeypatch, tmp_path, drawn
):
    shutil.copytree(drawn, tmp_path / "demo-out")
    monkeypatch.setattr("polymodal.cli.demo_receipt.can_read", lambda: False)
    ran = polymodal("demo")
    assert ran.code == 0
    assert "polymodal[documents]" in ran.stderr
    assert "receipt" not in ran.stdout


def test_the_starter_is_asked_and_says_where_it_is_not_sure(polymodal, tmp_path, drawn):
    captioner_or_skip()
    shutil.copytree(drawn, tmp_path / "demo-out")
    ran = polymodal("demo", mock=False)
    assert ran.code == 0, ran
    (command,) = re.findall(r"^\$ polymodal (ask .*)$", ran.stdout, re.MULTILINE)
    assert polymodal(*shlex.split(command), mock=False).stdout in ran.stdout
    assert "not sure" in ran.stdout
    assert "What is the man holding?" in (tmp_path / "demo-out" / "index.html").read_text()
