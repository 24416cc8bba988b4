"""Run the frozen backbones once and keep what they see, so that training never runs them.

What runs is the backbone in static int8, exactly as it is shipped: heads learn on the features
they will get. Augmentation is a choice between stored views (`VIEWS`). Every array is written
under a temporary name and renamed when whole: a run that was stopped goes on where it was.
"""

from __future__ import annotations

import sys
import tempfile
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from recipes.starter import backbones, data, quantize

SIZE = 256
BATCH = 8
VIEWS = 4  # the photograph, its mirror image, a crop, a mirrored crop
CALIBRATION_PHOTOGRAPHS = 128


def calibration_pixels(root: Path) -> data.Pixels:
    """Training photographs on which the activation ranges are found [N, S, S, 3]."""
    paths = data.flickr(root, "train").paths
    chosen = np.random.default_rng(0).permutation(len(paths))[:CALIBRATION_PHOTOGRAPHS]
    return np.stack([data.load_square(paths[i], SIZE) for i in chosen])


def session(name: str, folder: Path, root: Path) -> Any:
    """An onnxruntime session of the int8 backbone: pixels -> grid, summary."""
    import onnxruntime as ort

    path = folder / f"{name}.onnx"
    if not path.exists():
        backbone, _ = backbones.load(name)
        axes = {key: {0: "batch"} for key in (quantize.INPUT, "grid", "summary")}
        with tempfile.TemporaryDirectory() as scratch:
            plain = Path(scratch) / "plain.onnx"
            torch.onnx.export(
                backbone.eval(),
                (torch.zeros(2, 3, SIZE, SIZE),),
                str(plain),
                dynamo=False,
                input_names=[quantize.INPUT],
                output_names=["grid", "summary"],
                dynamic_axes=axes,
                opset_version=17,
            )
            part = path.with_suffix(".part.onnx")
            quantize.static_int8(plain, part, calibration_pixels(root), ("/",))
            part.rename(path)
    options = ort.SessionOptions()
    options.intra_op_num_threads = torch.get_num_threads()
    options.add_session_config_entry("session.intra_op.allow_spinning", "0")
    return ort.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])


def compute(name: str, paths: list[Path], view: int, out: Path, runner: Any) -> None:
    """Write the summaries of one view of `paths`; files are read while the net runs."""
    random = np.random.default_rng(1000 * view + 7)

    def read(rows: slice) -> data.Pixels:
        if view < 2:
            return np.stack([data.load_square(path, SIZE, view == 1) for path in paths[rows]])
        return np.stack([data.load_crop(path, SIZE, view == 3, random) for path in paths[rows]])

    parts, began = [], time.monotonic()
    jobs = list(data.batches(len(paths), BATCH))
    with ThreadPoolExecutor(1) as pool:
        ahead = pool.submit(read, jobs[0])
        for number in range(len(jobs)):
            pixels = ahead.result()
            if number + 1 < len(jobs):
                ahead = pool.submit(read, jobs[number + 1])
            parts.append(runner.run(["summary"], {"pixels": pixels})[0])
            if number % 80 == 0:
                left_s = (time.monotonic() - began) * (len(jobs) / (number + 1) - 1)
                print(
                    f"{name} {out.stem}: {number}/{len(jobs)}, {left_s:.0f} s left", file=sys.stderr
                )
    part = out.with_suffix(".part.npy")
    np.save(part, np.concatenate(parts).astype(np.float16))
    part.rename(out)


def path_of(cache: Path, name: str, split: str, view: int) -> Path:
    """Where the summaries of a view are stored."""
    return cache / f"{name}-{SIZE}" / f"{split}_{view}.summary.npy"


def fill(root: Path, cache: Path, names: tuple[str, ...]) -> None:
    """Fill the cache: every view of the training photographs, one of dev."""
    for name in names:
        for split, view in (("dev", 0), *(("train", view) for view in range(VIEWS))):
            out = path_of(cache, name, split, view)
            if not out.exists():
                out.parent.mkdir(parents=True, exist_ok=True)
                runner = session(name, out.parent, root)
                compute(name, data.flickr(root, split).paths, view, out, runner)


def summaries(cache: Path, name: str, split: str, view: int = 0) -> NDArray[np.float32]:
    """Summaries [image, F]; the first 1280 numbers are the pooled grid."""
    out: NDArray[np.float32] = np.load(path_of(cache, name, split, view)).astype(np.float32)
    return out
