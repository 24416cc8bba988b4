"""Product-like pictures for the demo, drawn with Pillow: clothes, shoes, bags and mugs in colour.

Notable: a product is a few outlines in a unit square; light comes from the upper left and is
worked out from the outline's blurred mask as if it were a height, which gives cloth its roundness.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw, ImageFilter

__all__ = ["Colour", "Layer", "arc", "curve", "draw_product", "mirrored"]

SIDE_PX = 640
OVERSAMPLING = 2
Point = tuple[float, float]
Colour = tuple[int, int, int]
Floats = NDArray[np.float32]


@dataclass(frozen=True)
class Layer:
    """A filled outline, or a stroke along one.

    Attributes:
        points: in the unit square, origin at the top left.
        stroke: line width; 0 fills.
        depth: how far the shape bulges towards the viewer; 0 is flat.
        folds: strength of vertical folds, for cloth.
    """

    points: Sequence[Point]
    colour: Colour
    stroke: float = 0.0
    depth: float = 0.05
    folds: float = 0.0


def curve(*points: Point, steps: int = 24) -> list[Point]:
    """A Bezier curve of any degree through its first and last point."""
    degree = len(points) - 1
    weights = [math.comb(degree, i) for i in range(degree + 1)]
    line = []
    for step in range(steps + 1):
        t = step / steps
        shares = [w * t**i * (1 - t) ** (degree - i) for i, w in enumerate(weights)]
        line.append(
            (
                sum(s * p[0] for s, p in zip(shares, points, strict=True)),
                sum(s * p[1] for s, p in zip(shares, points, strict=True)),
            )
        )
    return line


def arc(centre: Point, radii: Point, start: float, end: float, steps: int = 40) -> list[Point]:
    """Part of an ellipse; angles in degrees, clockwise from the right."""
    angles = [math.radians(start + (end - start) * i / steps) for i in range(steps + 1)]
    return [
        (centre[0] + radii[0] * math.cos(a), centre[1] + radii[1] * math.sin(a)) for a in angles
    ]


def mirrored(half: Sequence[Point]) -> list[Point]:
    """A closed outline from its right half, top to bottom."""
    return [*half, *((1 - x, y) for x, y in reversed(half))]


def draw_product(layers: Sequence[Layer], background: Colour, seed: int) -> Image.Image:
    """Paint the layers in order on a plain background with a soft shadow; 640 x 640 RGB."""
    noise = np.random.default_rng(seed)
    canvas = _backdrop(background)
    masks = [_mask(layer) for layer in layers]
    canvas *= 1 - 0.34 * _shadow(masks)[..., None]
    for layer, mask in zip(layers, masks, strict=True):
        box = mask.getbbox()
        assert box is not None, "a layer outside the picture"
        left, top, right, bottom = box
        part = np.s_[top:bottom, left:right]
        alpha = np.asarray(mask.crop(box), np.float32)[..., None] / 255
        paint = np.array(layer.colour, np.float32) * _light(mask, layer, noise)[part][..., None]
        canvas[part] = canvas[part] * (1 - alpha) + paint * alpha
    canvas += noise.normal(0, 0.9, (SIDE_PX, SIDE_PX, 1))
    return Image.fromarray(np.clip(canvas, 0, 255).astype(np.uint8))


def _backdrop(colour: Colour) -> Floats:
    """A studio backdrop: lighter behind the product, darker to the corners."""
    y, x = _coordinates(SIDE_PX)
    falloff = np.hypot(x - 0.5, y - 0.42)
    backdrop: Floats = np.array(colour, np.float32) * (1.03 - 0.16 * falloff**2)[..., None]
    return backdrop


def _mask(layer: Layer) -> Image.Image:
    side = SIDE_PX * OVERSAMPLING
    mask = Image.new("L", (side, side))
    points = [(x * side, y * side) for x, y in layer.points]
    pen = ImageDraw.Draw(mask)
    if layer.stroke:
        width = max(1, round(layer.stroke * side))
        pen.line(points, fill=255, width=width, joint="curve")
        for x, y in (points[0], points[-1]):
            pen.ellipse([x - width / 2, y - width / 2, x + width / 2, y + width / 2], fill=255)
    else:
        pen.polygon(points, fill=255)
    return mask.resize((SIDE_PX, SIDE_PX), Image.Resampling.BOX)


def _shadow(masks: Sequence[Image.Image]) -> Floats:
    union = Image.new("L", (SIDE_PX, SIDE_PX))
    for mask in masks:
        union.paste(255, (round(0.012 * SIDE_PX), round(0.022 * SIDE_PX)), mask)
    return _floats(union.filter(ImageFilter.GaussianBlur(0.02 * SIDE_PX)))


def _light(mask: Image.Image, layer: Layer, noise: np.random.Generator) -> Floats:
    """A factor a pixel: the slope of the blurred mask towards the light, and folds."""
    if not layer.depth and not layer.folds:
        return np.ones((SIDE_PX, SIDE_PX), np.float32)
    # Light changes slowly: a coarse grid is enough, and the eye does not see the difference.
    side = SIDE_PX // 2
    light = np.ones((side, side), np.float32)
    if layer.depth:
        small = mask.resize((side, side), Image.Resampling.BOX)
        height = _floats(small.filter(ImageFilter.GaussianBlur(layer.depth * side)))
        dy, dx = np.gradient(height * layer.depth * side)
        light += 0.55 * np.clip(dx * 0.8 + dy * 0.6, -0.7, 0.45)
    if layer.folds:
        y, x = _coordinates(side)
        for _ in range(5):
            frequency, phase, drift = noise.uniform([14, 0, -4], [42, 6.3, 4])
            light += layer.folds / 5 * y * np.sin(frequency * x + drift * y * y + phase)
    full = Image.fromarray(light).resize((SIDE_PX, SIDE_PX), Image.Resampling.BILINEAR)
    return np.asarray(full, np.float32)


def _coordinates(side: int) -> tuple[Floats, Floats]:
    line = np.linspace(0, 1, side, endpoint=False, dtype=np.float32)
    return np.repeat(line[:, None], side, axis=1), np.repeat(line[None], side, axis=0)


def _floats(mask: Image.Image) -> Floats:
    return np.multiply(np.asarray(mask, np.float32), np.float32(1 / 255), dtype=np.float32)
