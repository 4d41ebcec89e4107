"""Plots as inline SVG; a bar's tooltip says what it stands for."""

from collections.abc import Sequence

from shardline.data.page.elements import Element, el, name_of
from shardline.data.page.numbers import count, share, value
from shardline.data.statistics.document import Histogram, TopValue
from shardline.data.statistics.values import Kind
from shardline.spec.data import SPLITS, SplitName

SPARK = (132, 34)
LARGE = (560, 150)
GAP = 0.15


def histogram_chart(histogram: Histogram, kind: Kind, size: tuple[int, int] = SPARK) -> Element:
    """Bars of equal width, the tallest as high as the plot."""
    width, height = size
    counts = histogram.counts
    tallest, step = max(1, *counts), width / len(counts)
    bars = []
    for place, number in enumerate(counts):
        # Even one row among millions must be seen to be there.
        tall = max(1.0, number / tallest * height) if number else 0.0
        left, right = histogram.edges[place], histogram.edges[place + 1]
        bars.append(
            el(
                "rect",
                el("title", f"{value(left, kind)} to {value(right, kind)}: {count(number)}"),
                x=f"{place * step + step * GAP / 2:.2f}",
                y=f"{height - tall:.2f}",
                width=f"{step * (1 - GAP):.2f}",
                height=f"{tall:.2f}",
            )
        )
    label = (
        f"histogram from {value(histogram.edges[0], kind)} to {value(histogram.edges[-1], kind)}"
    )
    return _svg(size, label, bars)


def values_chart(top: Sequence[TopValue], rows: int, size: tuple[int, int] = SPARK) -> Element:
    """One lying bar per frequent value, as long as its share of all rows."""
    width, height = size
    shown = top[:5]
    step = height / max(3, len(shown))
    bars = [
        el(
            "rect",
            el("title", name_of(entry.value).text or "", f": {count(entry.count)}"),
            x=0,
            y=f"{place * step + step * GAP / 2:.2f}",
            width=f"{max(1.0, entry.count / max(1, rows) * width):.2f}",
            height=f"{step * (1 - GAP):.2f}",
        )
        for place, entry in enumerate(shown)
    ]
    return _svg(size, "shares of the most frequent values", bars)


def bar(part: float, whole: float, tooltip: str) -> Element:
    """A lying bar for a cell of a table."""
    filled = 0.0 if not whole else max(0.0, min(1.0, part / whole)) * 100
    fill = el("rect", el("title", tooltip), x=0, y=0, width=f"{filled:.2f}", height=8)
    track = el("rect", x=0, y=0, width=100, height=8, class_="track")
    return _svg((100, 8), tooltip, [track, fill], class_="bar")


def splits_bar(rows: dict[SplitName, int]) -> Element:
    """The splits beside each other, each as wide as its share of the rows."""
    whole, left, parts = max(1, sum(rows.values())), 0.0, []
    for name in SPLITS:
        wide = rows.get(name, 0) / whole * 1000
        tooltip = f"{name}: {count(rows.get(name, 0))} rows, {share(rows.get(name, 0), whole)}"
        drawn = {"x": f"{left:.2f}", "y": 0, "width": f"{wide:.2f}", "height": 14}
        parts.append(el("rect", el("title", tooltip), class_=f"split {name}", **drawn))
        left += wide
    return _svg((1000, 14), "shares of the splits", parts, class_="splits")


def _svg(
    size: tuple[int, int], label: str, children: Sequence[Element], class_: str = "plot"
) -> Element:
    width, height = size
    return el(
        "svg",
        *children,
        class_=class_,
        viewBox=f"0 0 {width} {height}",
        width=width,
        height=height,
        preserveAspectRatio="none",
        role="img",
        aria_label=label,
    )
