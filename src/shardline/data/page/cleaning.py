"""The part of the page that says what cleaning did to each column."""

from shardline.data.cleaning.missing import US_PER_S
from shardline.data.cleaning.record import ColumnRecord
from shardline.data.manifest import DatasetManifest
from shardline.data.page.elements import Element, el, name_of
from shardline.data.page.numbers import count, when
from shardline.data.treatment import Treatment


def cleaning_section(manifest: DatasetManifest) -> Element | None:
    """Every cleaned column with its rules and how many values they touched."""
    if not manifest.cleaning:
        return None
    times = {column.name for column in manifest.columns.features if column.dtype == "timestamp"}
    rows = (_row(name, record, name in times) for name, record in manifest.cleaning.items())
    titles = (el("th", title) for title in ("column", "rules", "values touched, over all splits"))
    return el(
        "section",
        el("h2", "Cleaning"),
        el(
            "p",
            "Bounds and fills come from the train split alone; serving and scoring use the same.",
            class_="quiet",
        ),
        el("table", el("thead", el("tr", titles)), el("tbody", rows)),
    )


def _row(name: str, record: ColumnRecord, is_time: bool) -> Element:
    touched = ", ".join(f"{step} {count(number)}" for step, number in record.touched.items())
    fitted = record.fitted_on
    basis = None if fitted is None else el("small", f"from {count(fitted)} values")
    rules = (el("div", name_of(rule)) for rule in _rules(record.treatment, is_time))
    return el("tr", el("th", name_of(name)), el("td", rules, basis), el("td", touched or "none"))


def _rules(treatment: Treatment, is_time: bool) -> list[str]:
    """A line for each step, in the order in which they are taken."""
    rules = []
    if treatment.text is not None:
        rules.append("text is normalised")
    if treatment.null_values:
        rules.append(f"missing where it is {', '.join(map(repr, treatment.null_values))}")
    if treatment.map is not None:
        rules.append(f"mapped by {len(treatment.map)} entries")
    if treatment.drop_missing:
        rules.append("rows without a value are set aside")
    if treatment.beyond is not None:
        ends = f"{_bound(treatment.low)} to {_bound(treatment.high)}"
        verb = "clipped" if treatment.beyond == "clip" else "set aside"
        rules.append(f"values beyond {ends} are {verb}")
    if treatment.fill is not None:
        rules.append(f"missing values become {_fill(treatment.fill, is_time)}")
    if treatment.indicator is not None:
        rules.append(f"{treatment.indicator!r} says where it was missing")
    return rules


def _fill(fill: bool | float | str, is_time: bool) -> str:
    return when(fill / US_PER_S) if is_time and not isinstance(fill, str) else repr(fill)


def _bound(bound: float | None) -> str:
    return "any" if bound is None else f"{bound:g}"
