"""A drawing as shapes, given out as SVG for a page or as a PNG; the same shapes either way.

Notable: a shape says what it stands for ("path", "alone"), and `page.css` says how that looks. A
PNG takes its colours from there too, those of the light setting. It is drawn larger and scaled
down, so that its edges are smooth.
"""

from __future__ import annotations

import io
import re
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal, TypeAlias

from polymodal.cli.pages import html_text, style

if TYPE_CHECKING:
    from PIL import ImageDraw

__all__ = ["Circle", "CircleKind", "Drawing", "Label", "Line", "Shape", "to_png", "to_svg"]

Point = tuple[float, float]
CircleKind: TypeAlias = Literal["step", "chosen", "alone"]
TEXT_PX = 13
PNG_SCALE = 2
"""Pixels of a PNG for one of the drawing, for screens of today."""
SMOOTH = 3
"""Times larger than that it is drawn."""


@dataclass(frozen=True)
class Line:
    """Through points, in pixels from the top left."""

    kind: Literal["rule", "axis", "path"]
    points: tuple[Point, ...]


@dataclass(frozen=True)
class Circle:
    """A dot: `told` is what it says to who points at it."""

    kind: CircleKind
    centre: Point
    radius: float
    told: str = ""


@dataclass(frozen=True)
class Label:
    """Words whose baseline starts, has its middle, or ends at a point."""

    text: str
    at: Point
    anchor: Literal["start", "mid", "end"] = "start"


Shape: TypeAlias = Line | Circle | Label


@dataclass(frozen=True)
class Drawing:
    """Shapes in the order in which they are drawn, on so many pixels; `told` is all in words."""

    width: int
    height: int
    shapes: tuple[Shape, ...]
    told: str


def to_svg(drawing: Drawing) -> str:
    """An `<svg>` element, to stand where `page.css` is."""
    return (
        f'<svg viewBox="0 0 {drawing.width} {drawing.height}" role="img"'
        f' aria-label="{html_text(drawing.told)}">{"".join(map(_element, drawing.shapes))}</svg>'
    )


def _element(shape: Shape) -> str:
    if isinstance(shape, Line):
        points = " ".join(f"{x:.1f},{y:.1f}" for x, y in shape.points)
        return f'<polyline class="{shape.kind}" points="{points}"/>'
    if isinstance(shape, Circle):
        x, y = shape.centre
        told = f"<title>{html_text(shape.told)}</title>" if shape.told else ""
        place = f'cx="{x:.1f}" cy="{y:.1f}" r="{shape.radius:g}"'
        return f'<circle class="{shape.kind}" {place}>{told}</circle>'
    x, y = shape.at
    anchored = "" if shape.anchor == "start" else f' class="{shape.anchor}"'
    return f'<text x="{x:.1f}" y="{y:.1f}"{anchored}>{html_text(shape.text)}</text>'


def to_png(drawing: Drawing) -> bytes:
    """The drawing as the bytes of a PNG, of `PNG_SCALE` times its size."""
    from PIL import Image, ImageDraw

    colours = _colours(style())
    size = (drawing.width * PNG_SCALE, drawing.height * PNG_SCALE)
    large = Image.new("RGB", (size[0] * SMOOTH, size[1] * SMOOTH), colours["card"])
    pen = _Pen(ImageDraw.Draw(large), colours, PNG_SCALE * SMOOTH)
    for shape in drawing.shapes:
        pen.draw(shape)
    kept = io.BytesIO()
    large.resize(size, Image.Resampling.BOX).save(kept, "PNG", optimize=True)
    return kept.getvalue()


def _colours(css: str) -> dict[str, str]:
    """The page's colours by name, as its first block has them."""
    block = css[css.index(":root") : css.index("@media")]
    return dict(re.findall(r"--([\w-]+):\s*(#[0-9a-f]{6})", block))


@dataclass(frozen=True)
class _Pen:
    """Draws shapes as `page.css` has them, so many times larger."""

    on: ImageDraw.ImageDraw
    colours: dict[str, str]
    scale: int

    def draw(self, shape: Shape) -> None:
        if isinstance(shape, Line):
            self._line(shape)
        elif isinstance(shape, Circle):
            self._circle(shape)
        else:
            self._label(shape)

    def _line(self, shape: Line) -> None:
        name, width = {"rule": ("line", 1), "axis": ("soft", 1), "path": ("accent", 2)}[shape.kind]
        points = [(x * self.scale, y * self.scale) for x, y in shape.points]
        self.on.line(points, self.colours[name], width * self.scale, joint="curve")

    def _circle(self, shape: Circle) -> None:
        names = {"step": ("accent", ""), "chosen": ("accent", "card"), "alone": ("card", "ink")}
        fill, edge = names[shape.kind]
        self._disc(shape, shape.radius + bool(edge), edge or fill)
        self._disc(shape, shape.radius - bool(edge), fill)

    def _disc(self, shape: Circle, radius: float, name: str) -> None:
        x, y = shape.centre
        box = [x - radius, y - radius, x + radius, y + radius]
        self.on.ellipse([each * self.scale for each in box], self.colours[name])

    def _label(self, shape: Label) -> None:
        from PIL import ImageFont

        x, y = shape.at
        self.on.text(
            (x * self.scale, y * self.scale),
            shape.text,
            self.colours["soft"],
            ImageFont.load_default(TEXT_PX * self.scale),
            {"start": "ls", "mid": "ms", "end": "rs"}[shape.anchor],
            stroke_width=round(0.15 * TEXT_PX * self.scale),
            stroke_fill=self.colours["card"],
        )
