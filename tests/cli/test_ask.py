"""ask: JSON lines, a table, wrong usage; with the real starter."""

import pytest
import skimage.data
from PIL import Image

from tests.models.weights import captioner_or_skip


@pytest.fixture
def photographs(tmp_path):
    captioner_or_skip()
    for name in ("chelsea", "coffee"):
        Image.fromarray(getattr(skimage.data, name)()).save(tmp_path / f"{name}.png")
    return tmp_path


def test_a_json_line_for_every_picture_and_question(polymodal, photographs):
    asked = ("-q", "Is there a cat?", "-q", "What is the total?")
    ran = polymodal("ask", photographs, *asked, "--json", mock=False)
    assert ran.code == 0
    assert ran.stderr == ""
    keys = {"input", "question", "answer", "confidence", "abstained", "evidence"}
    assert [set(line) for line in ran.lines] == [keys] * 4
    assert [line["question"] for line in ran.lines] == ["Is there a cat?", "What is the total?"] * 2
    again = polymodal("ask", photographs, *asked, "--json", mock=False)
    assert again.stdout == ran.stdout


def test_a_table_is_printed_for_a_person(polymodal, photographs):
    ran = polymodal("ask", photographs, "-q", "Is there a cat?", "--threshold", "0", mock=False)
    assert ran.code == 0
    assert ran.stdout.splitlines()[0].split() == [
        "picture",
        "question",
        "answer",
        "sure",
        "because",
    ]


def test_a_damaged_picture_is_named_once_and_fails_alone(polymodal, photographs):
    ran = polymodal(
        "ask", "gone.jpg", photographs, "-q", "Is there a cat?", "-q", "Where is it?", "--json",
        mock=False,
    )  # fmt: skip
    assert ran.code == 1
    assert [line["input"] for line in ran.lines if "error" in line] == ["gone.jpg"]
    assert len(ran.lines) == 5


def test_questions_come_from_a_table(polymodal, photographs):
    (photographs / "asked.csv").write_text("image,question\ncoffee.png,Is there a cat?\n")
    ran = polymodal("ask", "--pairs", photographs / "asked.csv", "--json", mock=False)
    assert ran.code == 0
    assert ran.lines[0]["question"] == "Is there a cat?"


@pytest.mark.parametrize(
    ("options", "reason"),
    [
        (("p.png",), "-q QUESTION"),
        (("-q", "Is there a cat?"), "give pictures"),
        (("p.png", "-q", "x", "--pairs", "f.csv"), "give pictures"),
        (("p.png", "-q", "x", "--threshold", "2"), "0 to 1"),
    ],
)
def test_wrong_usage_is_said(polymodal, options, reason):
    ran = polymodal("ask", *options)
    assert ran.code == 2
    assert reason in ran.stderr


@pytest.mark.parametrize("question", ["", "?", "word " * 2000])
def test_a_question_that_cannot_be_asked_is_wrong_usage(polymodal, tmp_path, question):
    Image.new("RGB", (8, 8)).save(tmp_path / "p.png")
    ran = polymodal("ask", tmp_path / "p.png", "-q", question)
    assert ran.code == 2
    assert "the question" in ran.stderr
