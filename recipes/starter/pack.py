"""Make an ONNX file small, quick to open, and its results independent of the batch.

Matrices are stored in 8 or 4 bits in blocks of inputs with a scale each, and stay so in memory:
onnxruntime's MatMulNBits multiplies them as they are, with each row of its other input rounded to
8 bits block by block. Nothing is measured over a batch, as dynamic quantisation would do. Opening
the text tower takes a third of what it took when the weights were unpacked to float32 first, and
half the memory. The word table is 8 bits too: rows are gathered first and scaled after.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import helper, numpy_helper

SMALLEST = 4096  # weights below this many values stay as they are
BLOCK = 64
ROUNDED_INPUT = 4  # MatMulNBits' accuracy level: products of bytes, as processors do them best
CLIPPING = np.linspace(0.6, 1.0, 9, dtype=np.float32)
FOUR_BIT = ("heads.", "class_head.")  # weights whose names begin so are stored in four bits

Floats = NDArray[np.float32]
Parts = tuple[list[onnx.TensorProto], list[onnx.NodeProto]]


def int8(weight: Floats, axis: int) -> tuple[NDArray[np.int8], Floats]:
    """Symmetric int8 values and float32 scales of `weight`, one scale per slice along `axis`."""
    others = tuple(i for i in range(weight.ndim) if i != axis)
    scale = np.maximum(np.abs(weight).max(others, keepdims=True), 1e-12) / 127.0
    values = np.clip(np.rint(weight / scale), -127, 127).astype(np.int8)
    return values, scale.astype(np.float32)


def blocks(weight: Floats, bits: int) -> tuple[NDArray[np.uint8], Floats]:
    """A matrix [N, K] as bytes [N, K / 64, 64 * bits / 8] and scales [N, K / 64], K rounded up.

    Values are offset by half their range. In four bits the low half of a byte comes first.
    """
    top, middle = 2 ** (bits - 1) - 1, 2 ** (bits - 1)
    padded = np.pad(weight, ((0, 0), (0, -weight.shape[1] % BLOCK)))
    parts = padded.reshape(len(weight), -1, BLOCK)
    scale = np.maximum(np.abs(parts).max(2, keepdims=True), 1e-7) / top
    if bits < 8:  # clipping a block's few largest weights often costs less than it gains
        scale = least_error(parts, scale, top)
    values = (np.clip(np.rint(parts / scale), -middle, top) + middle).astype(np.uint8)
    if bits == 4:
        values = values[..., 0::2] + 16 * values[..., 1::2]
    return values, scale[..., 0].astype(np.float32)


def unblocked(values: NDArray[np.uint8], scale: Floats, bits: int, width: int) -> Floats:
    """The matrix [N, `width`] that `blocks` stored."""
    if bits == 4:
        values = np.stack([values % 16, values // 16], -1).reshape(*values.shape[:2], BLOCK)
    parts = (values.astype(np.float32) - 2 ** (bits - 1)) * scale[..., None]
    return parts.reshape(len(values), -1)[:, :width]


def least_error(parts: Floats, widest: Floats, top: int) -> Floats:
    """Of each block's scales in `CLIPPING`, the one with the least squared error."""
    scale, least = widest, np.full(widest.shape, np.inf, np.float32)
    for factor in CLIPPING:
        tried = widest * factor
        rounded = np.clip(np.rint(parts / tried), -top - 1, top) * tried
        error = ((rounded - parts) ** 2).sum(2, keepdims=True)
        scale, least = np.where(error < least, tried, scale), np.minimum(error, least)
    return scale


def constant(name: str, value: NDArray[np.generic]) -> onnx.TensorProto:
    """An initializer."""
    return numpy_helper.from_array(np.asarray(value), name)


def product(node: onnx.NodeProto, weight: Floats) -> Parts:
    """A MatMulNBits in place of a Gemm or MatMul whose second input is `weight`, [N, K]."""
    name = node.input[1]
    bits = 4 if name.startswith(FOUR_BIT) else 8
    values, scale = blocks(weight, bits)
    inputs = [node.input[0], f"{name}.q", f"{name}.s"]
    if len(node.input) > 2:  # the bias comes after two inputs that are not used
        inputs += ["", "", node.input[2]]
    new = helper.make_node(
        "MatMulNBits",
        inputs,
        list(node.output),
        name=node.name,
        domain="com.microsoft",
        N=len(weight),
        K=weight.shape[1],
        bits=bits,
        block_size=BLOCK,
        accuracy_level=ROUNDED_INPUT,
    )
    return [constant(f"{name}.q", values), constant(f"{name}.s", scale)], [new]


def lookup(node: onnx.NodeProto, weight: Floats) -> Parts:
    """A lookup that fetches int8 rows and their scales, and multiplies after."""
    values, scale = int8(weight, 0)
    (name, ids), out = node.input[:2], node.output[0]
    return (
        [constant(f"{name}.q", values), constant(f"{name}.s", scale)],
        [
            helper.make_node("Gather", [f"{name}.q", ids], [f"{out}.q"], axis=0),
            helper.make_node("Gather", [f"{name}.s", ids], [f"{out}.s"], axis=0),
            helper.make_node("Cast", [f"{out}.q"], [f"{out}.f"], to=onnx.TensorProto.FLOAT),
            helper.make_node("Mul", [f"{out}.f", f"{out}.s"], [out]),
        ],
    )


def packed(node: onnx.NodeProto, weight: Floats) -> Parts:
    """What stands in for one node and its weight."""
    if node.op_type == "Gather":
        return lookup(node, weight)
    transposed = any(a.name == "transB" and a.i for a in node.attribute)
    return product(node, np.ascontiguousarray(weight if transposed else weight.T))


def small(source: Path, target: Path) -> None:
    """Write `source` to `target` with the weights of Gemm, MatMul and Gather packed."""
    model = onnx.load(str(source))
    graph = model.graph
    tensors = {tensor.name: tensor for tensor in graph.initializer}
    uses = [name for node in graph.node for name in node.input]
    nodes: list[onnx.NodeProto] = []
    for node in graph.node:
        position = 0 if node.op_type == "Gather" else 1
        packs = node.op_type in {"Gemm", "MatMul", "Gather"} and len(node.input) > position
        tensor = tensors.get(node.input[position]) if packs else None
        if (
            tensor is None
            or tensor.data_type != onnx.TensorProto.FLOAT
            or uses.count(tensor.name) > 1
            or np.prod(tensor.dims) < SMALLEST
        ):
            nodes.append(node)
            continue
        stored, new = packed(node, numpy_helper.to_array(tensor))
        graph.initializer.remove(tensor)
        graph.initializer.extend(stored)
        nodes += new
    del graph.node[:]
    graph.node.extend(nodes)
    if not any(entry.domain == "com.microsoft" for entry in model.opset_import):
        model.opset_import.append(helper.make_opsetid("com.microsoft", 1))
    onnx.checker.check_model(model)
    onnx.save(model, str(target))
