"""Several receipts in one file, and one invoice of several pages."""

import pytest

import polymodal as pm
from tests.media import papers

CAFE = ["CORNER CAFE LTD", "Date: 14/03/2024", "COFFEE|3.40", "TOTAL|\u00a33.40"]
BOOKS = ["HOLBORN BOOKS LTD", "Date: 02/05/2024", "NOVEL|8.99", "TOTAL|\u00a38.99", "VISA|8.99"]
INVOICE = [
    ["HOLBORN BOOKS LTD", "Date: 02/05/2024", "NOVEL|8.99", "CARRIED FORWARD|8.99"],
    ["HOLBORN BOOKS LTD", "Date: 02/05/2024", "ATLAS|20.00", "TOTAL|28.99"],
]


@pytest.fixture(scope="module")
def extracted(tmp_path_factory):
    """What is extracted from a TIFF with these pages."""
    pytest.importorskip("rapidocr", reason="OCR needs the extra documents")
    suite = pm.Suite(home=tmp_path_factory.mktemp("home"), cache=False, journal=False)

    def extract(*pages):
        first, *others = (papers.drawn(rows, width=600) for rows in pages)
        return suite.extract(papers.encoded(first, "TIFF", save_all=True, append_images=others))

    return extract


def test_receipts_in_one_file_are_not_mixed(extracted):
    found = extracted(CAFE, BOOKS)
    assert found.data["company"] == "CORNER CAFE LTD"
    assert found.data["total"] == "3.40"
    assert found.data["payment_method"] is None
    assert "pages 1 and 2 are receipts of their own: this is page 1's" in found.problems


def test_an_invoice_of_two_pages_is_one(extracted):
    found = extracted(*INVOICE)
    assert found.data["total"] == "28.99"
    assert found.evidence["total"].page == 2
    assert not any("receipts of their own" in each for each in found.problems)
