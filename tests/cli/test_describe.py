"""caption: JSON lines, plain lines, the cache, failures in their place; with the real starter."""

import json

import pytest
import skimage.data
from PIL import Image

from polymodal.tasks.caption import DOUBTED
from tests.models.weights import captioner_or_skip


@pytest.fixture(scope="module")
def photographs(tmp_path_factory):
    captioner_or_skip()
    root = tmp_path_factory.mktemp("photographs")
    for name in ("astronaut", "coffee"):
        Image.fromarray(getattr(skimage.data, name)()).save(root / f"{name}.png")
    return root


def test_a_json_line_holds_input_caption_score_and_fit(polymodal, photographs):
    ran = polymodal("caption", photographs, "--json", mock=False)
    assert ran.code == 0
    assert [set(line) for line in ran.lines] == [{"input", "caption", "score", "fit"}] * 2
    assert all(line["caption"] and 0 < line["score"] <= 1 for line in ran.lines)
    assert ran.stderr == ""


def test_the_same_input_twice_gives_the_same_bytes(polymodal, photographs):
    asked = ("caption", photographs, "--json", "--candidates", "3")
    first, cached = (polymodal(*asked, mock=False) for _ in range(2))
    computed = polymodal(*asked, "--no-cache", "--no-journal", mock=False)
    assert first.stdout == cached.stdout == computed.stdout
    line = json.loads(first.stdout.splitlines()[0])
    assert len(line["candidates"]) == 3
    assert line["candidates"][0] == {name: line[name] for name in ("caption", "score", "fit")}


def test_a_person_reads_whole_captions_a_line_each(polymodal, photographs):
    asked = ("caption", photographs / "coffee.png", "--style", "detailed", "--candidates", "2")
    ran = polymodal(*asked, mock=False)
    assert ran.code == 0
    first, other = ran.stdout.splitlines()
    (line,) = polymodal(*asked, "--json", mock=False).lines
    said = f"{line['input']}: {line['caption']} ({line['score']:.2f}"
    doubt = ", it may not fit" if line["fit"] < DOUBTED else ""
    assert first == f"{said}{doubt})"
    assert other.startswith("  or: ")


def test_a_damaged_picture_fails_alone(polymodal, photographs, tmp_path):
    (tmp_path / "broken.jpg").write_bytes(b"no picture")
    ran = polymodal(
        "caption", tmp_path / "broken.jpg", photographs / "coffee.png", "--json", mock=False
    )
    assert ran.code == 1
    assert set(ran.lines[0]) == {"input", "error", "kind"}
    assert set(ran.lines[1]) == {"input", "caption", "score", "fit"}
    assert "broken.jpg" in ran.stderr


def test_a_wrong_style_is_wrong_usage(polymodal, photographs):
    ran = polymodal("caption", photographs, "--style", "long", mock=False)
    assert ran.code == 2
    assert "'long'" in ran.stderr


def test_a_model_without_a_captioner_exits_with_three(polymodal, photographs):
    ran = polymodal("caption", photographs)
    assert ran.code == 3
    assert "has no captioner" in ran.stderr
