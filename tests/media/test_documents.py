"""Documents as pages: text layers, scans, TIFFs of several pages, and what is refused."""

import subprocess
from contextlib import suppress

import numpy as np
import pytest
from PIL import Image

from polymodal.errors import DamagedMedia, MediaNotFound, MediaTooLarge, UnsupportedMedia
from polymodal.media.documents import open_pages
from polymodal.media.limits import Limits
from tests.media import papers

pytest.importorskip("pypdfium2", reason="PDFs need the extra documents")


def pages_of(source, *, pictures=False, **limits):
    with open_pages(source, limits=Limits(**limits), pictures=pictures) as pages:
        return list(pages)


def test_the_text_layer_of_a_pdf_is_used_with_its_boxes():
    pages = pages_of(papers.text_pdf([[(50, 200, 12, "Hello world")], [(100, 50, 24, "Page two")]]))
    assert [page.number for page in pages] == [1, 2]
    assert [line.text for page in pages for line in page.lines] == ["Hello world", "Page two"]
    assert all(page.image is None for page in pages)
    left, top, right, bottom = pages[0].lines[0].box
    scale = 200 / 72  # pixels a point
    assert left == pytest.approx(50 * scale, abs=4)
    assert bottom == pytest.approx((300 - 200) * scale, abs=8)
    assert 8 * scale < bottom - top < 14 * scale
    assert 50 * scale < right - left < 75 * scale
    assert pages[0].width_px == pytest.approx(400 * scale, abs=1)
    assert pages[0].height_px == pytest.approx(300 * scale, abs=1)


def test_words_cut_into_runs_come_as_one_line():
    words = [(50, 200, 12, "Hello"), (82, 200, 12, "world"), (300, 200, 12, "9.90")]
    (page,) = pages_of(papers.text_pdf([words]))
    assert [line.text for line in page.lines] == ["Hello world", "9.90"]


def test_a_box_stays_on_its_words_when_the_page_is_turned():
    data = papers.text_pdf([[(50, 200, 12, "Hello world")]], rotate=90, leaning="0 1 -1 0")
    (page,) = pages_of(data, pictures=True)
    left, top, right, bottom = map(int, page.lines[0].box)
    ink = np.asarray(page.image.convert("L")) < 128
    assert ink[top : bottom + 1, left : right + 1].sum() > 0.95 * ink.sum() > 0


@pytest.mark.parametrize(
    ("rotate", "leaning"), [(0, "0 1 -1 0"), (90, "1 0 0 1"), (0, "-1 0 0 -1"), (180, "0 1 -1 0")]
)
def test_text_that_lies_on_its_side_is_left_to_ocr_which_turns_it(rotate, leaning):
    words = [(200, 150, 12, "Hello world"), (220, 150, 12, "and more")]
    (page,) = pages_of(papers.text_pdf([words], rotate=rotate, leaning=leaning))
    assert page.lines is None
    assert page.image is not None


def test_a_stamp_on_its_side_leaves_the_text_layer_as_it_is():
    stamp = ") Tj ET BT /F1 8 Tf 0 1 -1 0 20 20 Tm (arXiv"
    (page,) = pages_of(papers.text_pdf([[(50, 200, 12, f"Hello world of paper{stamp}")]]))
    assert {line.text for line in page.lines} == {"Hello world of paper", "arXiv"}


def test_a_scan_without_text_is_rendered():
    scan = papers.drawn(papers.RECEIPT)
    (page,) = pages_of(papers.encoded(scan, "PDF", resolution=200))
    assert page.lines is None
    assert page.image.size == scan.size
    difference = np.abs(np.asarray(page.image, int) - np.asarray(scan, int))
    assert difference.mean() < 4


def test_a_poster_is_rendered_smaller_instead_of_refused():
    data = papers.text_pdf([[(50, 200, 12, "far away")]], size=(14_000, 10_000))
    (page,) = pages_of(data, pictures=True, max_pixels=4_000_000)
    assert page.width_px * page.height_px <= 4_010_000
    assert page.image.width == page.width_px


def test_an_encrypted_pdf_is_named_as_such():
    with pytest.raises(UnsupportedMedia, match="encrypted PDF, which needs a password"):
        pages_of(papers.encrypted_pdf())


def test_a_pdf_of_2000_pages_is_refused_with_a_clear_word():
    data = papers.text_pdf([[(50, 200, 12, "Hi")]] * 2000)
    with pytest.raises(MediaTooLarge, match=r"2,000 pages, more than the limit of 500"):
        pages_of(data)
    assert len(pages_of(data, max_pages=2000)) == 2000


def test_a_pdf_that_draws_without_end_is_stopped():
    with pytest.raises(MediaTooLarge, match=r"takes more than 1 s at page 1"):
        pages_of(papers.laughing_pdf(), max_page_s=1.0)


def test_a_pdf_that_inflates_without_end_is_stopped():
    with pytest.raises((MediaTooLarge, DamagedMedia), match=r"too much memory|takes more than"):
        pages_of(papers.inflating_pdf(), max_memory_bytes=100_000_000, max_page_s=10.0)


@pytest.mark.parametrize("share", [0.02, 0.3, 0.6, 0.9])
def test_a_truncated_pdf_fails_or_gives_what_it_holds(share):
    whole = papers.text_pdf([[(50, 200, 12, "Hello world")]] * 3)
    try:
        pages = pages_of(whole[: int(share * len(whole))])
    except (DamagedMedia, UnsupportedMedia) as error:
        assert error.name
    else:
        assert all(line.text == "Hello world" for page in pages for line in page.lines or ())


def test_random_changes_to_a_pdf_never_escape():
    random = np.random.default_rng(3)
    whole = bytearray(papers.text_pdf([[(50, 200, 12, "Hello world")]]))
    for _ in range(12):
        data = bytearray(whole)
        for position in random.integers(8, len(data), 20):
            data[position] = random.integers(256)
        with suppress(DamagedMedia, MediaTooLarge, UnsupportedMedia):
            pages_of(bytes(data), max_page_s=5.0)


def test_every_page_of_a_tiff_comes_in_order():
    colours = [(200, 0, 0), (0, 200, 0), (0, 0, 200)]
    first, *rest = [Image.new("RGB", (40, 30 + 10 * i), c) for i, c in enumerate(colours)]
    data = papers.encoded(first, "TIFF", save_all=True, append_images=rest)
    pages = pages_of(data)
    assert [page.number for page in pages] == [1, 2, 3]
    assert [page.image.getpixel((5, 5)) for page in pages] == colours
    assert [page.height_px for page in pages] == [30, 40, 50]


def test_a_tiff_of_many_pages_is_refused():
    tiny = [Image.new("L", (4, 4)) for _ in range(30)]
    data = papers.encoded(tiny[0], "TIFF", save_all=True, append_images=tiny[1:])
    with pytest.raises(MediaTooLarge, match="more than 20 pages"):
        pages_of(data, max_pages=20)


def test_a_tiff_whose_pages_run_in_a_circle_ends():
    data = bytearray(papers.encoded(Image.new("L", (4, 4)), "TIFF"))
    first = int.from_bytes(data[4:8], "little")
    count = int.from_bytes(data[first : first + 2], "little")
    link = first + 2 + 12 * count
    data[link : link + 4] = data[4:8]
    with pytest.raises(DamagedMedia, match="breaks off after page 1"):
        pages_of(bytes(data))


def test_a_picture_is_a_document_of_one_upright_page(tmp_path):
    image = Image.new("RGB", (60, 40), "white")
    exif = Image.Exif()
    exif[0x0112] = 6  # lies on its side
    image.save(tmp_path / "p.jpg", exif=exif)
    (page,) = pages_of(tmp_path / "p.jpg")
    assert (page.number, page.width_px, page.height_px, page.lines) == (1, 40, 60, None)


def test_a_missing_file_and_something_else_are_refused(tmp_path):
    with pytest.raises(MediaNotFound):
        pages_of(tmp_path / "none.pdf")
    (tmp_path / "letter.doc").write_bytes(b"PK\x03\x04" + bytes(100))
    with pytest.raises(UnsupportedMedia, match="ZIP archive or an Office document"):
        pages_of(tmp_path / "letter.doc")


def test_a_reader_that_stops_early_leaves_no_process(monkeypatch):
    started = []

    class Watched(subprocess.Popen):
        def __init__(self, *args, **kwargs):
            super().__init__(*args, **kwargs)
            started.append(self)

    monkeypatch.setattr("polymodal.media.pdf.subprocess.Popen", Watched)
    with open_pages(papers.text_pdf([[(50, 200, 12, "Hi")]] * 5)) as pages:
        next(pages)
        assert started[0].poll() is None
    assert started[0].returncode is not None
