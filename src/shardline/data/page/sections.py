"""The parts of the page that speak of the whole dataset: rows, label, relevance, quarantine."""

from collections.abc import Iterable, Mapping, Sequence

import yaml

from shardline.data.manifest import DatasetManifest
from shardline.data.page.charts import LARGE, bar, histogram_chart, splits_bar
from shardline.data.page.elements import Children, Element, el, name_of
from shardline.data.page.numbers import count, share, value, when
from shardline.data.quarantine_summary import QuarantineReason
from shardline.data.schema import Column
from shardline.data.statistics.document import DatasetStatistics, LabelBalance, Relevance
from shardline.spec.data import SPLITS, SplitName

MAX_CLASSES = 40
MAX_TWINS = 50


def heading(manifest: DatasetManifest) -> Element:
    """Name, version and where every row went."""
    counts = manifest.counts
    rows = {name: split.rows for name, split in manifest.splits.items()}
    size = sum(shard.size_bytes for split in manifest.splits.values() for shard in split.shards)
    set_aside = counts.rows_quarantined
    return el(
        "header",
        el("h1", name_of(manifest.name)),
        el(
            "p",
            f"version {manifest.version}, prepared {when(manifest.created_unix_s // 1)} UTC from ",
            name_of(manifest.source.path),
            f" ({manifest.source.format}, {count(manifest.source.num_files)} files)",
            class_="quiet",
        ),
        el(
            "dl",
            _tile("rows kept", count(counts.rows_kept)),
            _tile(
                "rows quarantined",
                f"{count(set_aside)} ({share(set_aside, counts.rows_read)})",
                class_="warned" if set_aside else "",
            ),
            _tile("features", count(len(manifest.columns.features))),
            _tile("size", f"{size / 1e6:,.1f} MB"),
            class_="tiles",
        ),
        splits_bar(rows),
        el(
            "ul",
            (
                el("li", _swatch(name), f"{name} {count(rows[name])}")
                for name in SPLITS
                if name in rows
            ),
            el("li", f"{count(counts.rows_sampled_out)} left aside by data.sample")
            if counts.rows_sampled_out
            else None,
            class_="legend",
        ),
    )


def advice_section(manifest: DatasetManifest, statistics: DatasetStatistics) -> Element | None:
    """Features that seem not to be worth their place, and the others to copy into the spec."""
    if not statistics.droppable:
        return None
    dropped = {entry.feature for entry in statistics.droppable}
    kept = [column for column in manifest.columns.features if column.name not in dropped]
    return _section(
        "Features worth dropping",
        "Judged one by one on the train split: a feature may still matter together with others.",
        _table(
            ("feature", "because it"),
            (
                el("tr", el("th", name_of(entry.feature)), el("td", entry.reason))
                for entry in statistics.droppable
            ),
        ),
        el("p", f"The {count(len(kept))} others, for the spec's data section:") if kept else None,
        el("pre", _features_yaml(kept)) if kept else None,
    )


def label_section(manifest: DatasetManifest, statistics: DatasetStatistics) -> Element | None:
    """How often each class occurs in each split, or how a regression target is distributed."""
    if statistics.balance is not None:
        # Classes beyond the first thousand are not listed, but their rows count.
        totals = {name: split.rows for name, split in manifest.splits.items()}
        return _balance_section(statistics.label, statistics.balance, totals)
    column = statistics.column(statistics.label)
    found = column.values.histogram if column.values else None
    if found is None:
        return None
    return _section(
        "Label",
        name_of(statistics.label),
        el(
            "figure",
            histogram_chart(found, column.kind, LARGE),
            el(
                "figcaption",
                el("span", value(found.edges[0], column.kind)),
                el("span", value(found.edges[-1], column.kind)),
            ),
        ),
    )


def relevance_section(statistics: DatasetStatistics) -> Element | None:
    """What each feature alone says about the label, most first."""
    if not statistics.relevance:
        return None
    most = max(entry.share for entry in statistics.relevance)
    return _section(
        "Relevance for the label",
        f"How much of what is open about the label a feature settles alone, measured on "
        f"{count(statistics.num_sampled)} rows of the train split. Images, tensors and lists are "
        "not measured.",
        _table(
            ("feature", "settles", "", ">bits", ">correlation"),
            (_relevance_row(entry, most) for entry in statistics.relevance),
        ),
    )


def twins_section(statistics: DatasetStatistics) -> Element | None:
    """Pairs of features that say the same."""
    twins = statistics.duplicates
    if not twins:
        return None
    more = f" The first {MAX_TWINS} of {count(len(twins))}." if len(twins) > MAX_TWINS else ""
    return _section(
        "Nearly the same",
        f"Pairs of which one can be had from the other by renaming or a monotone function.{more}",
        _table(
            ("feature", "feature", ">similarity"),
            (
                el(
                    "tr",
                    el("th", name_of(pair.first)),
                    el("th", name_of(pair.second)),
                    el("td", f"{pair.similarity:.3f}", class_="number"),
                )
                for pair in twins[:MAX_TWINS]
            ),
        ),
    )


def quarantine_section(manifest: DatasetManifest, reasons: Sequence[QuarantineReason]) -> Element:
    """Why rows were set aside, with examples."""
    total, read = manifest.counts.rows_quarantined, manifest.counts.rows_read
    if not total:
        return _section("Quarantine", f"All {count(read)} rows that were read were kept.")
    rows = (
        el(
            "tr",
            el(
                "td",
                name_of(entry.reason),
                (el("small", name_of(f"{e.file} row {e.row}: {e.reason}")) for e in entry.examples),
            ),
            el("td", bar(entry.rows, total, share(entry.rows, total)), class_="wide"),
            el("td", count(entry.rows), class_="number"),
        )
        for entry in reasons
    )
    return _section(
        "Quarantine",
        f"{count(total)} of {count(read)} rows, {share(total, read)}, lie in quarantine/ "
        "beside the shards.",
        _table(("reason", "", ">rows"), rows),
    )


def _features_yaml(columns: Sequence[Column]) -> str:
    features = {
        column.name: {"dtype": column.dtype}
        | ({"shape": list(column.shape)} if column.shape else {})
        | ({"encoded": True} if column.encoded else {})
        for column in columns
        if column.indicates is None  # made by cleaning, not listed
    }
    text: str = yaml.safe_dump(
        {"features": features}, sort_keys=False, allow_unicode=True, default_flow_style=None
    )
    return text


def _balance_section(label: str, balance: LabelBalance, totals: Mapping[SplitName, int]) -> Element:
    splits = [s for s in SPLITS if any(s in entry.counts for entry in balance.classes)]
    most = max(max(entry.counts.values()) for entry in balance.classes) if balance.classes else 0
    hidden = balance.num_classes - min(MAX_CLASSES, len(balance.classes))
    rows = (
        el(
            "tr",
            el("th", name_of(entry.name)),
            el(
                "td",
                bar(entry.counts.get("train", 0), most, "train"),
                class_="wide",
            ),
            (
                el(
                    "td",
                    count(entry.counts.get(split, 0)),
                    el("small", share(entry.counts.get(split, 0), totals[split])),
                    class_="number",
                )
                for split in splits
            ),
        )
        for entry in balance.classes[:MAX_CLASSES]
    )
    note = f" The {count(hidden)} rarest are left out." if hidden else ""
    return _section(
        "Label balance",
        el("span", name_of(label), f", {count(balance.num_classes)} classes.{note}"),
        _table(("class", "", *(f">{split}" for split in splits)), rows),
    )


def _relevance_row(entry: Relevance, most: float) -> Element:
    settled = f"{100 * entry.share:.1f} %"
    if entry.correlation is None:
        related: Children = "-"
    else:
        kind = "ratio" if entry.correlation_kind == "ratio" else "Pearson"
        related = (f"{entry.correlation:.3f}", el("small", kind))
    shown: Children = settled if entry.measurable else el("span", "nothing measurable")
    return el(
        "tr",
        el("th", name_of(entry.feature)),
        el("td", shown, class_="" if entry.measurable else "quiet"),
        el("td", bar(entry.share, most, settled) if entry.measurable else None, class_="wide"),
        el("td", f"{entry.information_bits:.3f}", class_="number"),
        el("td", related, class_="number"),
    )


def _tile(title: str, text: str, class_: str = "") -> Element:
    return el("div", el("dt", title), el("dd", text, class_=class_))


def _swatch(name: str) -> Element:
    return el("svg", el("rect", width=10, height=10, rx=2, class_=name), viewBox="0 0 10 10")


def _section(title: str, lead: Children, *children: Children) -> Element:
    return el("section", el("h2", title), el("p", lead, class_="quiet"), *children)


def _table(titles: Sequence[str], rows: Iterable[Element]) -> Element:
    """A table; titles that begin with `>` stand over numbers."""
    head = (
        el("th", title.removeprefix(">"), class_="number" if title.startswith(">") else "")
        for title in titles
    )
    return el("table", el("thead", el("tr", head)), el("tbody", rows))
