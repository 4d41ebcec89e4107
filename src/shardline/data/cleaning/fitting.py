"""What the train split says about bounds and fills, found in at most two rounds over its rows.

Bounds come first: the mean that fills a gap is then that of the values as they will be written,
clipped, and without the rows that were set aside.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Literal

import pyarrow as pa

from shardline.data.cleaning.missing import check_fill, fill_value
from shardline.data.cleaning.outliers import bounds_of, check_numbers, is_fitted
from shardline.data.cleaning.record import ColumnRecord, Touched, records_of
from shardline.data.cleaning.summary import Summary
from shardline.data.cleaning.treating import Treated, treat
from shardline.data.column_names import OWN_NAMES
from shardline.data.rows import RowLayout, require_columns
from shardline.data.schema import Column
from shardline.data.treatment import Treatment
from shardline.errors import DataError
from shardline.spec.cleaning import FITTED_FILLS, ColumnCleaning, indicator_name
from shardline.spec.data import DataSpec

Stage = Literal["bounds", "fills"]


@dataclass(frozen=True)
class Cleaning:
    """The rules of a dataset and what is fitted of them so far."""

    columns: Mapping[str, Column]
    """The columns that have rules."""
    rules: Mapping[str, ColumnCleaning]
    treatments: Mapping[str, Treatment]
    fitted_on: Mapping[str, int] = field(default_factory=dict)
    """Values of the train split that a column's bounds or fill come from."""

    @property
    def stage(self) -> Stage | None:
        """What is to be fitted next; None when all is."""
        if any(self._awaits_bounds(name) for name in self.rules):
            return "bounds"
        return "fills" if any(self._awaits_fill(name) for name in self.rules) else None

    @property
    def awaited(self) -> list[str]:
        """Columns that the next round looks at."""
        if self.stage is None:
            return []
        awaits = self._awaits_bounds if self.stage == "bounds" else self._awaits_fill
        return [name for name in self.rules if awaits(name)]

    def apply(self, table: pa.Table) -> Treated:
        """Treat typed rows by what is fitted; what is not yet, is left as it is."""
        return treat(table, self.treatments)

    def unfilled(self, table: pa.Table) -> pa.Table:
        """The rows that stay, as the next round looks at them: constants would move bounds."""
        awaited = {name: self.treatments[name] for name in self.awaited}
        bare = {name: each.model_copy(update={"fill": None}) for name, each in awaited.items()}
        return treat(table, {**self.treatments, **bare}).table

    def fitted(self, summaries: Mapping[str, Summary]) -> "Cleaning":
        """The next stage, from the summary of every awaited column.

        Raises:
            DataError: The train split has no value to fit a column from.
        """
        fit = _with_bounds if self.stage == "bounds" else _with_fill
        treatments = {
            name: fit(self.treatments[name], self.rules[name], self.columns[name], summary)
            for name, summary in summaries.items()
        }
        counts = {name: summary.count for name, summary in summaries.items()}
        return replace(
            self,
            treatments={**self.treatments, **treatments},
            fitted_on={**self.fitted_on, **counts},
        )

    def record(self, touched: Touched) -> dict[str, ColumnRecord]:
        """What `dataset.json` keeps."""
        return records_of(self.treatments, self.fitted_on, touched)

    def _awaits_bounds(self, name: str) -> bool:
        rule, treatment = self.rules[name].outliers, self.treatments[name]
        return rule is not None and is_fitted(rule) and treatment.beyond is None

    def _awaits_fill(self, name: str) -> bool:
        rule = self.rules[name].missing
        return rule is not None and rule.by in FITTED_FILLS and self.treatments[name].fill is None


def raw_treatments(data: DataSpec) -> dict[str, Treatment]:
    """The steps that raw values take, known from the spec alone."""
    return {name: _declared(name, rules) for name, rules in data.cleaning.items()}


def takes_nulls(data: DataSpec) -> frozenset[str]:
    """Columns of which a missing value costs no row."""
    missing = {name: rules.missing for name, rules in data.cleaning.items() if rules.missing}
    return frozenset(name for name, rule in missing.items() if rule.by != "drop")


def begin(data: DataSpec, layout: RowLayout) -> Cleaning:
    """The cleaning of a dataset with all that needs no rows to be known.

    Args:
        data: The spec's section.
        layout: The rows' columns; features declared or found.

    Raises:
        DataError: A rule does not suit its column.
    """
    columns = {name: _suited(name, rules, layout) for name, rules in data.cleaning.items()}
    treatments = raw_treatments(data)
    for name, rules in data.cleaning.items():
        if rules.outliers and not is_fitted(rules.outliers):
            treatments[name] = _with_bounds(treatments[name], rules, columns[name], None)
        if rules.missing and rules.missing.by == "constant":
            treatments[name] = _with_fill(treatments[name], rules, columns[name], None)
    return Cleaning(columns, data.cleaning, treatments)


def cleaned_layout(layout: RowLayout, cleaning: Cleaning) -> RowLayout:
    """The columns of cleaned rows: features know their treatments, indicators stand beside them."""
    features: list[Column] = []
    for column in layout.features:
        treatment = cleaning.treatments.get(column.name)
        features.append(column.model_copy(update={"treatment": treatment}))
        if treatment and treatment.indicator:
            features.append(
                Column(
                    name=treatment.indicator,
                    dtype="float32",
                    treatment=treatment,
                    indicates=column.name,
                )
            )
    return replace(layout, features=tuple(features), nullable=frozenset())


def _declared(name: str, rules: ColumnCleaning) -> Treatment:
    missing = rules.missing
    return Treatment(
        text=rules.text,
        null_values=missing.null_values if missing else (),
        map=rules.map,
        unmapped=rules.unmapped,
        drop_missing=missing is not None and missing.by == "drop",
        indicator=indicator_name(name, missing) if missing else None,
    )


def _suited(name: str, rules: ColumnCleaning, layout: RowLayout) -> Column:
    """The column of that name, if the rules can be applied to it."""
    roles = {column.name: (column, role) for column, role in layout.roles}
    require_columns(roles, [(name, "cleaned column")], "the dataset")
    column, role = roles[name]
    if rules.missing and rules.missing.indicator and role != "feature":
        raise DataError(
            f"data.cleaning.{name}.missing.indicator: {name!r} is a {role}, expected a feature."
        )
    if column.shape and (rules.outliers or (rules.missing and rules.missing.by != "drop")):
        raise DataError(
            f"data.cleaning.{name}: its values have shape {list(column.shape)}, expected one value "
            "per row; of such columns only rows with missing values can be dropped."
        )
    if rules.outliers:
        check_numbers(column)
    if rules.missing:
        check_fill(rules.missing, column)
        extra = indicator_name(name, rules.missing)
        if extra in roles or extra in OWN_NAMES:
            raise DataError(
                f"data.cleaning.{name}.missing.indicator: there is a column {extra!r} already."
            )
    return column


def _with_bounds(
    treatment: Treatment, rules: ColumnCleaning, column: Column, summary: Summary | None
) -> Treatment:
    if rules.outliers is None:
        return treatment
    low, high = bounds_of(rules.outliers, column, summary)
    return treatment.model_copy(update={"low": low, "high": high, "beyond": rules.outliers.then})


def _with_fill(
    treatment: Treatment, rules: ColumnCleaning, column: Column, summary: Summary | None
) -> Treatment:
    if rules.missing is None:
        return treatment
    fill = fill_value(rules.missing, column, summary)
    return treatment.model_copy(update={"fill": fill})
