"""Reading documents: pages in batches, order, failures in their places, the cache."""

import pytest
from PIL import Image

import polymodal as pm
from polymodal.models.protocols import Reader, ReadPage
from polymodal.results import Provenance
from polymodal.results_documents import Line
from tests.media import papers


class PixelReader:
    """Reads a page's size and colour, so that pages cannot be mistaken for one another."""

    batch_size = 3

    def __init__(self, rotation=0):
        self.provenance = Provenance("pixels", "1")
        self.batches = []
        self.rotation = rotation

    def read(self, batch):
        self.batches.append(len(batch))
        pages = []
        for image in batch:
            colour = image.getpixel((0, 0))
            if colour == (255, 255, 255):
                pages.append(ReadPage(()))
                continue
            lines = (
                Line(f"second {colour}", (10, 60, 90, 80), 0.9),
                Line(f"first {image.size}", (10, 20, 90, 40), 0.8),
            )
            pages.append(ReadPage(lines, self.rotation))
        return pages


@pytest.fixture
def reader():
    return PixelReader()


@pytest.fixture
def suite(reader, tmp_path):
    return pm.Suite(reader=reader, home=tmp_path, journal=False)


def page(number, size=(100, 120)):
    return Image.new("RGB", size, (number, number, number))


def tiff(*numbers):
    first, *rest = map(page, numbers)
    return papers.encoded(first, "TIFF", save_all=True, append_images=rest)


def test_the_mock_fits_the_protocol(reader):
    assert isinstance(reader, Reader)


def test_lines_come_in_reading_order_with_their_pages(suite):
    reading = suite.read(tiff(1, 2))
    assert [(line.text[:5], line.page) for line in reading.lines] == [
        ("first", 1), ("secon", 1), ("first", 2), ("secon", 2),
    ]  # fmt: skip
    assert [info.page for info in reading.pages] == [1, 2]
    assert reading.provenance.model == "pixels"
    assert reading.text.split("\f")[1].splitlines() == ["first (100, 120)", "second (2, 2, 2)"]


def test_pages_of_several_documents_share_a_batch(suite, reader):
    documents = [tiff(1, 2), page(3), tiff(4, 5, 6, 7), page(8)]
    readings = suite.read(documents)
    assert reader.batches == [3, 3, 2]
    seen = [[line.text for line in r.lines if "second" in line.text] for r in readings]
    numbers = [[1, 2], [3], [4, 5, 6, 7], [8]]
    assert seen == [[f"second {(n, n, n)}" for n in each] for each in numbers]


def test_a_failed_document_is_an_error_in_its_place(suite):
    found = suite.read([page(1), b"no picture", papers.encrypted_pdf(), page(2), b""])
    assert [type(each).__name__ for each in found] == [
        "Reading", "ItemError", "ItemError", "Reading", "ItemError",
    ]  # fmt: skip
    assert "encrypted PDF" in found[2].reason
    with pytest.raises(pm.UnsupportedMedia, match="encrypted"):
        suite.read(papers.encrypted_pdf())


def test_a_document_with_a_damaged_page_fails_alone_and_names_the_page(suite):
    data = tiff(1, 2, 3)
    damaged = data[: int(0.8 * len(data))]
    found = suite.read([damaged, page(4)])
    assert found[0].kind == "DamagedMedia"
    assert "page" in found[0].reason
    assert found[1].lines


def test_an_iterator_is_read_lazily(suite, reader):
    def endless():
        number = 0
        while True:
            number += 1
            yield page(number % 200)

    stream = suite.read(endless())
    assert [next(stream).lines[1].text for _ in range(2)] == [
        "second (1, 1, 1)", "second (2, 2, 2)",
    ]  # fmt: skip
    # Looking things up in the cache takes inputs sixteen at a time; that is how far it runs ahead.
    assert sum(reader.batches) <= 18
    stream.close()


def test_a_text_layer_is_not_read_by_the_model(suite, reader):
    pytest.importorskip("pypdfium2", reason="PDFs need the extra documents")
    words = [(50, 100, 12, "below"), (50, 200, 12, "above"), (200, 200, 12, "beside")]
    reading = suite.read(papers.text_pdf([words]))
    assert reading.text == "above  beside\nbelow"
    assert reader.batches == []
    assert (reading.provenance.model, reading.pages[0].source) == ("text layer", "text layer")
    assert {line.score for line in reading.lines} == {1.0}


def test_a_second_reading_comes_from_the_cache_and_is_the_same(suite, reader, tmp_path):
    file = tmp_path / "p.png"
    page(7).save(file)
    first = suite.read(file)
    assert suite.read(file) == first
    assert sum(reader.batches) == 1
    fresh = pm.Suite(reader=reader, home=tmp_path, cache=False, journal=False)
    assert fresh.read(file) == first
    assert sum(reader.batches) == 2


def test_a_page_without_text_gives_an_empty_reading(suite):
    reading = suite.read(Image.new("RGB", (50, 50), "white"))
    assert (reading.lines, reading.text) == ((), "")
    assert len(reading.pages) == 1


def test_an_upside_down_page_is_read_from_its_own_top(tmp_path):
    suite = pm.Suite(reader=PixelReader(rotation=180), home=tmp_path, cache=False, journal=False)
    reading = suite.read(page(1))
    assert [line.text[:5] for line in reading.lines] == ["secon", "first"]
    assert reading.lines[0].box == (10, 60, 90, 80)  # where the file shows it
    assert reading.pages[0].rotation == 180


def test_markdown_has_headings_tables_and_escapes():
    def row(number, *cells, height=20, top=None):
        top = 40 * number if top is None else top
        return [
            Line(cell, (200 * i, top, 200 * i + 100, top + height), 1.0)
            for i, cell in enumerate(cells)
        ]

    rows = [
        row(0, "Title", height=60),
        row(3, "1. a *star* and | bar"),
        row(0, "next line", top=145),
        row(6, "Book", "9.00"),
        row(7, "Pen", "1.50"),
    ]
    lines = tuple(line for each in rows for line in each)
    numbers = tuple(n for n, each in enumerate(rows) for _ in each)
    info = pm.PageInfo(1, 600, 400)
    reading = pm.Reading("x", lines, (info,), Provenance("m", "1"), numbers)
    assert reading.markdown.split("\n\n") == [
        "## Title",
        "1\\. a \\*star\\* and \\| bar\\\nnext line",
        "| Book | 9.00 |\n| --- | --- |\n| Pen | 1.50 |",
    ]


def test_markdown_joins_running_text_and_lists_what_is_listed():
    def line(top, text, left=0):
        return Line(text, (left, top, left + 10 * len(text), top + 20), 1.0)

    full = "a line of running text that fills its column"
    rows = [
        [line(0, full)],
        [line(25, "and ends here.")],
        [line(50, "12 Mill Road")],
        [line(150, "\u2022"), line(150, "one *first*", 30)],
        [line(175, "\u2022 two")],
        [line(200, "3."), line(200, "three", 30)],
        [line(300, full, 500)],
        [line(20, "the next column, which stands above", 900)],
    ]
    lines = tuple(line for row in rows for line in row)
    numbers = tuple(n for n, row in enumerate(rows) for _ in row)
    info = pm.PageInfo(1, 1400, 400)
    reading = pm.Reading("x", lines, (info,), Provenance("m", "1"), numbers)
    assert reading.markdown.split("\n\n") == [
        f"{full} and ends here.\\\n12 Mill Road",
        "- one \\*first\\*\n- two\n3. three",
        full,
        "the next column, which stands above",
    ]
