"""Static int8 for the image tower's convolutions: activations in 8 bits with fixed scales.

Notable: every scale is a constant found on training photographs, so an embedding does not depend
on its batch, and the integer sums are exact, so it hardly depends on the processor either. Three
things keep the whole backbone in integers between the pixels and the last grid: padding is part of
the convolution, the pixels themselves are the first quantised tensor, and ReLU6 is what a scale of
6 / 255 clips to anyway.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import helper, numpy_helper
from onnxruntime.quantization import (
    CalibrationDataReader,
    CalibrationMethod,
    QuantFormat,
    QuantType,
    quantize_static,
)
from onnxruntime.quantization.shape_inference import quant_pre_process

INPUT = "x"  # float32 [B, 3, S, S], (pixels - 127) / 128
CALIBRATION_BATCH = 8


def fold_pads(path: Path) -> None:
    """Turn every constant zero `Pad` before a `Conv` into the convolution's own padding."""
    model = onnx.load(str(path))
    graph = model.graph
    values = {tensor.name: numpy_helper.to_array(tensor) for tensor in graph.initializer}
    pads = {node.output[0]: node for node in graph.node if node.op_type == "Pad"}
    folded: set[str] = set()
    for node in graph.node:
        pad = pads.get(node.input[0]) if node.op_type == "Conv" else None
        if pad is None:
            continue
        folded.add(pad.output[0])
        top, left, bottom, right = values[pad.input[1]].reshape(2, 4)[:, 2:].ravel().tolist()
        kept = [attribute for attribute in node.attribute if attribute.name != "pads"]
        del node.attribute[:]
        node.attribute.extend([*kept, helper.make_attribute("pads", [top, left, bottom, right])])
        node.input[0] = pad.input[0]
    left_over = [node for node in graph.node if node.output[0] not in folded]
    del graph.node[:]
    graph.node.extend(left_over)
    onnx.checker.check_model(model)
    onnx.save(model, str(path))


class Reader(CalibrationDataReader):  # type: ignore[misc]
    """Photographs as the network's float input."""

    def __init__(self, pixels_NHWC: NDArray[np.uint8]) -> None:
        self.batches = self._batches(pixels_NHWC)

    def _batches(self, pixels_NHWC: NDArray[np.uint8]) -> Iterator[dict[str, Any]]:
        for start in range(0, len(pixels_NHWC), CALIBRATION_BATCH):
            part = pixels_NHWC[start : start + CALIBRATION_BATCH].transpose(0, 3, 1, 2)
            yield {INPUT: (part.astype(np.float32) - 127.0) / 128.0}

    def get_next(self) -> dict[str, Any] | None:
        """The next batch, or None at the end."""
        return next(self.batches, None)


def pixels_first(path: Path) -> None:
    """Replace the first quantisation by the pixels: a byte p stands for (p - 127) / 128 already.

    Photographs may be of any size, so shapes inside that were true of one size are left out.
    """
    model = onnx.load(str(path))
    graph = model.graph
    (first,) = [node for node in graph.node if INPUT in node.input]
    assert first.op_type == "QuantizeLinear", first.op_type
    values = {tensor.name: numpy_helper.to_array(tensor) for tensor in graph.initializer}
    assert (values[first.input[1]], values[first.input[2]]) == (np.float32(1 / 128), 127)
    turn = helper.make_node("Transpose", ["pixels"], list(first.output), perm=[0, 3, 1, 2])
    position = list(graph.node).index(first)
    graph.node.remove(first)
    graph.node.insert(position, turn)
    pixels = helper.make_tensor_value_info(
        "pixels", onnx.TensorProto.UINT8, ["batch", "height", "width", 3]
    )
    del graph.input[:], graph.value_info[:]
    graph.input.append(pixels)
    onnx.checker.check_model(model)
    onnx.save(model, str(path))


def static_int8(
    source: Path, target: Path, pixels_NHWC: NDArray[np.uint8], prefixes: tuple[str, ...]
) -> None:
    """Write `source` with its backbone in static int8.

    Args:
        source: a float32 graph from `INPUT`.
        pixels_NHWC: photographs to find the activation ranges on.
        prefixes: what the names of the nodes to quantise begin with.
    """
    prepared = target.with_suffix(".prepared.onnx")
    quant_pre_process(str(source), str(prepared), skip_symbolic_shape=True)
    fold_pads(prepared)
    nodes = onnx.load(str(prepared)).graph.node
    scale, zero = np.array(1 / 128, np.float32), np.array(127, np.uint8)
    quantize_static(
        str(prepared),
        str(target),
        Reader(pixels_NHWC),
        quant_format=QuantFormat.QDQ,
        op_types_to_quantize=["Conv", "Clip", "Add"],
        nodes_to_exclude=[node.name for node in nodes if not node.name.startswith(prefixes)],
        per_channel=True,
        activation_type=QuantType.QUInt8,
        weight_type=QuantType.QInt8,
        calibrate_method=CalibrationMethod.MinMax,
        extra_options={"TensorQuantOverrides": {INPUT: [{"scale": scale, "zero_point": zero}]}},
    )
    prepared.unlink()
    pixels_first(target)
