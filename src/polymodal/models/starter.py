"""The starter embedder: two small ONNX towers, pictures and texts into one space, on a CPU.

Notable: the towers load separately and only when used, so a text search never reads the image
tower; weight files arrive as verified bytes (`read`), so this module knows nothing of where they
live. On a CPU every core looks at a picture of its own, which also bounds memory.
"""

from __future__ import annotations

import io
import os
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from functools import cached_property
from typing import TYPE_CHECKING, Any, TypeVar

import numpy as np

from polymodal.errors import DamagedWeights
from polymodal.models.precision import check_device, onnx_gpu
from polymodal.models.protocols import CloseLook, Device, Pixels
from polymodal.models.resident import Resident
from polymodal.models.starter_close import StarterCloseUp
from polymodal.models.vectors import CutWarning, require_words
from polymodal.profiling import profiled
from polymodal.results import Space, Vector

if TYPE_CHECKING:
    from PIL import Image

    from polymodal.models.wordpiece import WordPiece

__all__ = [
    "CROPS",
    "FILTERS",
    "StarterCalibration",
    "StarterEmbedder",
    "StarterSpec",
    "cores",
    "everyday_things",
    "onnx",
    "open_session",
    "run_each",
]

Item = TypeVar("Item")
Result = TypeVar("Result")

IMAGE_FILE = "embedder/image.onnx"
TEXT_FILE = "embedder/text.onnx"
TOKENIZER_FILE = "embedder/tokenizer.json"
EVERYDAY_FILE = "embedder/everyday.npy"

GPU_IMAGE_BATCH = 64
TEXT_BATCH = 32
PAD = (127, 127, 127)
CROPS = ("squash", "center", "pad")
FILTERS = ("bilinear", "bicubic", "lanczos")


@dataclass(frozen=True)
class StarterCalibration:
    """See `Calibration`; every number comes from the card."""

    classify_temperature: float
    match_scale: float
    match_bias: float
    relevant_cosine: float
    unknown_scale: float
    unknown_bias: float
    multi_label_scale: float
    multi_label_bias: float
    templates: tuple[str, ...]
    kinds: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    everyday_nearest: int = 0
    read_everyday: Callable[[], Vector] | None = None

    @cached_property
    def everyday(self) -> Vector | None:
        """Read where a label may be none of those given; most work has no need of it."""
        return self.read_everyday() if self.read_everyday is not None else None


def everyday_things(read: Callable[[str], bytes], dimension: int) -> Vector:
    """What photographs show that nobody asks for; unit vectors, shape (things, dimension).

    Raises:
        DamagedWeights: when the file has no such array.
    """
    try:
        things = np.load(io.BytesIO(read(EVERYDAY_FILE)), allow_pickle=False)
    except ValueError as error:
        raise DamagedWeights(f"{EVERYDAY_FILE} cannot be read: {error}") from error
    if things.ndim != 2 or things.shape[1] != dimension:
        raise DamagedWeights(f"{EVERYDAY_FILE} has the shape {things.shape}, not (*, {dimension}).")
    vectors: Vector = things.astype(np.float32)
    return vectors


@dataclass(frozen=True)
class StarterSpec:
    """What the card says about the towers.

    Attributes:
        image_size_px: side of the square that the image tower takes.
        crop: how a picture becomes a square: "squash" changes its proportions, "center" cuts the
            longer side, "pad" adds grey.
        resize: the filter, one of `FILTERS`.
        max_tokens: longest text, special tokens included.
        close_look: how close probes may look; None where the tower takes one size alone.
    """

    space: Space
    image_size_px: int
    crop: str
    resize: str
    max_tokens: int
    calibration: StarterCalibration
    close_look: CloseLook | None = None


class StarterEmbedder:
    """Fits `Embedder`, `Calibrated`, `FeatureExtractor` and `CloseLooker`.

    Safe to use from several threads.
    """

    def __init__(
        self, spec: StarterSpec, read: Callable[[str], bytes], *, device: Device = "auto"
    ) -> None:
        """`read(name)` gives the verified bytes of a weight file; it is called on first use."""
        self._spec = spec
        self._read = read
        check_device(device)
        self._device = device
        self._image = Resident("image tower", lambda: self._session(IMAGE_FILE), prepare=onnx)
        self._text = Resident("text tower", self._load_text, prepare=onnx)
        self._cut = CutWarning(spec.space.model)

    @cached_property
    def _providers(self) -> list[Any]:
        number = onnx_gpu(self._device, "the starter")
        if number is None:
            return ["CPUExecutionProvider"]
        return [("CUDAExecutionProvider", {"device_id": number}), "CPUExecutionProvider"]

    @property
    def residents(self) -> Sequence[Resident[Any]]:
        """See `Unloadable.residents`."""
        return (self._image, self._text)

    @property
    def space(self) -> Space:
        """See `Embedder.space`."""
        return self._spec.space

    @property
    def image_size_px(self) -> int:
        """See `Embedder.image_size_px`."""
        return self._spec.image_size_px

    @property
    def calibration(self) -> StarterCalibration:
        """See `Calibrated.calibration`."""
        return self._spec.calibration

    @profiled("preprocess")
    def preprocess(self, image: Image.Image) -> Pixels:
        """uint8 RGB, shape (image_size_px, image_size_px, 3), resized as the card says."""
        return resize_square(image, self._spec.image_size_px, self._spec.crop, self._spec.resize)

    def embed_images(self, batch: Sequence[Pixels]) -> Vector:
        """See `Embedder.embed_images`."""
        return self._run_images(batch, ["embedding"], self.space.dimension)[0]

    def extract_features(self, batch: Sequence[Pixels]) -> Vector:
        """See `FeatureExtractor.extract_features`."""
        return self._run_images(batch, ["features"], 0)[0]

    def embed_and_extract(self, batch: Sequence[Pixels]) -> tuple[Vector, Vector]:
        """See `FeatureExtractor.embed_and_extract`."""
        if not batch:
            return self.embed_images(batch), self.extract_features(batch)
        vectors, features = self._run_images(batch, ["embedding", "features"], 0)
        return vectors, features

    @cached_property
    def close_up(self) -> StarterCloseUp | None:
        """See `CloseLooker.close_up`."""
        spec, look = self._spec, self._spec.close_look
        if look is None:
            return None
        return StarterCloseUp(
            look,
            lambda image: resize_square(image, look.image_size_px, spec.crop, spec.resize),
            lambda batch: self._run_images(batch, ["features", "grid"], 0),
        )

    def embed_and_grid(self, batch: Sequence[Pixels]) -> tuple[Vector, Vector]:
        """Vectors as `embed_images` gives them, and float32 features of places from the same pass.

        The grids have the shape (n, places, features); the captioner reads them.

        Raises:
            DamagedWeights: when the image tower is one without a grid.
        """
        with self._image.use() as session:
            outputs = {output.name for output in session.get_outputs()}
        if "grid" not in outputs:
            raise DamagedWeights(
                f"{IMAGE_FILE} of {self.space.model}@{self.space.revision} gives no grid for the"
                " captioner to read: the two are of different versions. Install the model again."
            )
        if not batch:
            return self.embed_images(batch), np.zeros((0, 0, 0), np.float32)
        vectors, grids = self._run_images(batch, ["embedding", "grid"], 0)
        return vectors, grids

    @profiled("encode")
    def embed_texts(self, texts: Sequence[str]) -> Vector:
        """See `Embedder.embed_texts`.

        Raises:
            UsageError: when a text is empty or only white space; names its position.
        """
        require_words(texts)
        vectors = np.zeros((len(texts), self.space.dimension), np.float32)
        with self._text.use() as (tokenizer, session):
            tokens = self._encode(tokenizer, texts)
            # Texts of one length together: no padding to compute, and none to differ by.
            order = sorted(range(len(texts)), key=lambda row: len(tokens[row]))
            for rows in _same_length(order, tokens):
                ids = np.array([tokens[row] for row in rows], np.int64)
                feed = {"input_ids": ids, "attention_mask": np.ones_like(ids)}
                vectors[rows] = session.run(["embedding"], feed)[0]
        return vectors

    @profiled("encode")
    def _run_images(self, batch: Sequence[Pixels], outputs: list[str], width: int) -> list[Vector]:
        if not batch:
            return [np.zeros((0, width), np.float32) for _ in outputs]
        with self._image.use() as session:
            if len(self._providers) == 1:
                # Measured: a core a picture takes 15 ms where all cores on two pictures take 25,
                # and a picture's vector is then the same to the last bit in any batch.
                parts = run_each(lambda each: session.run(outputs, {"pixels": each[None]}), batch)
            else:
                parts = [
                    session.run(outputs, {"pixels": np.stack(batch[at : at + GPU_IMAGE_BATCH])})
                    for at in range(0, len(batch), GPU_IMAGE_BATCH)
                ]
        return [
            np.concatenate(each).astype(np.float32, copy=False) for each in zip(*parts, strict=True)
        ]

    def _encode(self, tokenizer: WordPiece, texts: Sequence[str]) -> list[list[int]]:
        most = self._spec.max_tokens
        whole = [tokenizer.encode(text) for text in texts]
        encodings = [tokenizer.cut(ids, most) for ids in whole]
        for ids in whole:
            self._cut(len(ids), most)
        return encodings

    def _load_text(self) -> tuple[WordPiece, Any]:
        from polymodal.models.wordpiece import WordPiece

        return WordPiece(self._read(TOKENIZER_FILE)), self._session(TEXT_FILE)

    def _session(self, name: str) -> Any:
        alone = name == IMAGE_FILE and len(self._providers) == 1
        return open_session(self._read(name), self._providers, 1 if alone else cores())


def resize_square(image: Image.Image, side_px: int, crop: str, resize: str) -> Pixels:
    """The picture as a square: uint8 RGB, shape (side_px, side_px, 3).

    Args:
        crop: one of `CROPS`.
        resize: one of `FILTERS`.
    """
    from PIL import Image

    image = image if image.mode == "RGB" else image.convert("RGB")
    method = Image.Resampling[resize.upper()]
    if crop != "pad":
        width, height = image.size
        cut = (width, height) if crop == "squash" else (min(image.size),) * 2
        left, top = (width - cut[0]) / 2, (height - cut[1]) / 2
        box = (left, top, left + cut[0], top + cut[1])
        return np.asarray(image.resize((side_px, side_px), method, box, reducing_gap=3.0))
    scale = side_px / max(image.size)
    size = (max(1, round(image.width * scale)), max(1, round(image.height * scale)))
    canvas = Image.new("RGB", (side_px, side_px), PAD)
    corner = ((side_px - size[0]) // 2, (side_px - size[1]) // 2)
    canvas.paste(image.resize(size, method, reducing_gap=3.0), corner)
    return np.asarray(canvas)


def cores() -> int:
    """Cores that this process may use."""
    affinity = getattr(os, "sched_getaffinity", None)
    return len(affinity(0)) if affinity else os.cpu_count() or 1


def run_each(run: Callable[[Item], Result], items: Sequence[Item]) -> list[Result]:
    """`run` on every item, in order, a core each; on the caller's thread where there is one."""
    if len(items) < 2 or cores() < 2:
        return [run(item) for item in items]
    with ThreadPoolExecutor(min(len(items), cores()), "polymodal-model") as pool:
        return list(pool.map(run, items))


def onnx() -> None:
    """Import onnxruntime."""
    import onnxruntime  # noqa: F401


def open_session(model: bytes, providers: list[Any], threads: int) -> Any:
    """An onnxruntime session whose runs use `threads` cores each."""
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = threads
    options.inter_op_num_threads = 1
    # Idle threads sleep: spinning ones would take the cores from the decoders.
    options.add_session_config_entry("session.intra_op.allow_spinning", "0")
    options.log_severity_level = 3
    return onnxruntime.InferenceSession(model, options, providers=providers)


def _same_length(order: Sequence[int], tokens: Sequence[Sequence[int]]) -> list[list[int]]:
    """Rows in batches of at most `TEXT_BATCH` texts with the same number of tokens."""
    batches: list[list[int]] = []
    for row in order:
        last = batches[-1] if batches else None
        same = last is not None and len(tokens[last[0]]) == len(tokens[row])
        if last is not None and same and len(last) < TEXT_BATCH:
            last.append(row)
        else:
            batches.append([row])
    return batches
