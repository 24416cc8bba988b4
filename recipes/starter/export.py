"""The trained towers as two ONNX files that need nothing but onnxruntime.

The traced float32 graph goes through `pack.small`; the packed file is then compared with
the torch towers, and an export whose embeddings moved is refused.
"""

from __future__ import annotations

import tempfile
from collections.abc import Callable
from pathlib import Path

import numpy as np
import onnxruntime as ort
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from recipes.starter import backbones, pack, quantize

OPSET = 17
LOWEST_IMAGE_COSINE = 0.9  # static int8 moves a picture a little; LOG.md has what recall it costs
LOWEST_TEXT_COSINE = 0.99


def session(path: Path, threads: int = 0) -> ort.InferenceSession:
    """An onnxruntime session on the CPU."""
    options = ort.SessionOptions()
    options.intra_op_num_threads = threads
    return ort.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])


def trace(
    tower: nn.Module,
    inputs: tuple[Tensor, ...],
    path: Path,
    names: list[str],
    outputs: list[str],
    axes: dict[str, dict[int, str]],
) -> None:
    """Write the float32 graph of `tower`."""
    torch.onnx.export(
        tower.eval(),
        inputs,
        str(path),
        input_names=names,
        output_names=outputs,
        dynamic_axes=axes,
        opset_version=OPSET,
        dynamo=False,
    )


def image_tower(tower: nn.Module, pixels_NHWC: NDArray[np.uint8], path: Path) -> None:
    """Write the image tower: pixels -> embedding, features, grid.

    The backbones run in static int8, with ranges found on `pixels_NHWC`; the rest in float32.
    """
    outputs = ["embedding", "features", "grid"]
    axes = {name: {0: "batch"} for name in (quantize.INPUT, *outputs)}
    sample = backbones.normalised(torch.from_numpy(pixels_NHWC[:2]))
    with tempfile.TemporaryDirectory() as folder:
        plain, integers = Path(folder) / "plain.onnx", Path(folder) / "int8.onnx"
        trace(tower, (sample,), plain, [quantize.INPUT], outputs, axes)
        quantize.static_int8(plain, integers, pixels_NHWC, ("/networks",))
        pack.small(integers, path)


def text_tower(
    tower: nn.Module, path: Path, store: Callable[[Path, Path], None] = pack.small
) -> None:
    """Write the text tower: input_ids, attention_mask -> embedding."""
    ids = torch.ones(2, 5, dtype=torch.int64)
    axes = {name: {0: "batch", 1: "length"} for name in ("input_ids", "attention_mask")}
    with tempfile.TemporaryDirectory() as folder:
        plain = Path(folder) / "plain.onnx"
        trace(
            tower,
            (ids, ids),
            plain,
            ["input_ids", "attention_mask"],
            ["embedding"],
            {**axes, "embedding": {0: "batch"}},
        )
        store(plain, path)


def lowest_cosine(a: NDArray[np.float32], b: NDArray[np.float32]) -> float:
    """The smallest cosine between rows of two arrays."""
    norms = np.linalg.norm(a, axis=1) * np.linalg.norm(b, axis=1)
    return float(((a * b).sum(1) / np.maximum(norms, 1e-12)).min())


def check(tower: nn.Module, path: Path, inputs: dict[str, Tensor], lowest: float) -> float:
    """Compare a packed file with its torch tower; returns the lowest cosine of the embeddings.

    Raises ValueError below `lowest`.
    """
    with torch.no_grad():
        if "pixels" in inputs:
            out = tower.eval()(backbones.normalised(inputs["pixels"]))[0]
        else:
            out = tower.eval()(*inputs.values())
    feed = {name: value.numpy() for name, value in inputs.items()}
    got = session(path).run(["embedding"], feed)[0]
    cosine = lowest_cosine(out.numpy(), got)
    if cosine < lowest:
        raise ValueError(f"{path.name}: the packed file moved embeddings (cosine {cosine:.4f})")
    return cosine
