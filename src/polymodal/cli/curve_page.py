"""The page of `cascade fit --html`: quality against cost, drawn, and where cases stop.

Notable: the drawing is SVG in the page itself, in the colours of the page; every number in it also
stands in a table below it.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from polymodal.cli.pages import Section, html_text, write_page

if TYPE_CHECKING:
    from polymodal.results_cascades import CascadeFit, CurvePoint
    from polymodal.tasks.cascade_file import Cascade

__all__ = ["curve_svg", "write_curve_page"]

WIDTH, HEIGHT = 720, 400
LEFT, RIGHT, TOP, BOTTOM = 64, 24, 20, 56
LABEL_PX = 7.2
"""Width of a letter, about."""
TICKS = 5


def write_curve_page(file: str, cascade: Cascade, report: CascadeFit) -> None:
    """Write the page.

    Raises:
        StorageError: when `file` cannot be written.
    """
    from polymodal.cli.cascades import fit_words

    chosen = Section(
        heading="Quality against cost",
        name="Curve",
        about="Right decisions against what a case takes. Up and to the left is better.",
        groups=(),
        chips=fit_words(report),
        content=f'<figure class="curve">{curve_svg(report)}</figure>\n',
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


def curve_svg(report: CascadeFit) -> str:
    """The drawing: a line through the cascade's targets, a dot for every tier alone."""
    curve = [point for point in report.points if point.target is not None]
    alone = [point for point in report.points if point.target is None]
    costs = [_cost(point, report) for point in report.points]
    rights = [point.right for point in report.points]
    margin = max(0.01, 0.15 * (max(rights) - min(rights)))
    low, high = max(0.0, min(rights) - margin), min(1.0, max(rights) + margin)
    across = _Axis(0.0, 1.12 * max(*costs, 1e-9), LEFT, WIDTH - RIGHT)
    up = _Axis(low, high, HEIGHT - BOTTOM, TOP)
    parts = [_grid(across, up, report)]
    ordered = sorted(curve, key=lambda point: (_cost(point, report), point.right))
    line = " ".join(
        f"{across.px(_cost(point, report)):.1f},{up.px(point.right):.1f}" for point in ordered
    )
    parts.append(f'<polyline class="path" points="{line}"/>')
    for point in curve:
        chosen = point.target == report.target
        parts.append(_dot(point, report, across, up, kind="chosen" if chosen else "step"))
    parts += [_dot(point, report, across, up, kind="alone") for point in alone]
    named = [*alone, next(point for point in curve if point.target == report.target)]
    parts.append(_labels(named, report, across, up))
    told = "; ".join(f"{point.name}: {point.right:.1%}" for point in named)
    return (
        f'<svg viewBox="0 0 {WIDTH} {HEIGHT}" role="img" aria-label="{html_text(told)}">'
        f"{''.join(parts)}</svg>"
    )


def _cost(point: CurvePoint, report: CascadeFit) -> float:
    """A thousand cases in dollars, or one case in milliseconds."""
    return 1000 * ((point.cost_usd or 0.0) if report.priced else point.seconds)


def _unit(report: CascadeFit) -> str:
    return "US dollars a thousand cases" if report.priced else "milliseconds of work a case"


def _grid(across: _Axis, up: _Axis, report: CascadeFit) -> str:
    parts = []
    for value in up.ticks:
        y = up.px(value)
        parts.append(
            f'<line class="rule" x1="{LEFT}" x2="{WIDTH - RIGHT}" y1="{y:.1f}" y2="{y:.1f}"/>'
        )
        parts.append(f'<text x="{LEFT - 8}" y="{y + 4:.1f}" class="end">{100 * value:.4g} %</text>')
    base = HEIGHT - BOTTOM
    parts.append(f'<line class="axis" x1="{LEFT}" x2="{WIDTH - RIGHT}" y1="{base}" y2="{base}"/>')
    for value in across.ticks:
        x = across.px(value)
        parts.append(f'<text x="{x:.1f}" y="{base + 20}" class="mid">{value:.4g}</text>')
    middle = (LEFT + WIDTH - RIGHT) / 2
    unit = html_text(_unit(report))
    parts.append(f'<text x="{middle:.1f}" y="{HEIGHT - 10}" class="mid">{unit}</text>')
    return "".join(parts)


def _dot(point: CurvePoint, report: CascadeFit, across: _Axis, up: _Axis, *, kind: str) -> str:
    x, y = across.px(_cost(point, report)), up.px(point.right)
    told = html_text(f"{point.name}: {point.right:.1%} right, {_cost(point, report):.4g}")
    radius = 6.5 if kind == "chosen" else 3 if kind == "step" else 5
    place = f'cx="{x:.1f}" cy="{y:.1f}" r="{radius}"'
    return f'<circle class="{kind}" {place}><title>{told}</title></circle>'


def _labels(points: Sequence[CurvePoint], report: CascadeFit, across: _Axis, up: _Axis) -> str:
    """Names over their dots; one that would lie on another moves down."""
    parts: list[str] = []
    placed: list[tuple[float, float, float]] = []
    for point in points:
        x, y = across.px(_cost(point, report)), up.px(point.right)
        wide = LABEL_PX * len(point.name)
        left = x + wide > WIDTH - RIGHT
        start = x + 6 - wide if left else x - 6
        y -= 12
        while any(
            abs(y - other) < 15 and start < end and begin < start + wide
            for begin, end, other in placed
        ):
            y += 32  # from over its dot to under it
        placed.append((start, start + wide, y))
        anchor = ' class="end"' if left else ""
        parts.append(
            f'<text x="{x + 6 if left else x - 6:.1f}" y="{y:.1f}"{anchor}>'
            f"{html_text(point.name)}</text>"
        )
    return "".join(parts)


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
