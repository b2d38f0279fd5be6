"""Figures of the studies: lines over an axis, and a map of coloured cells. One SVG document each.

They have a background of their own, so that they read the same on light pages and on dark ones.
"""

import math
import textwrap
from pathlib import Path
from xml.sax.saxutils import escape

WIDTH, LEFT, TOP, PANEL_WIDTH, PANEL_HEIGHT = 860, 76, 64, 520, 320
PAPER, INK, FAINT, GRID, FRAME = "#ffffff", "#1f2933", "#5f6c7b", "#e3e8ee", "#b6c0cc"
COLOURS = ["#12355b", "#e0681a", "#1d8f7a", "#8e2a6b", "#c8920a", "#2467b5", "#c2342d", "#64748b",
           "#3f9fd8", "#7a5c2e"]


def text(x, y, what, **more):
    given = {"font-size": "12", "fill": FAINT, **{k.replace("_", "-"): v for k, v in more.items()}}
    attributes = "".join(f' {name}="{value}"' for name, value in given.items())
    return f'<text x="{x:.1f}" y="{y:.1f}"{attributes}>{escape(what)}</text>'


def line(x1, y1, x2, y2, **more):
    attributes = "".join(f' {name.replace("_", "-")}="{value}"' for name, value in more.items())
    return f'<line x1="{x1:.1f}" y1="{y1:.1f}" x2="{x2:.1f}" y2="{y2:.1f}"{attributes}/>'


def write(path, title, height, parts):
    """The document; `path` gets its folder made."""
    head = (f'<svg xmlns="http://www.w3.org/2000/svg" width="{WIDTH}" height="{height:.0f}" '
            f'viewBox="0 0 {WIDTH} {height:.0f}" font-family="sans-serif" role="img">'
            f'<title>{escape(title)}</title>'
            f'<rect width="100%" height="100%" fill="{PAPER}"/>'
            + text(LEFT, 32, title, font_size=17, font_weight=600, fill=INK))
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("\n".join([head, *parts, "</svg>"]) + "\n", encoding="utf-8")


def plain(value):
    return f"{value:g}"


def ticks(low, high, about=6):
    """Round numbers from low to high."""
    if high <= low:
        return [low]
    step = 10 ** math.floor(math.log10((high - low) / about))
    step *= next((m for m in (1, 2, 5) if (high - low) / (m * step) <= about), 10)
    first = math.ceil(low / step - 1e-9)
    return [round(i * step, 10) for i in range(first, math.floor(high / step + 1e-9) + 1)]


class Axis:
    """Values to pixels; `names` at even steps, or a scale, logarithmic when asked."""

    def __init__(self, values, begin, length, logarithmic=False, low=None):
        finite = [v for v in values if v is not None]
        self.low = min(finite) if low is None else low
        self.high = max([*finite, self.low + 1e-9])
        self.begin, self.length, self.logarithmic = begin, length, logarithmic

    def at(self, value):
        if self.logarithmic:
            share = math.log(value / self.low) / math.log(self.high / self.low)
        else:
            share = (value - self.low) / (self.high - self.low)
        return self.begin + share * self.length


def lines(path, title, x_title, y_title, series, *, log_x=False, points_only=False, zero=True,
          diagonal=None, rings=()):
    """`series` is {name: [(x, y), ...]}; points whose y is None are left out. The x of points are
    the ticks of a logarithmic axis. `zero`: the vertical axis begins there. `diagonal`: y = x is
    drawn between these two. `rings`: (name, points), drawn as rings over all else."""
    points = [(x, y) for each in [*series.values(), *rings[1:]] for x, y in each if y is not None]
    xs, ys = [x for x, _ in points], [y for _, y in points] + list(diagonal or [])
    x_axis = Axis(xs, LEFT + 14, PANEL_WIDTH - 28, log_x)
    y_axis = Axis(ys, TOP + PANEL_HEIGHT - 10, 20 - PANEL_HEIGHT, low=min(0, *ys) if zero else None)
    bottom, parts = TOP + PANEL_HEIGHT, []
    for tick in sorted(set(xs)) if log_x else ticks(x_axis.low, x_axis.high):
        at = x_axis.at(tick)
        parts.append(line(at, TOP, at, bottom, stroke=GRID))
        parts.append(text(at, bottom + 20, plain(tick), text_anchor="middle"))
    for tick in ticks(y_axis.low, y_axis.high):
        at = y_axis.at(tick)
        parts.append(line(LEFT, at, LEFT + PANEL_WIDTH, at, stroke=GRID))
        parts.append(text(LEFT - 8, at + 4, plain(tick), text_anchor="end"))
    parts.append(f'<rect x="{LEFT}" y="{TOP}" width="{PANEL_WIDTH}" height="{PANEL_HEIGHT}" '
                 f'fill="none" stroke="{FRAME}"/>')
    parts.append(text(LEFT, TOP - 10, y_title, font_size=13))
    parts.append(text(LEFT + PANEL_WIDTH / 2, bottom + 44, x_title, font_size=13,
                      text_anchor="middle"))
    if diagonal:
        (x1, y1), (x2, y2) = ((x_axis.at(v), y_axis.at(v)) for v in diagonal)
        parts.append(line(x1, y1, x2, y2, stroke=FAINT, stroke_dasharray="2 4"))
    for i, (name, each) in enumerate(series.items()):
        colour = COLOURS[i % len(COLOURS)]
        dash = "none" if i < len(COLOURS) else "5 3"
        drawn = [(x_axis.at(x), y_axis.at(y)) for x, y in each if y is not None]
        if not points_only and drawn:
            d = "M" + "L".join(f"{x:.1f} {y:.1f}" for x, y in drawn)
            parts.append(f'<path d="{d}" fill="none" stroke="{colour}" stroke-width="1.8" '
                         f'stroke-dasharray="{dash}"/>')
        radius = 5 if points_only else 3
        parts += [f'<circle cx="{x:.1f}" cy="{y:.1f}" r="{radius}" fill="{colour}" '
                  'fill-opacity="0.85"/>' for x, y in drawn]
        at = TOP + 14 + 20 * i
        parts.append(line(LEFT + PANEL_WIDTH + 24, at - 4, LEFT + PANEL_WIDTH + 46, at - 4,
                          stroke=colour, stroke_width=3, stroke_dasharray=dash))
        parts.append(text(LEFT + PANEL_WIDTH + 54, at, name, fill=INK))
    if rings:
        name, each = rings
        at = TOP + 14 + 20 * len(series)
        parts += [f'<circle cx="{x:.1f}" cy="{y:.1f}" r="6.5" fill="none" stroke="{INK}"/>'
                  for x, y in [(x_axis.at(x), y_axis.at(y)) for x, y in each if y is not None]
                  + [(LEFT + PANEL_WIDTH + 35, at - 4)]]
        parts.append(text(LEFT + PANEL_WIDTH + 54, at, name, fill=INK))
    write(path, title, max(bottom, TOP + 20 * len(series)) + 64, parts)


def cell_colour(share):
    """From dark orange, 0, over white paper to dark blue, 1."""
    ends = ((190, 80, 10), (247, 247, 247), (18, 70, 130))
    share = min(1.0, max(0.0, share))
    low, high, part = (ends[0], ends[1], share * 2) if share < 0.5 else (*ends[1:], share * 2 - 1)
    return "#" + "".join(f"{round(a + (b - a) * part):02x}" for a, b in zip(low, high))


def cells(path, title, columns, rows, values, *, low, high, decimals=2):
    """A map: `values[row][column]`, coloured from `low`, orange, to `high`, blue; None is empty."""
    label = 8 + 7 * max(len(row) for row in rows)
    width = (WIDTH - LEFT - label - 24) / len(columns)
    wrapped = [textwrap.wrap(column, int(width / 6), break_long_words=False) for column in columns]
    top = TOP + 15 * (max(map(len, wrapped)) - 1)
    parts, numbers = [], {False: [], True: []}
    for i, words in enumerate(wrapped):
        parts += [text(LEFT + label + width * (i + 0.5) - 1, top - 8 - 15 * above, each,
                       text_anchor="middle", font_size=11)
                  for above, each in enumerate(reversed(words))]
    for j, row in enumerate(rows):
        y = top + 26 * j
        parts.append(text(LEFT, y + 17, row, fill=INK))
        for i in range(len(columns)):
            value = values[j][i]
            if value is None:
                continue
            share = (value - low) / (high - low)
            x = LEFT + label + width * i
            # Attributes that all cells have would be most of the file.
            parts.append(f'<path fill="{cell_colour(share)}" d="M{x:.0f} {y}h{width - 2:.0f}v24'
                         f'h{2 - width:.0f}z"/>')
            dark = abs(share - 0.5) > 0.33
            numbers[dark].append(f'<text x="{x + width / 2 - 1:.0f}" y="{y + 16}">'
                                 f'{value:.{decimals}f}</text>')
    for dark, those in numbers.items():
        parts += [f'<g font-size="12" text-anchor="middle" fill="{PAPER if dark else INK}">',
                  *those, "</g>"]
    write(path, title, top + 26 * len(rows) + 24, parts)
