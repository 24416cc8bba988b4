"""ask: JSON lines, a table, wrong usage; with the real starter."""

import pytest
import skimage.data
from PIL import Image

from tests.media import papers
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


def test_one_picture_together_is_asked_about_as_it_is(polymodal, photographs):
    asked = (photographs / "chelsea.png", "-q", "Is there a cat?", "--json")
    alone = polymodal("ask", *asked, mock=False)
    assert polymodal("ask", *asked, "--together", mock=False).stdout == alone.stdout
    both = polymodal("ask", photographs, *asked[1:], "--together", mock=False)
    assert (both.code, both.lines[0]["kind"]) == (1, "UnsupportedMedia")


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


def test_an_answer_is_printed_to_its_end(capsys):
    from polymodal.cli.describe import print_answers
    from polymodal.cli.output import Output
    from polymodal.results import Provenance
    from polymodal.results_answers import Answer, Evidence

    def answer(text):
        evidence = (Evidence("text", "the line that says it"),)
        return Answer(
            "sign.png", "What does it say?", text, 0.9, evidence, False, Provenance("m", "1")
        )

    long = "No swimming after dark. " * 12
    print_answers([answer("No swimming"), answer(f"{long}\nBy order.")], Output(as_json=False))
    shown = capsys.readouterr().out
    assert long.strip() in " ".join(shown.split())
    assert "By order. (0.90)" in shown
    assert "because: the line that says it" in shown
    assert max(map(len, shown.splitlines())) <= 80
    print_answers([answer("No swimming")], Output(as_json=False))
    assert capsys.readouterr().out.startswith("picture")


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


def test_text_in_a_picture_is_answered_from_its_line_or_not_at_all(polymodal, tmp_path):
    pytest.importorskip("rapidocr", reason="OCR needs the extra documents")
    captioner_or_skip()
    papers.drawn(papers.RECEIPT).save(tmp_path / "receipt.png")
    papers.drawn(["OPEN DAILY", "ENTRANCE ON THE LEFT"]).save(tmp_path / "sign.png")
    questions = ["What is the total?", "What is the expiry date?", "What does the sign say?"]
    asked = [word for question in questions for word in ("-q", question)]
    ran = polymodal("ask", tmp_path, *asked, "--json", mock=False)
    assert ran.code == 0
    total, expiry, _, no_total, no_expiry, says = ran.lines
    assert (total["answer"], total["abstained"]) == ("21.90", False)
    line = next(each for each in total["evidence"] if each["source"] == "text")
    assert line["text"] == "21.90"
    # Where it is drawn: right, in the eleventh of fourteen rows of 48 pixels.
    left, top, right, bottom = line["box"]
    assert 700 < left < right < 880
    assert 40 + 48 * 10 - 10 < top < bottom < 40 + 48 * 11 + 5
    assert all(each["abstained"] for each in (expiry, no_total, no_expiry))
    assert says["answer"] == "OPEN DAILY ENTRANCE ON THE LEFT"
