"""One round of fitting: what cleaning has to know of the train split, piece by piece."""

from math import inf

import pyarrow as pa

from shardline.data.cleaning.fitting import Cleaning
from shardline.data.cleaning.summary import Summary
from shardline.data.statistics.summary import ColumnSummary, summary_of
from shardline.data.statistics.table import TableSketch


class CleaningTally:
    """What one round sees of the train split; parts merge in the order of their rows.

    Args:
        cleaning: Awaits something.
    """

    def __init__(self, cleaning: Cleaning) -> None:
        self._cleaning = cleaning
        fields = [(name, cleaning.columns[name].arrow_type) for name in cleaning.awaited]
        self._sketch = TableSketch(pa.schema(fields))

    def __getstate__(self) -> tuple[Cleaning, bytes]:
        return self._cleaning, self._sketch.dump()

    def __setstate__(self, state: tuple[Cleaning, bytes]) -> None:
        self._cleaning, self._sketch = state[0], TableSketch.load(state[1])

    def add(self, table: pa.Table, *, first_row: int) -> None:
        """Look at some rows of the train split.

        Args:
            table: Typed rows.
            first_row: A number that no other row of the source has: of the first of them; the
                others follow.
        """
        kept = self._cleaning.unfilled(table)
        self._sketch.add(kept.select(self._sketch.schema.names), first_row=first_row)

    def merge(self, other: "CleaningTally") -> None:
        """Take in what another tally saw of later rows."""
        self._sketch.merge(other._sketch)

    def fitted(self) -> Cleaning:
        """The cleaning with what this round was for.

        Raises:
            DataError: The train split has no value to fit a column from.
        """
        found = {name: summary_of(self._sketch, name) for name in self._cleaning.awaited}
        return self._cleaning.fitted({name: _summary(column) for name, column in found.items()})


def _summary(column: ColumnSummary) -> Summary:
    moments, is_text = column.moments, column.sketch.kind == "text"
    return Summary(
        count=column.sketch.lengths.count if is_text else moments.count,
        mean=moments.mean,
        deviation=inf if moments.deviation is None else moments.deviation,
        mode=column.mode,
        ascending=column.sampled,
    )
