"""RapidOCR behind `Reader`: turned pages, blank pages, silence, and no network."""

import difflib
import socket

import numpy as np
import pytest
from PIL import Image

from polymodal.media.reading_order import turned
from polymodal.models.protocols import Reader
from tests.media import papers

pytest.importorskip("rapidocr", reason="OCR needs the extra documents")

TURNS = {
    0: None,
    90: Image.Transpose.ROTATE_90,  # what Pillow turns to the left has to be turned right
    180: Image.Transpose.ROTATE_180,
    270: Image.Transpose.ROTATE_270,
}


@pytest.fixture(scope="module")
def reader():
    from polymodal.models.rapidocr import RapidOcrReader

    return RapidOcrReader(threads=2)


@pytest.fixture(scope="module")
def receipt():
    return papers.drawn(papers.RECEIPT)


def plain(text):
    return "".join(char for char in text.lower() if char.isalnum())


def words(page):
    return [plain(line.text) for line in page.lines]


def test_it_fits_the_protocol_and_says_what_it_is(reader):
    assert isinstance(reader, Reader)
    assert reader.provenance.model == "rapidocr"
    assert "PP-OCR" in reader.provenance.revision


def test_every_printed_cell_is_read_where_it_stands(reader, receipt):
    (page,) = reader.read([receipt])
    expected = [plain(cell) for row in papers.RECEIPT for cell in row.split("|")]
    read = "".join(sorted(words(page)))
    missing = [cell for cell in expected if cell not in words(page) and cell not in read]
    assert len(missing) <= 1, missing  # drawn letters are easy, but no reader is perfect
    ink = np.asarray(receipt.convert("L")) < 128
    covered = np.zeros_like(ink)
    for line in page.lines:
        left, top, right, bottom = map(int, line.box)
        covered[top : bottom + 1, left : right + 1] = True
    assert (ink & covered).sum() > 0.98 * ink.sum()
    assert all(0.5 <= line.score <= 1 for line in page.lines)


@pytest.mark.parametrize("degrees", [90, 180, 270])
def test_a_turned_page_gives_the_same_lines(reader, receipt, degrees):
    (upright,) = reader.read([receipt])
    image = receipt.transpose(TURNS[degrees])
    (page,) = reader.read([image])
    assert page.rotation == degrees
    assert words(page) == words(upright)
    for line, other in zip(page.lines, upright.lines, strict=True):
        box = turned(line.box, image.width, image.height, degrees)
        assert box == pytest.approx(other.box, abs=1.1)


@pytest.mark.parametrize("degrees", [0, 2, -5])
def test_a_photograph_that_was_not_held_straight_says_how_it_slants(reader, receipt, degrees):
    image = receipt.rotate(-degrees, Image.Resampling.BICUBIC, expand=True, fillcolor="white")
    (page,) = reader.read([image])
    assert page.skew_degrees == pytest.approx((degrees, degrees), abs=0.6)


def test_small_letters_of_a_small_picture_are_found_where_they_stand(reader):
    rows = ["Muller GmbH, Lindenallee 5", "Invoice 2024-1187", "Desk|1,198.00", "Chair|996.00"]
    rows += ["Net|2,194.00", "Total|2,610.86"]
    large = papers.drawn(rows, width=1200, size=24)
    small = large.resize((280, round(large.height * 280 / 1200)), Image.Resampling.LANCZOS)
    (page,), (known,) = reader.read([small]), reader.read([large])
    assert len(page.lines) == len(known.lines) == 10
    alike = difflib.SequenceMatcher(None, " ".join(words(page)), " ".join(words(known)))
    assert alike.ratio() > 0.85
    for line, same in zip(page.lines, known.lines, strict=True):
        assert line.box == pytest.approx([each * 280 / 1200 for each in same.box], abs=5)
    (speck,) = reader.read([small.resize((60, 15))])
    assert speck.lines == ()


def test_a_blank_page_has_no_lines(reader):
    pages = reader.read([Image.new("RGB", (800, 600), "white"), Image.new("RGB", (1, 1))])
    assert [page.lines for page in pages] == [(), ()]


def test_a_batch_reads_what_single_pages_read(reader, receipt):
    other = papers.drawn(["SECOND PAGE", "with other words"])
    batch = reader.read([receipt, other, receipt])
    singly = [reader.read([image])[0] for image in (receipt, other, receipt)]
    assert [words(page) for page in batch] == [words(page) for page in singly]


def test_several_pages_at_once_give_rapidocrs_own_text_and_scores(reader, receipt):
    """Beside plain calls with our settings, which take all cores for a page after the other."""
    from rapidocr import RapidOCR

    from polymodal.models.rapidocr import DETECTION_SIDE_PX, LONGEST_SIDE_PX

    settings = {
        "Global.log_level": "critical",
        "Global.max_side_len": LONGEST_SIDE_PX,
        "Global.use_cls": False,  # `read` turns a page as a whole
        "Det.limit_type": "max",
        "Det.limit_side_len": DETECTION_SIDE_PX,
    }
    engine = RapidOCR(params=settings)
    pages = [receipt, papers.drawn(["SECOND PAGE", "with other words|and 3.50"], size=24)]
    for page, found in zip(pages, reader.read(pages), strict=True):
        plain_call = engine(np.ascontiguousarray(np.asarray(page)[:, :, ::-1]))
        assert [line.text for line in found.lines] == [text.strip() for text in plain_call.txts]
        assert [line.score for line in found.lines] == pytest.approx(plain_call.scores, abs=1e-4)


def test_nothing_is_printed_and_no_network_is_used(receipt, capfd, monkeypatch):
    from polymodal.models.rapidocr import RapidOcrReader

    def refuse(*arguments, **options):
        raise AssertionError("the network was used")

    monkeypatch.setattr(socket.socket, "connect", refuse)
    monkeypatch.setattr(socket, "getaddrinfo", refuse)
    RapidOcrReader(threads=1).read([receipt, Image.new("RGB", (50, 50), "white")])
    printed = capfd.readouterr()
    assert (printed.out, printed.err) == ("", "")


def test_missing_weights_are_named_with_the_remedy(monkeypatch, tmp_path, receipt):
    from polymodal.errors import ModelUnavailable
    from polymodal.models import rapidocr

    class Spec:
        origin = str(tmp_path / "__init__.py")

    monkeypatch.setattr(rapidocr, "find_spec", lambda name: Spec())
    with pytest.raises(ModelUnavailable, match="pip install --force-reinstall"):
        rapidocr.RapidOcrReader().read([receipt])


def test_a_missing_package_is_named_with_the_command(monkeypatch):
    from polymodal.errors import MissingDependency
    from polymodal.models import rapidocr

    monkeypatch.setattr(rapidocr, "find_spec", lambda name: None)
    with pytest.raises(MissingDependency, match=r'pip install "polymodal\[documents\]"'):
        rapidocr.RapidOcrReader()


def test_a_gpu_is_used_where_onnxruntime_has_one_and_refused_at_once_where_not(monkeypatch):
    import onnxruntime
    import rapidocr as library

    from polymodal.errors import UsageError
    from polymodal.models import rapidocr

    with pytest.raises(UsageError, match="RapidOCR cannot run on cuda:1: this onnxruntime has no"):
        rapidocr.RapidOcrReader(device="cuda:1")
    with pytest.raises(UsageError, match="'tpu' is not known"):
        rapidocr.RapidOcrReader(device="tpu")
    asked = []

    class Engine(library.RapidOCR):
        def __init__(self, params):
            asked.append(params)
            raise RuntimeError("enough")

    monkeypatch.setattr(library, "RapidOCR", Engine)
    providers = ["CUDAExecutionProvider", "CPUExecutionProvider"]
    monkeypatch.setattr(onnxruntime, "get_available_providers", lambda: providers)
    for device in ("cuda:1", "auto", "cpu"):
        with pytest.raises(Exception, match="enough"):
            rapidocr._open(1, device)
    part = "EngineConfig.onnxruntime"
    used = [(each[f"{part}.use_cuda"], each[f"{part}.cuda_ep_cfg.device_id"]) for each in asked]
    assert used == [(True, 1), (True, 0), (False, 0)]
