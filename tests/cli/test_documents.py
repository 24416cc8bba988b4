"""read, extract: JSON lines, formats, the page, failures in their place; the real reader."""

import json
import re
import sys

import pytest

from polymodal.cli.schema_option import schema_of
from tests.media import papers

pytest.importorskip("rapidocr", reason="OCR needs the extra documents")

SCHEMA = {
    "type": "object",
    "properties": {"vendor": {"type": "string"}, "total": {"type": "number", "maximum": 20}},
}


@pytest.fixture
def papers_folder(tmp_path):
    folder = tmp_path / "papers"
    folder.mkdir()
    papers.drawn(papers.RECEIPT).save(folder / "receipt.png")
    (folder / "letter.pdf").write_bytes(papers.text_pdf([[(50, 200, 12, "Dear *Anna*")]]))
    (folder / "locked.pdf").write_bytes(papers.encrypted_pdf())
    (folder / "notes.txt").write_text("not a document for these commands")
    return folder


def read(polymodal, *arguments):
    return polymodal(*arguments, mock=False)


def test_json_lines_hold_lines_with_boxes_scores_and_pages(polymodal, papers_folder):
    ran = read(polymodal, "read", papers_folder, "--json")
    assert ran.code == 1
    assert "locked.pdf" in ran.stderr
    assert "encrypted PDF" in ran.stderr
    letter, locked, receipt = ran.lines
    assert set(letter) == set(receipt) == {"input", "lines", "pages"}
    assert set(locked) == {"input", "error", "kind"}
    (line,) = letter["lines"]
    assert (line["text"], line["page"], line["score"], len(line["box"])) == ("Dear *Anna*", 1, 1, 4)
    assert "21.90" in [each["text"] for each in receipt["lines"]]
    assert read(polymodal, "read", papers_folder, "--format", "json").stdout == ran.stdout


def test_text_and_markdown_are_printed_for_a_person(polymodal, papers_folder):
    letter = papers_folder / "letter.pdf"
    assert read(polymodal, "read", letter).stdout == "Dear *Anna*\n"
    assert read(polymodal, "read", letter, "--format", "markdown").stdout == "Dear \\*Anna\\*\n"


def test_a_wrong_format_is_wrong_usage(polymodal, papers_folder):
    ran = read(polymodal, "read", papers_folder, "--format", "docx")
    assert ran.code == 2
    assert "docx" in ran.stderr


def test_a_folder_without_documents_is_wrong_usage(polymodal, tmp_path):
    (tmp_path / "empty").mkdir()
    ran = read(polymodal, "read", tmp_path / "empty")
    assert ran.code == 2
    assert "no documents in" in ran.stderr


def test_the_page_shows_every_box_over_its_picture(polymodal, papers_folder, tmp_path):
    page = tmp_path / "page.html"
    ran = read(polymodal, "read", papers_folder, "--json", "--html", page)
    drawn = page.read_text()
    assert drawn.count("<rect") == sum(len(line.get("lines", [])) for line in ran.lines)
    assert drawn.count('src="data:image/jpeg;base64,') == 2
    assert not re.search(r"(?:src|href)=\"https?:", drawn)


def test_what_a_document_says_is_no_markup_on_the_page(polymodal, tmp_path):
    words = "<script>alert(1)</script>"
    (tmp_path / "evil.pdf").write_bytes(papers.text_pdf([[(50, 200, 12, words)]]))
    ran = read(polymodal, "read", tmp_path / "evil.pdf", "--html", tmp_path / "p.html")
    assert ran.code == 0
    assert "<script>alert" not in (tmp_path / "p.html").read_text()
    assert "&lt;script&gt;alert" in (tmp_path / "p.html").read_text()


def test_extract_gives_data_confidence_evidence_and_problems(polymodal, papers_folder):
    ran = read(polymodal, "extract", papers_folder, "--json")
    assert ran.code == 1
    letter, _, receipt = ran.lines
    keys = {"input", "data", "confidence", "evidence", "problems"}
    assert set(letter) == set(receipt) == keys
    assert receipt["data"]["total"] == "21.90"
    assert set(receipt["evidence"]["total"]) == {"text", "box", "page"}
    assert letter["data"]["total"] is None


def test_extract_takes_a_schema_and_names_broken_rules(polymodal, papers_folder, tmp_path):
    (tmp_path / "s.json").write_text(json.dumps(SCHEMA))
    asked = ("extract", papers_folder / "receipt.png", "--schema", tmp_path / "s.json")
    (line,) = read(polymodal, *asked, "--json").lines
    assert line["data"] == {"vendor": "MERIDIAN BOOK STORE SDN BHD", "total": 21.9}
    assert line["problems"] == ["total: 21.9 is greater than the maximum of 20"]
    shown = read(polymodal, *asked)
    assert "problem: total: 21.9" in shown.stdout + shown.stderr
    both = read(polymodal, "extract", papers_folder, "--schema", tmp_path / "s.json", "--json")
    assert f"{papers_folder / 'receipt.png'}: problem: total: 21.9" in both.stderr


def test_a_missing_schema_is_wrong_usage(polymodal, papers_folder):
    ran = read(polymodal, "extract", papers_folder, "--schema", "gone.json")
    assert ran.code == 2
    assert "gone.json" in ran.stderr


def test_without_the_extra_the_message_is_the_command(polymodal, papers_folder, monkeypatch):
    monkeypatch.setattr("polymodal.models.rapidocr.find_spec", lambda name: None)
    for command in ("read", "extract"):
        ran = read(polymodal, command, papers_folder)
        assert ran.code == 3
        assert 'pip install "polymodal[documents]"' in ran.stderr


def test_a_device_that_is_not_there_is_said_in_one_line(polymodal, papers_folder):
    for command in ("read", "extract"):
        ran = read(polymodal, command, papers_folder, "--device", "cuda")
        assert ran.code == 2
        assert "RapidOCR cannot run on cuda: this onnxruntime has no CUDA" in ran.stderr
        assert len(ran.stderr.splitlines()) == 1
        assert ran.stdout == ""
        assert read(polymodal, command, papers_folder, "--device", "tpu").code == 2
    assert read(polymodal, "read", papers_folder / "receipt.png", "--device", "cpu").code == 0


def test_the_starter_comes_in_one_precision(polymodal, papers_folder):
    for asked in (("--dtype", "bfloat16"), ("--quantize", "8bit")):
        ran = read(polymodal, "extract", papers_folder, *asked)
        assert ran.code == 2
        assert "comes in one precision; --dtype and --quantize go with a checkpoint" in ran.stderr


def test_a_schemas_module_may_change_the_path_itself(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", list(sys.path))
    before = list(sys.path)
    (tmp_path / "shop_schemas.py").write_text(
        "import sys\nsys.path.insert(0, 'elsewhere')\nclass Bill: pass\n"
    )
    assert schema_of("shop_schemas:Bill").__name__ == "Bill"
    assert sys.path == ["elsewhere", *before]
