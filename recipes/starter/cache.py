"""Run the frozen backbones once and keep their pooled features, so that training never runs them.

Augmentation is a choice between two stored views: 0 is the photograph, 1 its mirror image. Every
array is written under a temporary name and renamed when whole: a run that was stopped goes on
where it was.
"""

from __future__ import annotations

import sys
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from recipes.starter import backbones, data

SIZE = 256
BATCH = 16


class Pooled(nn.Module):
    """A backbone followed by average pooling."""

    def __init__(self, backbone: nn.Module) -> None:
        super().__init__()
        self.backbone = backbone

    def forward(self, pixels_BHWC: Tensor) -> Tensor:
        grid_BFHW: Tensor = self.backbone(pixels_BHWC)
        return grid_BFHW.mean((2, 3))


def session(name: str, folder: Path) -> Any:
    """An onnxruntime session of the frozen network: twice as fast as torch's eager mode."""
    import onnxruntime as ort

    path = folder / f"{name}.pooled.onnx"
    if not path.exists():
        backbone, _ = backbones.load(name)
        pixels = torch.zeros(2, SIZE, SIZE, 3, dtype=torch.uint8)
        torch.onnx.export(
            Pooled(backbone).eval(),
            (pixels,),
            str(path),
            dynamo=False,
            input_names=["pixels"],
            output_names=["pooled"],
            dynamic_axes={"pixels": {0: "batch"}, "pooled": {0: "batch"}},
        )
    options = ort.SessionOptions()
    options.intra_op_num_threads = torch.get_num_threads()
    options.add_session_config_entry("session.intra_op.allow_spinning", "0")
    return ort.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])


def compute(name: str, paths: list[Path], mirrored: bool, out: Path, runner: Any) -> None:
    """Write the pooled features of one view of `paths`; files are read while the net runs."""

    def read(rows: slice) -> data.Pixels:
        return np.stack([data.load_square(path, SIZE, mirrored) for path in paths[rows]])

    parts, began = [], time.monotonic()
    jobs = list(data.batches(len(paths), BATCH))
    with ThreadPoolExecutor(1) as pool:
        ahead = pool.submit(read, jobs[0])
        for number in range(len(jobs)):
            pixels = ahead.result()
            if number + 1 < len(jobs):
                ahead = pool.submit(read, jobs[number + 1])
            parts.append(runner.run(["pooled"], {"pixels": pixels})[0])
            if number % 40 == 0:
                left_s = (time.monotonic() - began) * (len(jobs) / (number + 1) - 1)
                print(
                    f"{name} {out.stem}: {number}/{len(jobs)}, {left_s:.0f} s left", file=sys.stderr
                )
    part = out.with_suffix(".part.npy")
    np.save(part, np.concatenate(parts))
    part.rename(out)


def path_of(cache: Path, name: str, split: str, view: int) -> Path:
    """Where the features of a view are stored."""
    return cache / f"{name}-{SIZE}" / f"{split}_{view}.pooled.npy"


def fill(root: Path, cache: Path, names: tuple[str, ...]) -> None:
    """Fill the cache: both views of the training photographs, one of dev."""
    for name in names:
        for split, view in (("dev", 0), ("train", 0), ("train", 1)):
            out = path_of(cache, name, split, view)
            if not out.exists():
                out.parent.mkdir(parents=True, exist_ok=True)
                runner = session(name, out.parent)
                compute(name, data.flickr(root, split).paths, view == 1, out, runner)


def pooled(cache: Path, name: str, split: str, view: int = 0) -> NDArray[np.float32]:
    """Pooled features [image, 1280]."""
    out: NDArray[np.float32] = np.load(path_of(cache, name, split, view))
    return out
