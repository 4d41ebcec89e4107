"""The part of the page that says what cleaning did to each column."""

from shardline.data.cleaning.record import ColumnRecord
from shardline.data.manifest import DatasetManifest
from shardline.data.page.elements import Element, el, name_of
from shardline.data.page.numbers import count
from shardline.data.treatment import Treatment


def cleaning_section(manifest: DatasetManifest) -> Element | None:
    """Every cleaned column with its rules and how many values they touched."""
    if not manifest.cleaning:
        return None
    rows = (_row(name, record) for name, record in manifest.cleaning.items())
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


def _row(name: str, record: ColumnRecord) -> Element:
    touched = ", ".join(f"{step} {count(number)}" for step, number in record.touched.items())
    fitted = record.fitted_on
    basis = None if fitted is None else el("small", f"from {count(fitted)} values")
    rules = (el("div", name_of(rule)) for rule in _rules(record.treatment))
    return el("tr", el("th", name_of(name)), el("td", rules, basis), el("td", touched or "none"))


def _rules(treatment: Treatment) -> list[str]:
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
        rules.append(f"missing values become {treatment.fill!r}")
    if treatment.indicator is not None:
        rules.append(f"{treatment.indicator!r} says where it was missing")
    return rules


def _bound(bound: float | None) -> str:
    return "any" if bound is None else f"{bound:g}"
