# SPDX-License-Identifier: Apache-2.0
"""Lines over time as an SVG, one panel below the other; legible on a light page and on a dark one. Pure."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from html import escape

_WIDTH, _PANEL, _LEFT, _RIGHT, _TOP, _BOTTOM = 820, 150, 70, 16, 40, 26
_TICKS = 4
#: One for each line of a panel, told apart without colours by their dashes: light page, dark page, dashes.
_INKS = (("#0b62c4", "#62aeff", ""), ("#b3540a", "#ffa657", "6 3"), ("#24792f", "#56d364", "2 3"))

_STYLE = """\
text { font: 12px system-ui, sans-serif; fill: #1f2328 }
.title { font-weight: 600 }
.grid { stroke: #d0d7de; stroke-width: 1 }
.line { fill: none; stroke-width: 1.6; stroke-linejoin: round }
%s
@media (prefers-color-scheme: dark) {
  text { fill: #e6edf3 }
  .grid { stroke: #3d444d }
%s
}"""


@dataclass(frozen=True)
class Line:
    """One line: (x, y), in the order of x."""

    name: str
    points: Sequence[tuple[float, float]]


@dataclass(frozen=True)
class Panel:
    """Lines with one scale."""

    title: str
    lines: Sequence[Line]
    from_zero: bool = True
    """else the scale begins below the least value"""


def svg(panels: Sequence[Panel], x_title: str, description: str) -> str:
    """The whole document; ``x_title``: what the last panel's scale is, ``description``: for who can't see it."""
    height = _PANEL * len(panels) + 24
    most_x = max((x for panel in panels for line in panel.lines for x, _ in line.points), default=1.0) or 1.0
    light = "\n".join(f".ink{n} {{ stroke: {ink} }}" for n, (ink, _, _) in enumerate(_INKS))
    dark = "\n".join(f"  .ink{n} {{ stroke: {ink} }}" for n, (_, ink, _) in enumerate(_INKS))
    size = f'viewBox="0 0 {_WIDTH} {height}" width="{_WIDTH}" height="{height}"'
    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" {size} role="img">',
        f"<title>{escape(description)}</title><style>{_STYLE % (light, dark)}</style>",
    ]
    for number, panel in enumerate(panels):
        parts += _panel(panel, number * _PANEL, most_x)
    parts += [_text(_WIDTH - _RIGHT, height - 6, x_title, "end"), "</svg>\n"]
    return "\n".join(parts)


def _panel(panel: Panel, top: int, most_x: float) -> list[str]:
    values = [y for line in panel.lines for _, y in line.points if math.isfinite(y)] or [0.0]
    least = 0.0 if panel.from_zero else min(values)
    ticks = scale(least, max(values))
    low, high = ticks[0], ticks[-1]
    floor, ceiling = top + _PANEL - _BOTTOM, top + _TOP

    def at(x: float, y: float) -> tuple[float, float]:
        across = _LEFT + x / most_x * (_WIDTH - _LEFT - _RIGHT)
        return across, floor - (y - low) / (high - low) * (floor - ceiling)

    parts = [_text(_LEFT, top + 20, panel.title, "start", "title")]
    for tick in ticks:
        y = at(0, tick)[1]
        parts.append(f'<path class="grid" d="M{_LEFT} {y:.1f}H{_WIDTH - _RIGHT}"/>')
        parts.append(_text(_LEFT - 8, y + 4, f"{tick:g}", "end"))
    across = [tick for tick in scale(0.0, most_x) if tick <= most_x]
    parts += [_text(at(tick, low)[0], floor + 16, f"{tick:g}", "middle") for tick in across]
    right = _WIDTH - _RIGHT
    for number, line in reversed(list(enumerate(panel.lines))):
        ink = f'class="line ink{number}" stroke-dasharray="{_INKS[number][2] or "none"}"'
        points = " ".join(f"{x:.1f},{y:.1f}" for x, y in (at(*p) for p in line.points if math.isfinite(p[1])))
        parts.append(f'<polyline {ink} points="{points}"/>')
        if len(panel.lines) > 1:  # one line has its name in the title
            parts.append(_text(right, top + 20, line.name, "end"))
            right -= 12 + 7 * len(line.name)
            parts.append(f'<path {ink} d="M{right - 16} {top + 16}h20"/>')
            right -= 32
    return parts


def scale(least: float, most: float) -> list[float]:
    """Round numbers from at most ``least`` to at least ``most``, some four steps apart."""
    span = most - least or abs(most) or 1.0
    rough = span / _TICKS
    power = 10.0 ** math.floor(math.log10(rough))
    step = next(m * power for m in (1, 2, 5, 10) if m * power >= rough * 0.999)
    first = math.floor(least / step + 1e-9)
    last = max(math.ceil(most / step - 1e-9), first + 1)
    return [round(n * step, 10) for n in range(first, last + 1)]


def _text(x: float, y: float, text: str, anchor: str, style: str = "") -> str:
    cls = f' class="{style}"' if style else ""
    return f'<text x="{x:.1f}" y="{y:.1f}" text-anchor="{anchor}"{cls}>{escape(text)}</text>'
