"""What `cascade fit --curve` writes: quality against cost, as a page or as a picture.

Notable: both are the same drawing. On the page it is SVG, in the colours of the page, and every
number in it also stands in a table below it.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from polymodal.cli.pages import Section, html_text, save_page, write_page
from polymodal.cli.shapes import (
    Circle,
    CircleKind,
    Drawing,
    Label,
    Line,
    Shape,
    to_png,
    to_svg,
)
from polymodal.errors import UsageError

if TYPE_CHECKING:
    from polymodal.results_cascades import CascadeFit, CurvePoint
    from polymodal.tasks.cascade_file import Cascade

__all__ = ["check_curve_file", "curve", "write_curve"]

WIDTH, HEIGHT = 720, 400
LEFT, RIGHT, TOP, BOTTOM = 64, 24, 44, 56
LABEL_PX = 7.2
"""Width of a letter, about."""
TICKS, TICK_PX = 5, 5
RADII: dict[CircleKind, float] = {"chosen": 6.5, "step": 3.0, "alone": 5.0}
PICTURE = ".png"
PAGES = (".html", ".htm")


def check_curve_file(file: str) -> None:
    """Refuse a name that says neither page nor picture, before anything is computed.

    Raises:
        UsageError: naming what it may end with.
    """
    if Path(file).suffix.lower() not in (PICTURE, *PAGES):
        raise UsageError(f"--curve writes a picture or a page: {file} is no .png and no .html.")


def write_curve(file: str, cascade: Cascade, report: CascadeFit) -> None:
    """Write the curve: a picture for a name that ends with .png, else a page.

    Raises:
        StorageError: when `file` cannot be written.
    """
    if Path(file).suffix.lower() == PICTURE:
        save_page(file, to_png(curve(report)))
    else:
        _write_page(file, cascade, report)


def _write_page(file: str, cascade: Cascade, report: CascadeFit) -> None:
    from polymodal.cli.cascades import fit_words

    chosen = Section(
        heading="Quality against cost",
        name="Curve",
        about="Right decisions against what a case takes. Up and to the left is better.",
        groups=(),
        chips=fit_words(report),
        content=f'<figure class="curve">{to_svg(curve(report))}</figure>\n',
    )
    tiers = Section(
        heading="Where cases stop", name="Tiers", groups=(), content=_tiers_table(report)
    )
    points = Section(
        heading="The numbers of the curve", name="Numbers", groups=(), content=_table(report)
    )
    title = f"cascade {cascade.name}"
    write_page(
        file,
        f"{title} - polymodal",
        [chosen, tiers, points],
        heading=title,
        lead=cascade.description,
        footer="Every number is of cases that the thresholds were not chosen on.",
    )


@dataclass(frozen=True)
class _Axis:
    """A range of values on a range of pixels."""

    low: float
    high: float
    start_px: float
    end_px: float

    def px(self, value: float) -> float:
        share = (value - self.low) / (self.high - self.low)
        return self.start_px + share * (self.end_px - self.start_px)

    @property
    def ticks(self) -> list[float]:
        """Round numbers inside."""
        step = _round_step((self.high - self.low) / TICKS)
        first = math.ceil(self.low / step - 1e-9)
        count = math.floor(self.high / step + 1e-9) - first + 1
        return [(first + each) * step for each in range(count)]


def _round_step(rough: float) -> float:
    """1, 2 or 5 times a power of ten, not under `rough`."""
    power = 10.0 ** math.floor(math.log10(rough))
    return next(times * power for times in (1.0, 2.0, 5.0, 10.0) if times * power >= rough * 0.999)


def curve(report: CascadeFit) -> Drawing:
    """The drawing: a line through the cascade's targets, a dot for every tier alone."""
    stepped = [point for point in report.points if point.target is not None]
    alone = [point for point in report.points if point.target is None]
    costs = [_cost(point, report) for point in report.points]
    rights = [point.right for point in report.points]
    margin = max(0.01, 0.15 * (max(rights) - min(rights)))
    low, high = max(0.0, min(rights) - margin), min(1.0, max(rights) + margin)
    across = _Axis(0.0, 1.12 * max(*costs, 1e-9), LEFT, WIDTH - RIGHT)
    up = _Axis(low, high, HEIGHT - BOTTOM, TOP)

    def at(point: CurvePoint) -> tuple[float, float]:
        return across.px(_cost(point, report)), up.px(point.right)

    shapes: list[Shape] = [*_grid(across, up, report), *_legend(stepped)]
    ordered = sorted(stepped, key=lambda point: (_cost(point, report), point.right))
    shapes.append(Line("path", tuple(map(at, ordered))))
    for point in [*stepped, *alone]:
        kind = _kind(point, report)
        told = f"{point.name}: {point.right:.1%} right, {_cost(point, report):.4g}"
        shapes.append(Circle(kind, at(point), RADII[kind], told))
    named = [*alone, next(point for point in stepped if point.target == report.target)]
    shapes += _names([(point.name, *at(point)) for point in named])
    words = "; ".join(f"{point.name}: {point.right:.1%}" for point in named)
    return Drawing(WIDTH, HEIGHT, tuple(shapes), words)


def _kind(point: CurvePoint, report: CascadeFit) -> CircleKind:
    if point.target is None:
        return "alone"
    return "chosen" if point.target == report.target else "step"


def _cost(point: CurvePoint, report: CascadeFit) -> float:
    """A thousand cases in dollars, or one case in milliseconds."""
    return 1000 * ((point.cost_usd or 0.0) if report.priced else point.seconds)


def _unit(report: CascadeFit) -> str:
    return "US dollars a thousand cases" if report.priced else "milliseconds of work a case"


def _grid(across: _Axis, up: _Axis, report: CascadeFit) -> Iterator[Shape]:
    """Ticks and what the axes count."""
    right, base = WIDTH - RIGHT, HEIGHT - BOTTOM
    for value in up.ticks:
        y = up.px(value)
        yield Line("rule", ((LEFT, y), (right, y)))
        yield Label(f"{100 * value:.4g} %", (LEFT - 8, y + 4), "end")
    yield Line("axis", ((LEFT, base), (right, base)))
    for value in across.ticks:
        x = across.px(value)
        yield Line("axis", ((x, base), (x, base + TICK_PX)))
        yield Label(f"{value:.4g}", (x, base + 20), "mid")
    yield Label(_unit(report), ((LEFT + right) / 2, HEIGHT - 10), "mid")
    yield Label("right decisions", (8, 18))


def _legend(stepped: Sequence[CurvePoint]) -> Iterator[Shape]:
    """What line and dots stand for: at the right below, where a curve that rises leaves room."""
    targets = [point.target for point in stepped if point.target is not None]
    words: list[tuple[CircleKind, str]] = [
        ("step", f"the cascade, for targets from {min(targets):g} to {max(targets):g}"),
        ("chosen", "the target asked for"),
        ("alone", "a tier alone"),
    ]
    x = WIDTH - RIGHT - LABEL_PX * max(len(text) for _, text in words)
    for row, (kind, text) in enumerate(words):
        y = HEIGHT - BOTTOM - 20.0 * (len(words) - row)
        if kind != "alone":
            yield Line("path", ((x - 30, y - 4), (x - 6, y - 4)))
        yield Circle(kind, (x - 18, y - 4), RADII[kind])
        yield Label(text, (x, y))


def _names(points: Sequence[tuple[str, float, float]]) -> Iterator[Label]:
    """Names over their dots; one that would lie on another moves down."""
    placed: list[tuple[float, float, float]] = []
    for name, x, dot_y in points:
        wide = LABEL_PX * len(name)
        left = x + wide > WIDTH - RIGHT
        start = x + 6 - wide if left else x - 6
        y = dot_y - 12
        while any(
            abs(y - other) < 15 and start < end and begin < start + wide
            for begin, end, other in placed
        ):
            y += 32  # from over its dot to under it
        placed.append((start, start + wide, y))
        yield Label(name, (x + 6 if left else x - 6, y), "end" if left else "start")


def _tiers_table(report: CascadeFit) -> str:
    rows = [
        (
            tier.name,
            "-" if tier.accept is None else f"{tier.accept:.3f}",
            "-" if tier.reject is None else f"{tier.reject:.3f}",
            f"{tier.decided:.0%}",
        )
        for tier in report.tiers
    ]
    return _html_table(("tier", "yes from", "no up to", "cases that stop here"), rows)


def _table(report: CascadeFit) -> str:
    rows = [
        (point.name, f"{point.right:.1%}", f"{_cost(point, report):.4g}") for point in report.points
    ]
    return _html_table(("way", "right", _unit(report)), rows)


def _html_table(headings: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    head = "".join(f"<th>{html_text(each)}</th>" for each in headings)
    body = "".join(
        f"<tr>{''.join(f'<td>{html_text(cell)}</td>' for cell in row)}</tr>" for row in rows
    )
    return f'<table class="numbers"><thead><tr>{head}</tr></thead><tbody>{body}</tbody></table>\n'
