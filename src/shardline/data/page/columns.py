"""The part of the page that shows every column: a line each, more when it is opened."""

from shardline.data.page.charts import LARGE, SPARK, histogram_chart, values_chart
from shardline.data.page.elements import Children, Element, el, name_of
from shardline.data.page.numbers import count, share, short, value
from shardline.data.statistics.document import ColumnProfile, DatasetStatistics, Distribution
from shardline.data.statistics.values import Kind

WORDS: dict[Kind, str] = {
    "number": "number", "time": "time", "text": "text", "tensor": "tensor", "list": "list",
    "image": "image file",
}  # fmt: skip
LENGTHS: dict[Kind, str] = {"text": "characters", "list": "elements", "image": "bytes"}
# More missing values than this are worth a warning.
MANY_MISSING = 0.05
SECONDS_PER_DAY = 86_400


def columns_section(statistics: DatasetStatistics) -> Element:
    """All columns of the train split."""
    sampled = statistics.num_sampled < statistics.num_rows
    basis = (
        f"Quantiles and histograms rest on {count(statistics.num_sampled)} sampled rows."
        if sampled
        else "All figures are exact but distinct counts marked with ~."
    )
    return el(
        "section",
        el("h2", "Columns"),
        el("p", f"{count(statistics.num_rows)} rows of the train split. {basis}", class_="quiet"),
        (_column(column, column.name == statistics.label) for column in statistics.columns),
    )


def _column(column: ColumnProfile, is_label: bool) -> Element:
    role = "label, " if is_label else ""
    missing = column.nulls + column.not_finite
    total = column.rows + column.nulls
    return el(
        "details",
        el(
            "summary",
            el("span", el("strong", name_of(column.name)), el("small", f"{role}{column.type}")),
            el("span", _chart(column, SPARK)),
            el("span", _missing(column, missing, total), el("small", "missing")),
            el("span", _distinct(column), el("small", _distinct_word(column))),
            el("span", *_middle(column)),
        ),
        el(
            "div", _figure(column), _numbers(column), _top(column), _shapes(column), class_="inside"
        ),
    )


def _chart(column: ColumnProfile, size: tuple[int, int]) -> Element | None:
    distribution = column.values or column.lengths
    discrete = column.top and (column.kind == "text" or (column.distinct or 0) <= len(column.top))
    if discrete:
        return values_chart(column.top, column.rows, size)
    if distribution is None or distribution.histogram is None:
        return None
    return histogram_chart(distribution.histogram, _scale(column), size)


def _missing(column: ColumnProfile, missing: int, total: int) -> Element:
    many = column.kind != "tensor" and missing > MANY_MISSING * max(1, total)
    return el("span", share(missing, total), class_="warned" if many else "")


def _distinct(column: ColumnProfile) -> str:
    if column.distinct is None:
        return "-" if not column.shapes else count(len(column.shapes))
    return f"{'' if column.distinct_exact else '~'}{count(column.distinct)}"


def _distinct_word(column: ColumnProfile) -> str:
    return "shapes" if column.shapes else "distinct"


def _middle(column: ColumnProfile) -> tuple[Children, Children]:
    found = column.values
    if found is not None and found.mean is not None:
        return value(found.mean, column.kind), el("small", f"mean{_spread_of(found, column.kind)}")
    if found is None and column.lengths is not None and column.lengths.mean is not None:
        return short(column.lengths.mean), el("small", f"mean {LENGTHS[column.kind]}")
    return "-", None


def _spread_of(found: Distribution, kind: Kind) -> str:
    if found.deviation is None:
        return ""
    if kind == "time":
        return f", ± {short(found.deviation / SECONDS_PER_DAY)} days"
    return f", ± {short(found.deviation)}"


def _scale(column: ColumnProfile) -> Kind:
    """How the ends of its histogram are written."""
    return "time" if column.kind == "time" else "number"


def _figure(column: ColumnProfile) -> Element | None:
    distribution = column.values or column.lengths
    if distribution is None or distribution.histogram is None:
        return None
    found, kind = distribution.histogram, _scale(column)
    word = "" if column.values else f" {LENGTHS[column.kind]}"
    outside = found.below + found.above
    return el(
        "figure",
        histogram_chart(found, kind, LARGE),
        el(
            "figcaption",
            el("span", value(found.edges[0], kind)),
            el("span", f"{count(outside)} farther out" if outside else ""),
            el("span", f"{value(found.edges[-1], kind)}{word}"),
        ),
    )


def _numbers(column: ColumnProfile) -> list[Element]:
    parts = ((column.values, "values"), (column.lengths, LENGTHS.get(column.kind, "")))
    return [_quantiles(found, title, _scale(column)) for found, title in parts if found is not None]


def _quantiles(found: Distribution, title: str, kind: Kind) -> Element:
    middle = [(f"{100 * float(p):g} %", q) for p, q in found.quantiles.items()]
    lines = [("smallest", found.min), *middle, ("largest", found.max)]
    rows = (
        el("tr", el("td", name, class_="quiet"), el("td", value(number, kind), class_="number"))
        for name, number in lines
    )
    return el("table", el("thead", el("tr", el("th", title, colspan=2))), el("tbody", rows))


def _top(column: ColumnProfile) -> Element | None:
    if not column.top:
        return None
    title = "most frequent" if column.top_exact else "most frequent, about"
    rows = (
        el("tr", el("td", _shown(entry.value, column.kind)), _counted(entry.count, column.rows))
        for entry in column.top
    )
    return el("table", el("thead", el("tr", el("th", title, colspan=2))), el("tbody", rows))


def _shapes(column: ColumnProfile) -> Element | None:
    if not column.shapes:
        return None
    sampled = sum(shape.count for shape in column.shapes)
    rows = (
        el(
            "tr",
            el("td", f"{shape.height}, {shape.width}, {shape.channels}"),
            _counted(shape.count, sampled),
        )
        for shape in column.shapes
    )
    title = el("th", "height, width, channels", colspan=2)
    return el("table", el("thead", el("tr", title)), el("tbody", rows))


def _counted(number: int, whole: int) -> Element:
    return el("td", count(number), el("small", share(number, whole)), class_="number")


def _shown(entry: str | int | float, kind: Kind) -> Element:
    return name_of(entry if isinstance(entry, str) else value(entry, kind))
