"""`MODEL_CARD.md`: what a person should know of a model version before using it."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime

import numpy as np

from shardline.artifacts.card_calls import calls
from shardline.artifacts.card_text import code, number, table
from shardline.artifacts.manifest import ModelManifest, Seen
from shardline.artifacts.own_objects import OwnObject
from shardline.data.schema import Column

CARD_FILE = "MODEL_CARD.md"
MAX_CLASSES = 10
FEW_ROWS = 30
"""Below so many rows, one row more or less moves an accuracy by percents."""


@dataclass(frozen=True)
class DataFacts:
    """What the card says of the dataset."""

    source: str
    """Format and number of files."""
    rows: dict[str, int]
    """By split."""
    quarantined: int
    classes: tuple[tuple[str, dict[str, int]], ...]
    """Name and rows by split of each class, most frequent first; empty where it was not counted."""
    filled: dict[str, int]
    """Values that were missing and filled in, by column."""


@dataclass(frozen=True)
class CardFacts:
    """Everything the card is made of."""

    manifest: ModelManifest
    data: DataFacts
    own_objects: tuple[OwnObject, ...]
    """What `keras.models.load_model` has to be given."""


def model_card(facts: CardFacts) -> str:
    """The card as Markdown, the same for the same facts."""
    manifest = facts.manifest
    parts = [
        f"# {manifest.name}, version {manifest.version}",
        _summary(manifest),
        "## Inputs and outputs",
        _inputs(manifest),
        _outputs(manifest),
        "## Data",
        _data(facts),
        "## Metrics",
        _metrics(manifest),
        "## Slices",
        _slices(manifest),
        "## Limits",
        _bullets(_limits(facts)),
        "## How to call it",
        calls(manifest, facts.own_objects),
        "## Where it comes from",
        _lineage(manifest),
    ]
    return "\n\n".join(part for part in parts if part) + "\n"


def _summary(manifest: ModelManifest) -> str:
    label, when = manifest.label, datetime.fromtimestamp(manifest.created_unix_s, UTC)
    if label.vocabulary is None:
        learned = f"{code(label.name)}, a number ({label.dtype}),"
    else:
        names = ", ".join(map(code, label.vocabulary[:MAX_CLASSES]))
        more = len(label.vocabulary) - MAX_CLASSES
        rest = f" and {more} more" if more > 0 else ""
        learned = f"{code(label.name)}, one of {len(label.vocabulary)} classes ({names}{rest}),"
    inputs = "1 input" if len(manifest.inputs) == 1 else f"{len(manifest.inputs)} inputs"
    return (
        f"Predicts {learned} from {inputs}. Exported on {when:%Y-%m-%d %H:%M} UTC from step "
        f"{manifest.lineage.step} of run {code(manifest.lineage.run)}."
    )


def _inputs(manifest: ModelManifest) -> str:
    rows = [
        (code(c.name), _type(c), _range(c, manifest.seen.get(c.name)), _missing(c))
        for c in manifest.inputs
    ]
    return table(("input", "type", "seen in training", "a missing value"), rows)


def _outputs(manifest: ModelManifest) -> str:
    return table(("output", "type"), [(code(c.name), _type(c)) for c in manifest.outputs])


def _type(column: Column) -> str:
    if column.encoded:
        return f"image file, as {column.dtype} {list(column.shape)}"
    if column.padding is not None:
        return f"list of {column.dtype}, at most {column.shape[0]}"
    return f"{column.dtype} {list(column.shape)}" if column.shape else column.dtype


def _range(column: Column, seen: Seen | None) -> str:
    if seen is None:
        return "not recorded"
    if seen.texts is not None:
        return f"{seen.texts} different texts"
    if seen.min is None or seen.max is None:
        return "not recorded"
    if column.dtype == "timestamp":
        return f"{_moment(seen.min)} to {_moment(seen.max)}"
    return f"{number(seen.min)} to {number(seen.max)}"


def _moment(unix_s: float) -> str:
    # Python's datetime ends with the year 9999.
    return str(np.datetime64(int(unix_s // 60), "m")).replace("T", " ")


def _missing(column: Column) -> str:
    if column.indicates is not None:
        return f"made from {code(column.indicates)}"
    if column.treatment is not None and column.treatment.fill is not None:
        return f"becomes {code(str(column.treatment.fill))}"
    return "is refused"


def _data(facts: CardFacts) -> str:
    lineage, data = facts.manifest.lineage, facts.data
    told = [
        f"Dataset {code(lineage.dataset)}, version {code(lineage.dataset_version)}, from "
        f"{data.source}. {data.quarantined} rows were set aside.",
        table(("split", "rows"), [(split, str(rows)) for split, rows in data.rows.items()]),
    ]
    if data.classes:
        splits = list(data.rows)
        shown = [
            (code(name), *(str(counts.get(split, 0)) for split in splits))
            for name, counts in data.classes[:MAX_CLASSES]
        ]
        told.append(table(("class", *splits), shown))
    if data.filled:
        filled = ", ".join(f"{code(name)} {count}" for name, count in data.filled.items())
        told.append(f"Missing values that were filled in: {filled}.")
    return "\n\n".join(told)


def _metrics(manifest: ModelManifest) -> str:
    if not manifest.metrics:
        return "It was never evaluated: `shardline evaluate`, then export again."
    rows = [(code(name), number(value)) for name, value in sorted(manifest.metrics.items())]
    where = ""
    if manifest.evaluated_split is not None:
        where = (
            f"On all {manifest.evaluated_rows} rows of the {manifest.evaluated_split} split.\n\n"
        )
    return where + table(("metric", "value"), rows)


def _slices(manifest: ModelManifest) -> str:
    if not manifest.slices:
        return (
            "None were measured: there are no held-out rows, or the outputs cannot be compared "
            "with the label one by one."
        )
    rows = [
        (
            "all" if s.column is None else f"{code(s.column)} is {code(s.value)}",
            str(s.rows),
            "not finite" if s.measured is None else number(s.measured),
        )
        for s in manifest.slices
    ]
    first = manifest.slices[0]
    return f"On the first {first.rows} held-out rows.\n\n" + table(
        ("rows where", "rows", first.measure), rows
    )


def _limits(facts: CardFacts) -> Iterable[str]:
    manifest, data = facts.manifest, facts.data
    ranged = [name for name, seen in manifest.seen.items() if seen.min is not None]
    if ranged:
        yield (
            "Numbers outside of what was seen in training (see the table of inputs) are answered "
            "all the same, untested."
        )
    if any(seen.texts is not None for seen in manifest.seen.values()):
        yield "Texts that training did not have are answered all the same, untested."
    if not sum(rows for split, rows in data.rows.items() if split != "train"):
        yield "No rows were held out: nothing is known about rows that it was not trained on."
    elif manifest.metrics:
        yield "Tested on rows of the same source as it was trained on, and on no others."
    small = [s for s in manifest.slices if s.column is not None and s.rows < FEW_ROWS]
    if small:
        yield (f"Slices of fewer than {FEW_ROWS} rows ({len(small)} of them) say little.")
    yield from _input_limits(manifest.inputs)


def _input_limits(inputs: Sequence[Column]) -> Iterable[str]:
    for column in inputs:
        if column.padding is not None:
            longer = "cut off" if column.padding.longer == "cut" else "refused"
            size = column.shape[0]
            yield f"{code(column.name)}: what a list has beyond {size} elements is {longer}."
        if column.treatment is not None and column.treatment.beyond is not None:
            low, high = column.treatment.low, column.treatment.high
            becomes = "clipped" if column.treatment.beyond == "clip" else "refused"
            yield f"{code(column.name)}: numbers beyond {low} to {high} are {becomes}."
    if any(column.treatment is not None for column in inputs):
        yield (
            "Missing values, texts and bounds are treated as above where shardline scores or "
            "serves; whoever calls the SavedModel sends values that are treated already."
        )


def _lineage(manifest: ModelManifest) -> str:
    lineage = manifest.lineage
    revision = "not in git"
    if lineage.code_revision is not None:
        changed = " with changes that are not committed" if lineage.code_revision.dirty else ""
        revision = f"git commit {code(lineage.code_revision.commit)}{changed}"
    libraries = ", ".join(f"{name} {version}" for name, version in lineage.libraries.items())
    rows = [
        ("dataset", code(f"{lineage.dataset}/{lineage.dataset_version}")),
        ("run and step", code(f"{lineage.run}@{lineage.step}")),
        ("weights", f"sha256 {code(lineage.checkpoint_digest)}"),
        ("code", f"sha256 {code(lineage.code_digest)}, {revision}"),
        ("spec", f"sha256 {code(lineage.spec_digest)}"),
        ("libraries", libraries),
        ("reloaded in a process of its own", f"deviates by {manifest.parity_max_abs_error:.3g}"),
    ]
    return table(("", ""), rows) + "\n\n`model.json` has all of it, and sha256 of every file."


def _bullets(items: Iterable[str]) -> str:
    return "\n".join(f"- {item}" for item in items)
