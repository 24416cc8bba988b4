"""Make an ONNX file small without making its results depend on the batch.

Weights are stored as int8 with one scale per output channel, those of the heads as 4-bit numbers
with one scale per 64 inputs, and turned back into float32 by nodes over constants, which
onnxruntime folds once when it loads the file. What runs is float32: nothing is measured over a
batch, as dynamic quantisation would do, so an item's embedding does not change with its
neighbours. The word table stays int8 in memory too: rows are gathered first and scaled after.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import helper, numpy_helper

SMALLEST = 4096  # weights below this many values stay as they are
GROUP = 64
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


def int4(weight: Floats) -> tuple[NDArray[np.uint8], NDArray[np.float16]]:
    """A matrix [N, K] as two 4-bit numbers a byte [N, K / 64, 32] and scales [N, K / 64, 1].

    The low half of a byte belongs to the first 32 inputs of a group, the high half to the last.
    """
    groups = weight.reshape(len(weight), -1, GROUP)
    widest = np.maximum(np.abs(groups).max(2, keepdims=True), 1e-7) / 7.0
    scale, least = widest.astype(np.float16), np.full(widest.shape, np.inf, np.float32)
    for factor in CLIPPING:  # clipping a group's few largest weights often costs less than it gains
        tried = (widest * factor).astype(np.float16)
        error = ((np.clip(np.rint(groups / tried), -8, 7) * tried - groups) ** 2).sum(
            2, keepdims=True
        )
        scale, least = np.where(error < least, tried, scale), np.minimum(error, least)
    values = np.clip(np.rint(groups / scale.astype(np.float32)), -8, 7).astype(np.int8) + 8
    low, high = np.split(values.astype(np.uint8), 2, axis=2)
    return low + 16 * high, scale


def constant(name: str, value: NDArray[np.generic]) -> onnx.TensorProto:
    """An initializer."""
    return numpy_helper.from_array(np.asarray(value), name)


def cast(source: str, target: str) -> onnx.NodeProto:
    """A node to float32."""
    return helper.make_node("Cast", [source], [target], to=onnx.TensorProto.FLOAT)


def unpack_int8(name: str, weight: Floats, axis: int) -> Parts:
    """Initializers and nodes that give `weight` back under its own name."""
    values, scale = int8(weight, axis)
    return (
        [constant(f"{name}.q", values), constant(f"{name}.s", scale)],
        [
            cast(f"{name}.q", f"{name}.f"),
            helper.make_node("Mul", [f"{name}.f", f"{name}.s"], [name]),
        ],
    )


def unpack_int4(name: str, weight: Floats) -> Parts:
    """The same for four bits: high = floor(byte / 16), low = byte - 16 high."""
    values, scale = int4(weight)
    n = name
    numbers = {"sixteenth": 1 / 16, "sixteen": 16.0, "eight": 8.0}
    stored = [
        constant(f"{n}.q", values),
        constant(f"{n}.s", scale),
        constant(f"{n}.shape", np.array(weight.shape, np.int64)),
        *(constant(f"{n}.{key}", np.array(value, np.float32)) for key, value in numbers.items()),
    ]
    steps = [
        ("Mul", ["f", "sixteenth"], "d"),
        ("Floor", ["d"], "high"),
        ("Mul", ["high", "sixteen"], "h16"),
        ("Sub", ["f", "h16"], "low"),
    ]
    nodes = [cast(f"{n}.q", f"{n}.f"), cast(f"{n}.s", f"{n}.s32")]
    nodes += [
        helper.make_node(op, [f"{n}.{i}" for i in ins], [f"{n}.{out}"]) for op, ins, out in steps
    ]
    nodes += [
        helper.make_node("Concat", [f"{n}.low", f"{n}.high"], [f"{n}.both"], axis=2),
        helper.make_node("Sub", [f"{n}.both", f"{n}.eight"], [f"{n}.centred"]),
        helper.make_node("Mul", [f"{n}.centred", f"{n}.s32"], [f"{n}.scaled"]),
        helper.make_node("Reshape", [f"{n}.scaled", f"{n}.shape"], [n]),
    ]
    return stored, nodes


def gather_int8(node: onnx.NodeProto, weight: Floats) -> Parts:
    """A lookup that fetches int8 rows and their scales, and multiplies after."""
    values, scale = int8(weight, 0)
    (name, ids), out = node.input[:2], node.output[0]
    return (
        [constant(f"{name}.q", values), constant(f"{name}.s", scale)],
        [
            helper.make_node("Gather", [f"{name}.q", ids], [f"{out}.q"], axis=0),
            helper.make_node("Gather", [f"{name}.s", ids], [f"{out}.s"], axis=0),
            cast(f"{out}.q", f"{out}.f"),
            helper.make_node("Mul", [f"{out}.f", f"{out}.s"], [out]),
        ],
    )


def replaced(node: onnx.NodeProto, name: str, weight: Floats) -> Parts:
    """What stands in for one node and its weight."""
    if node.op_type == "Gather":
        return gather_int8(node, weight)
    transposed = any(a.name == "transB" and a.i for a in node.attribute)
    if name.startswith(FOUR_BIT) and transposed and weight.shape[1] % GROUP == 0:
        stored, nodes = unpack_int4(name, weight)
    else:
        axis = 0 if transposed else weight.ndim - 1
        stored, nodes = unpack_int8(name, weight, axis)
    return stored, [*nodes, node]


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
        stored, new = replaced(node, tensor.name, numpy_helper.to_array(tensor))
        graph.initializer.remove(tensor)
        graph.initializer.extend(stored)
        nodes += new
    del graph.node[:]
    graph.node.extend(nodes)
    onnx.checker.check_model(model)
    onnx.save(model, str(target))
