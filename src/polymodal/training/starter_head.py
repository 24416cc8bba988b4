"""A head on the starter's image tower, and the ONNX file that has it.

Notable: both towers stay as they are. The head moves a picture's vector by what it reads from the
tower's features, starting at nothing: embedding + correction, at length one. It is appended to the
tower's graph, so the result runs where the starter runs, without torch.

Legend of shapes: B items, D width of the space, F features.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

__all__ = ["StarterHead", "append_head"]


class StarterHead(nn.Module):
    """`encoder(images, texts)` on cached outputs of the towers.

    Args:
        inputs_NX: embedding and features side by side, of a sample: their statistics are kept.
    """

    mean: Tensor
    scale: Tensor

    def __init__(self, inputs_NX: Tensor, dimension: int, hidden: int, dropout: float) -> None:
        super().__init__()
        spread = inputs_NX.std(0)
        self.register_buffer("mean", inputs_NX.mean(0))
        self.register_buffer("scale", 1 / (spread + 1e-3 * spread.mean()))
        self.up = nn.Linear(inputs_NX.shape[1], hidden)
        self.down = nn.Linear(hidden, dimension)
        self.drop = nn.Dropout(dropout)
        nn.init.zeros_(self.down.weight)
        nn.init.zeros_(self.down.bias)

    def encode_image(self, inputs_BX: Tensor) -> Tensor:
        """Unit vectors (B, D) of embedding and features side by side."""
        embedding_BD = inputs_BX[:, : self.down.out_features]
        standard_BX = (inputs_BX - self.mean) * self.scale
        moved_BD = self.down(self.drop(F.gelu(self.up(standard_BX))))
        return F.normalize(embedding_BD + moved_BD, dim=1)

    def forward(self, inputs_BX: Tensor, text_BD: Tensor) -> tuple[Tensor, Tensor]:
        """Unit vectors of pictures; the texts' are as they were."""
        return self.encode_image(inputs_BX), text_BD


def append_head(tower: Path, head: StarterHead, out: Path) -> None:
    """Write the image tower with the head at its `embedding`; other outputs stay."""
    import onnx
    from onnx import TensorProto, helper, numpy_helper

    model = onnx.load(str(tower))
    graph = model.graph
    for node in graph.node:
        for names in (node.input, node.output):
            for place, name in enumerate(names):
                if name == "embedding":
                    names[place] = "head/before"
    arrays = {
        "mean": head.mean,
        "scale": head.scale,
        "up": head.up.weight,
        "up_bias": head.up.bias,
        "down": head.down.weight,
        "down_bias": head.down.bias,
        "half": torch.tensor(0.5),
        "one": torch.tensor(1.0),
        "root": torch.tensor(0.5**0.5),
    }
    graph.initializer.extend(
        numpy_helper.from_array(value.detach().cpu().float().numpy(), f"head/{name}")
        for name, value in arrays.items()
    )
    steps: list[tuple[str, list[str], str, dict[str, Any]]] = [
        ("Concat", ["before", "=features"], "inputs", {"axis": 1}),
        ("Sub", ["inputs", "mean"], "centred", {}),
        ("Mul", ["centred", "scale"], "standard", {}),
        ("Gemm", ["standard", "up", "up_bias"], "inner", {"transB": 1}),
        ("Mul", ["inner", "root"], "rooted", {}),
        ("Erf", ["rooted"], "erf", {}),
        ("Add", ["erf", "one"], "above", {}),
        ("Mul", ["inner", "above"], "twice", {}),
        ("Mul", ["twice", "half"], "gelu", {}),
        ("Gemm", ["gelu", "down", "down_bias"], "moved", {"transB": 1}),
        ("Add", ["before", "moved"], "after", {}),
        ("LpNormalization", ["after"], "=embedding", {"axis": 1, "p": 2}),
    ]

    def named(name: str) -> str:
        return name[1:] if name.startswith("=") else f"head/{name}"

    for kind, inputs, output, attributes in steps:
        names = [named(each) for each in inputs]
        graph.node.append(helper.make_node(kind, names, [named(output)], **attributes))
    assert all(each.data_type != TensorProto.UNDEFINED for each in graph.initializer)
    onnx.checker.check_model(model)
    onnx.save(model, str(out))
