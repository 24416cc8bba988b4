"""RapidOCR: PP-OCR text detection and recognition on onnxruntime, with the weights it ships.

Notable: nothing is downloaded and nothing is logged; a page that lies on its side or upside down is
noticed and read upright, which also puts its lines in order. Several pages are read at once, each
on one core, which is faster than one page after the other on all cores; a single page gets all.
Direction is decided for a page, not line by line: short lines alone are turned wrongly too often.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from functools import partial
from importlib.util import find_spec
from pathlib import Path
from typing import Any, TypeAlias

import numpy as np
from numpy.typing import NDArray
from PIL import Image
from PIL.Image import Resampling

from polymodal.errors import MissingDependency, ModelUnavailable
from polymodal.media.reading_order import turned
from polymodal.models.precision import check_device, onnx_gpu
from polymodal.models.protocols import Device, ReadPage
from polymodal.models.resident import Resident
from polymodal.profiling import profiled
from polymodal.results import Provenance
from polymodal.results_documents import Box, Line

__all__ = ["DETECTION_SIDE_PX", "LONGEST_SIDE_PX", "RapidOcrReader"]

Bgr: TypeAlias = NDArray[np.uint8]

LONGEST_SIDE_PX = 2_000
"""A larger page is scaled down before anything else."""
DETECTION_SIDE_PX = 1_600
"""Longer side at which lines are looked for; they are read at the page's own resolution."""
SMALL_SIDE_PX, LARGER_SIDE_PX, MOST_ENLARGED = 320, 640, 3.0
"""Of a picture whose shorter side is less than the first, small letters may not be found, as on a
part of a screenshot; it is enlarged until that side is the second. Where they are found, they are
read better at their own size."""
_FINDS_MORE = 1.2
_NO_LETTERS_PX = 200
"""Longer side under which enlarged letters would be guesses."""
_LEAST_SCORE = 0.5
"""RapidOCR's own: below it, a line is noise more often than text."""
_TALL = 1.5
"""Height over width of a line that stands on end."""
_LONG, _FEWEST_LONG, _FEWEST_FITTED = 3.0, 4, 8
"""Widths in heights of lines that tell how a page is skewed, how many have to, and how many that
it is skewed more below than above, as where it was photographed from the side."""
_STRAY = 6.0
"""Degrees from the median of a line that is another thing."""
_LEAST_SKEW, _MOST_SKEW = 0.7, 20.0
"""Degrees; less is how exactly corners are found, more is no photograph of a page."""
_VOTERS = 16
"""Of the widest lines, which say whether a page is upside down."""
_SURE = 0.9
_PARTS = {"Det": "*det*.onnx", "Cls": "*cls*.onnx", "Rec": "*rec*.onnx"}
_REMEDY = "Run: pip install --force-reinstall --no-deps rapidocr"


class RapidOcrReader:
    """Fits `Reader`. Weights are read on first use. Safe to use from several threads."""

    def __init__(self, *, threads: int | None = None, device: Device = "auto") -> None:
        """Nothing is loaded.

        Args:
            threads: cores to use; all that this process may by default.
            device: "cpu", "cuda", "cuda:N", or "auto" for a GPU where onnxruntime has one.

        Raises:
            MissingDependency: the extra `documents` is not installed.
            UsageError: it is no device, or one that this onnxruntime cannot use.
        """
        if find_spec("rapidocr") is None:
            raise MissingDependency(
                'reading text in pictures needs RapidOCR. Run: pip install "polymodal[documents]"'
            )
        check_device(device)
        if device.startswith("cuda"):  # said before the first page, not once for every page
            onnx_gpu(device, "RapidOCR")
        self._threads = threads or _cores()
        self._engines = {
            count: Resident(
                "reader" if count > 1 else "reader, a core a page",
                partial(_open, count, device),
                prepare=_rapidocr,
            )
            for count in sorted({1, self._threads})
        }

    @property
    def residents(self) -> Sequence[Resident[Any]]:
        """See `Unloadable.residents`."""
        return list(self._engines.values())

    @property
    def provenance(self) -> Provenance:
        """RapidOCR, its version and its weights."""
        from importlib.metadata import version

        names = "+".join(Path(path).stem for path in _weights().values())
        return Provenance("rapidocr", f"{version('rapidocr')} {names}")

    @property
    def batch_size(self) -> int:
        """See `Reader.batch_size`: enough that cores do not wait for the longest page."""
        return 4 * self._threads

    @profiled("generate")
    def read(self, batch: Sequence[Image.Image]) -> list[ReadPage]:
        """See `Reader.read`."""
        if len(batch) < 2 or self._threads < 2:
            with self._engines[self._threads].use() as engine:
                return [_read(engine, image) for image in batch]
        with (
            self._engines[1].use() as engine,
            ThreadPoolExecutor(self._threads, thread_name_prefix="polymodal-ocr") as pool,
        ):
            return list(pool.map(lambda image: _read(engine, image), batch))


def _rapidocr() -> None:
    import rapidocr  # noqa: F401


def _cores() -> int:
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def _weights() -> dict[str, str]:
    """The files that RapidOCR ships; named one by one, so that it never looks for others online.

    Raises:
        ModelUnavailable: one is missing.
    """
    spec = find_spec("rapidocr")
    assert spec is not None and spec.origin is not None
    folder = Path(spec.origin).parent / "models"
    found = {}
    for part, pattern in _PARTS.items():
        files = sorted(folder.glob(pattern))
        if not files:
            raise ModelUnavailable(f"no {pattern} in {folder}, where RapidOCR ships it. {_REMEDY}")
        found[part] = str(files[0])
    return found


def _open(threads: int, device: str) -> Any:
    """A RapidOCR engine, its three models loaded."""
    from rapidocr import RapidOCR

    gpu = onnx_gpu(device, "RapidOCR")
    paths = {f"{part}.model_path": path for part, path in _weights().items()}
    try:
        engine = RapidOCR(
            params={
                "Global.log_level": "critical",
                "Global.max_side_len": LONGEST_SIDE_PX,
                "Global.text_score": _LEAST_SCORE,
                "Det.limit_type": "max",
                "Det.limit_side_len": DETECTION_SIDE_PX,
                "EngineConfig.onnxruntime.intra_op_num_threads": threads,
                "EngineConfig.onnxruntime.use_cuda": gpu is not None,
                "EngineConfig.onnxruntime.cuda_ep_cfg.device_id": gpu or 0,
                **paths,
            }
        )
        # It loads what it needs on first use, which takes a lock; here, before threads share it.
        blank = np.full((64, 320, 3), 255, np.uint8)
        engine.cls_and_rotate([blank])
        engine.recognize_txt([blank])
    except Exception as error:  # onnxruntime raises what it likes on a damaged file
        raise ModelUnavailable(
            f"RapidOCR's weights cannot be loaded: {error}. {_REMEDY}"
        ) from error
    return engine


def _read(engine: Any, image: Image.Image) -> ReadPage:
    """A page; a small picture also enlarged, where that finds more."""
    page = _read_at_size(engine, image)
    longer, shorter = max(image.size), max(1, min(image.size))
    scale = min(LARGER_SIDE_PX / shorter, DETECTION_SIDE_PX / longer, MOST_ENLARGED)
    if shorter >= SMALL_SIDE_PX or longer < _NO_LETTERS_PX or scale <= 1:
        return page
    size = round(image.width * scale), round(image.height * scale)
    larger = _read_at_size(engine, image.resize(size, Resampling.BICUBIC))
    if _letters(larger) < _FINDS_MORE * _letters(page):
        return page
    x, y = image.width / size[0], image.height / size[1]
    lines = [
        replace(line, box=_rounded((left * x, top * y, right * x, bottom * y)))
        for line in larger.lines
        for left, top, right, bottom in [line.box]
    ]
    return replace(larger, lines=tuple(lines))


def _letters(page: ReadPage) -> float:
    """How many signs were read, each as far as the reader is sure of it."""
    return sum(len(line.text) * line.score for line in page.lines)


def _read_at_size(engine: Any, image: Image.Image) -> ReadPage:
    bgr = np.ascontiguousarray(np.asarray(image.convert("RGB"))[:, :, ::-1])
    height, width = bgr.shape[:2]
    rotation = 0
    boxes, crops, skew_degrees = _detect(engine, bgr)
    if _on_end(boxes):
        rotation = 90
        boxes, crops, skew_degrees = _detect(engine, _turned(bgr, rotation))
    if _upside_down(engine, crops):
        rotation += 180
        boxes, crops, skew_degrees = _detect(engine, _turned(bgr, rotation))
    if not crops:
        return ReadPage(())
    # Boxes are those of the upright page; they are given as the picture was given.
    upright = (width, height) if rotation in {0, 180} else (height, width)
    read = engine.recognize_txt(crops)
    lines = tuple(
        Line(text.strip(), _rounded(turned(box, *upright, (360 - rotation) % 360)), float(score))
        for box, text, score in zip(boxes, read.txts, read.scores, strict=True)
        if text.strip() and score >= _LEAST_SCORE
    )
    return ReadPage(lines, rotation, skew_degrees) if lines else ReadPage(())


def _turned(bgr: Bgr, degrees: int) -> Bgr:
    """Clockwise."""
    return np.ascontiguousarray(np.rot90(bgr, -degrees // 90))


def _detect(engine: Any, bgr: Bgr) -> tuple[list[Box], list[Bgr], tuple[float, float]]:
    """Boxes of the lines of a page in its pixels, the lines cut out, and their skew."""
    from rapidocr.main import RapidOCRError
    from rapidocr.utils.process_img import map_boxes_to_original

    if min(bgr.shape[:2]) < 2:
        return [], [], (0.0, 0.0)
    image, record = engine.preprocess_img(bgr)
    try:
        crops, found = engine.detect_and_crop(image, record)
    except RapidOCRError:  # nothing on it
        return [], [], (0.0, 0.0)
    corners = map_boxes_to_original(found.boxes, record, *bgr.shape[:2])
    kept = [
        ((float(x.min()), float(y.min()), float(x.max()), float(y.max())), crop)
        for (x, y), crop in zip(corners.transpose(0, 2, 1), crops, strict=True)
        if min(crop.shape[:2]) > 1
    ]
    return (
        [box for box, _ in kept],
        [crop for _, crop in kept],
        _skew_degrees(corners, bgr.shape[0]),
    )


def _skew_degrees(corners: NDArray[np.float32], height_px: int) -> tuple[float, float]:
    """The slope of long lines at the upper and at the lower edge; 0 where there are too few to
    tell, or none to speak of.

    Args:
        corners: of each line, clockwise from its upper left, shape (n, 4, 2).
    """
    along = corners[:, 1] - corners[:, 0]
    lengths = np.hypot(*along.T)
    long = lengths > _LONG * np.hypot(*(corners[:, 3] - corners[:, 0]).T)
    if long.sum() < _FEWEST_LONG:
        return 0.0, 0.0
    degrees = np.degrees(np.arctan2(along[long, 1], along[long, 0]))
    y, lengths = corners[long, :, 1].mean(axis=1), lengths[long]
    fit = np.array([0.0, np.median(degrees)])
    kept = np.abs(degrees - fit[1]) < _STRAY
    if kept.sum() >= _FEWEST_FITTED and np.ptp(y[kept]) > 0.3 * height_px:
        # A corner is as wrong on a short line as on a long one, which turns the short one more.
        fit = np.polyfit(y[kept], degrees[kept], 1, w=lengths[kept])
    edges = (float(fit[1]), float(fit[1] + fit[0] * height_px))
    if max(map(abs, edges)) < _LEAST_SKEW or max(map(abs, edges)) > _MOST_SKEW:
        return 0.0, 0.0
    return round(edges[0], 2), round(edges[1], 2)


def _on_end(boxes: Sequence[Box]) -> bool:
    """Whether more of the lines' length stands than lies."""
    lengths = {True: 0.0, False: 0.0}
    for left, top, right, bottom in boxes:
        width, height = right - left, bottom - top
        if max(width, height) > _TALL * min(width, height):
            lengths[height > width] += max(width, height)
    return lengths[True] > lengths[False]


def _upside_down(engine: Any, crops: Sequence[Bgr]) -> bool:
    """What the widest lines say, each as sure as the classifier is."""
    widest = sorted(crops, key=lambda crop: crop.shape[1] / crop.shape[0], reverse=True)[:_VOTERS]
    if not widest:
        return False
    _, votes = engine.cls_and_rotate(widest)
    sure = [label == "180" for label, score in votes.cls_res if score >= _SURE]
    return bool(sum(sure) * 2 > len(sure))


def _rounded(box: Box) -> Box:
    left, top, right, bottom = (round(value, 1) for value in box)
    return left, top, right, bottom
