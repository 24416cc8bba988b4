"""Questions about a receipt's own fields go to the receipt model, others to the lines."""

import pytest
from PIL import Image

import polymodal as pm
from polymodal.errors import ModelUnavailable
from polymodal.tasks.questions import parse
from polymodal.tasks.text_fields import asked_field, find_field
from tests.media import papers
from tests.models.weights import captioner_or_skip


@pytest.fixture(scope="module")
def reading(tmp_path_factory):
    pytest.importorskip("rapidocr", reason="OCR needs the extra documents")
    from polymodal.catalog.receipts import open_receipt_model

    try:
        open_receipt_model()
    except ModelUnavailable:
        pytest.skip("polymodal-starter has no receipt model yet: run recipes.starter.receipts")
    suite = pm.Suite(home=tmp_path_factory.mktemp("home"), cache=False, journal=False)
    return suite.read(papers.drawn(papers.RECEIPT))


@pytest.mark.parametrize(
    ("question", "field"),
    [
        ("What is the total?", "total"),
        ("How much is the total amount of this receipt?", "total"),
        ("Which company is this receipt from?", "company"),
        ("What is the name of the store?", "company"),
        ("What is the store's address?", "address"),
        ("When was the invoice issued?", "date"),
        ("When does the store open?", None),
        ("What is the date?", "date"),
        ("What is the total tax?", None),
        ("What is the subtotal?", None),
        ("What is the phone number of the company?", None),
        ("What is the expiry date?", None),
        ("What does the sign say?", None),
    ],
)
def test_only_questions_for_a_field_and_nothing_else_are_its(question, field):
    assert asked_field(parse(question).wording) == field


@pytest.mark.parametrize(
    ("question", "answer"),
    [
        ("What is the total?", "21.90"),
        ("Which company is this receipt from?", "MERIDIAN BOOK STORE SDN BHD"),
        ("What is the date?", "14/06/2023"),
    ],
)
def test_a_field_is_answered_with_its_line(reading, question, answer):
    found = find_field(parse(question).wording, reading)
    assert found is not None
    assert found.text == answer
    assert 0 < found.confidence <= 1
    assert all(line in reading.lines for line in found.lines)


def test_what_is_no_receipt_has_no_fields(reading):
    letter = pm.Reading("x", reading.lines[:1], reading.pages, reading.provenance)
    assert find_field("which company is this from", letter) is None


def test_ask_reads_the_text_of_a_picture(tmp_path):
    pytest.importorskip("rapidocr", reason="OCR needs the extra documents")
    captioner_or_skip()
    suite = pm.Suite(home=tmp_path)
    receipt = papers.drawn(papers.RECEIPT)
    found = suite.ask(receipt, "What is the total?")
    assert (found.text, found.abstained, found.provenance.model) == ("21.90", False, "rapidocr")
    assert "21.90" in [each.text for each in found.evidence]
    assert suite.ask(Image.new("RGB", (64, 64), "white"), "What is the total?").abstained
