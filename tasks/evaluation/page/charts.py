"""Charts as SVG, which a page holds inside itself: lines with bands, and bars.  Colours and fonts are the page's."""

from __future__ import annotations

import math
from dataclasses import dataclass
from html import escape
from typing import Callable, List, Optional, Sequence, Tuple

import numpy as np

WIDTH, HEIGHT = 340, 190
LEFT, RIGHT, TOP, BOTTOM = 46, 10, 8, 34
"""Of the frame in the picture."""
COLOURS = 8
"""The page has so many, as `--c0` and so on."""


@dataclass
class Line:
    """A line of a chart."""

    x: np.ndarray
    """(n,), as are the others."""
    y: np.ndarray
    colour: int = 0
    low: Optional[np.ndarray] = None
    """With `high`, a band around the line."""
    high: Optional[np.ndarray] = None
    dots: bool = False
    thin: bool = False
    name: str = ""
    """Shown where the pointer rests on the line."""


def chart(
    title: str,
    lines: Sequence[Line],
    x_title: str,
    note: str = "",
    y_range: Optional[Tuple[float, float]] = None,
    marks: Sequence[Tuple[float, str]] = (),
    x_band: Optional[Tuple[float, float]] = None,
) -> str:
    """A figure of lines over x; empty without any.

    note: beside the title, such as the unit.  y_range: by default it fits all but the wildest values.  marks: levels of y, each
    with a dashed line and a word.  x_band: a part of x that is shaded.
    """
    lines = [line for line in lines if len(line.x)]
    if not lines:
        return ""
    low, high = y_range or fitting(lines, [level for level, _ in marks])
    x0, x1 = min(float(line.x[0]) for line in lines), max(float(line.x[-1]) for line in lines)
    x0 = 0.0 if 0 <= x0 < 0.3 * x1 else x0
    x1 = x1 if x1 > x0 else x0 + 1.0

    def px(x: float) -> float:
        return LEFT + (x - x0) / (x1 - x0) * (WIDTH - LEFT - RIGHT)

    def py(y: float) -> float:
        return HEIGHT - BOTTOM - (y - low) / (high - low) * (HEIGHT - TOP - BOTTOM)

    parts: List[str] = []
    if x_band:
        left, right = px(max(x0, x_band[0])), px(min(x1, x_band[1]))
        parts.append(
            f'<rect class="zone" x="{left:.1f}" y="{TOP}" width="{right - left:.1f}" height="{py(low) - TOP:.1f}"/>'
        )
    for tick in ticks(low, high, 4):
        parts.append(f'<path class="grid" d="M{LEFT} {py(tick):.1f}H{WIDTH - RIGHT}"/>')
        parts.append(f'<text x="{LEFT - 5}" y="{py(tick) + 3.5:.1f}" text-anchor="end">{number(tick)}</text>')
    for tick in ticks(x0, x1, 5):
        parts.append(f'<path class="grid" d="M{px(tick):.1f} {py(low):.1f}v4"/>')
        parts.append(f'<text x="{px(tick):.1f}" y="{HEIGHT - BOTTOM + 15}" text-anchor="middle">{number(tick)}</text>')
    middle = (LEFT + WIDTH - RIGHT) / 2
    parts.append(f'<text x="{middle}" y="{HEIGHT - 3}" text-anchor="middle">{escape(x_title)}</text>')
    inside = []
    for line in lines:
        colour = f"var(--c{line.colour % COLOURS})"
        if line.low is not None and line.high is not None:
            there = [*zip(line.x, line.high), *zip(line.x[::-1], line.low[::-1])]
            inside.append(f'<path d="{_path(there, px, py)}Z" fill="{colour}" opacity="0.18"/>')
        look = 'stroke-width="1" opacity="0.5"' if line.thin else 'stroke-width="1.8"'
        tooltip = f"<title>{escape(line.name)}: {number(float(line.y[-1]))} at the end</title>"
        points = list(zip(line.x, line.y))
        inside.append(f'<path d="{_path(points, px, py)}" fill="none" stroke="{colour}" {look}>{tooltip}</path>')
        if line.dots or len(points) == 1:
            inside += [f'<circle cx="{px(x):.1f}" cy="{py(y):.1f}" r="2.2" fill="{colour}"/>' for x, y in points]
    for level, word in marks:
        inside.append(f'<path class="mark" d="M{LEFT} {py(level):.1f}H{WIDTH - RIGHT}"/>')
        inside.append(f'<text x="{WIDTH - RIGHT - 3}" y="{py(level) - 3:.1f}" text-anchor="end">{escape(word)}</text>')
    frame = f'<svg x="{LEFT}" y="{TOP - 3}" width="{WIDTH - LEFT - RIGHT + 3}" height="{HEIGHT - TOP - BOTTOM + 6}" '
    frame += (
        f'viewBox="{LEFT} {TOP - 3} {WIDTH - LEFT - RIGHT + 3} {HEIGHT - TOP - BOTTOM + 6}">{"".join(inside)}</svg>'
    )
    picture = (
        f'<svg viewBox="0 0 {WIDTH} {HEIGHT}" role="img" aria-label="{escape(title)}">{"".join(parts)}{frame}</svg>'
    )
    beside = f" <small>{escape(note)}</small>" if note else ""
    return f"<figure><figcaption>{escape(title)}{beside}</figcaption>{picture}</figure>"


def _path(points: Sequence[Tuple[float, float]], px: Callable[[float], float], py: Callable[[float], float]) -> str:
    """The points as a path of SVG.  px, py: from values to places in the picture."""
    return "M" + "L".join(f"{px(x):.1f} {py(y):.1f}" for x, y in points)


def fitting(lines: Sequence[Line], levels: Sequence[float] = ()) -> Tuple[float, float]:
    """The range of y that shows these levels and the lines, but for one value in a hundred.  It includes a 0 that is near."""
    values = np.concatenate([line.y for line in lines])
    bands = [edge for line in lines for edge in (line.low, line.high) if edge is not None]
    values = np.concatenate([values, *bands, np.array(levels, dtype=float)])
    values = values[np.isfinite(values)]
    if not len(values):
        return 0.0, 1.0
    low, high = (float(edge) for edge in np.quantile(values, [0.01, 0.99]))
    if levels:
        low, high = min(low, *levels), max(high, *levels)
    if low > 0 and low < 0.6 * high:
        low = 0.0
    if high < 0 and high > 0.6 * low:
        high = 0.0
    if low == high:
        return (0.0, 1.0) if low == 0 else (low - 0.1 * abs(low), high + 0.1 * abs(high))
    room = 0.06 * (high - low)
    return low if low == 0 else low - room, high if high == 0 else high + room


def ticks(low: float, high: float, about: int) -> List[float]:
    """Round numbers in a range, about so many."""
    rough = (high - low) / about
    power = 10.0 ** math.floor(math.log10(rough))
    step = min((m * power for m in (1, 2, 2.5, 5, 10)), key=lambda s: abs(math.log(s / rough)))
    first, last = math.ceil(low / step - 1e-9), math.floor(high / step + 1e-9)
    return [step * i for i in range(first, last + 1)]


def number(value: float) -> str:
    """A number as text, with three significant digits, or with all its digits before the point if those are more.

    Very large and very small numbers have two digits and an exponent.
    """
    size = abs(value)
    if size >= 1e5 or (0 < size < 1e-3):
        text = f"{value:.2g}"
        mantissa, _, exponent = text.partition("e")
        return f"{mantissa}e{int(exponent)}" if exponent else text
    if size >= 100:
        return f"{value:.0f}"
    return f"{value:.3g}"


def shares(rows: Sequence[Tuple[str, Sequence[float]]], names: Sequence[str], unit: str) -> str:
    """A bar for each row, cut into named parts, as long as their sum; and what the colours mean."""
    longest = max((sum(parts) for _, parts in rows), default=0.0)
    if not longest:
        return ""
    cells = []
    for title, parts in rows:
        bars = "".join(
            f'<span style="width:{100 * part / longest:.2f}%;background:var(--c{i % COLOURS})" '
            f'title="{escape(name)}: {number(part)} {unit}"></span>'
            for i, (name, part) in enumerate(zip(names, parts))
        )
        cells.append(
            f'<div class="row"><b>{escape(title)}</b><div class="bar">{bars}</div>{number(sum(parts))} {unit}</div>'
        )
    return f'<div class="bars wide">{"".join(cells)}</div>{legend(names)}'


def levels(rows: Sequence[Tuple[str, Sequence[float], str]], names: Sequence[str]) -> str:
    """For each row bars from 0 to 1, one below the other, and a text behind; and what the colours mean."""
    cells = []
    for title, values, text in rows:
        bars = "".join(
            f'<span style="width:{100 * value:.1f}%;background:var(--c{i % COLOURS})" '
            f'title="{escape(name)}: {100 * value:.1f} %"></span>'
            for i, (name, value) in enumerate(zip(names, values))
        )
        cells.append(f'<div class="row"><b>{escape(title)}</b><div class="stack">{bars}</div>{escape(text)}</div>')
    return f'<div class="bars">{"".join(cells)}</div>{legend(names)}'


def legend(names: Sequence[str]) -> str:
    """What the colours mean."""
    if not any(names):
        return ""
    items = "".join(
        f'<span><i style="background:var(--c{i % COLOURS})"></i>{escape(n)}</span>' for i, n in enumerate(names)
    )
    return f'<p class="legend">{items}</p>'
