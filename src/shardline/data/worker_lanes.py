"""What a worker reads of a split, and how many rows it hands over at once."""

from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property

from shardline.data.order import Order, Rows
from shardline.data.row_groups import RowGroups

# Handing rows over costs Python about 1 ms, for one step as for many small ones: later epochs of 50
# columns are a third faster with 64 steps of 200 KB than with 16.
MAX_STEPS_AT_ONCE = 64
MAX_BYTES_AT_ONCE = 16 << 20
# Working out the order of few rows is all numpy's calls: 241 ns a row for 4,096, 70 ns for 65,536.
ORDERED_ROWS = 1 << 16


@dataclass(frozen=True)
class WorkerLanes:
    """The rows of a worker's lanes.

    Args:
        groups: Reads them; has a cache if any epoch is of the full form.
        order: Which row comes when.
        lanes: The worker's.
    """

    groups: RowGroups
    order: Order
    lanes: range

    @property
    def local_batch(self) -> int:
        """Rows of one step."""
        return self.order.rows_per_lane_step * len(self.lanes)

    @cached_property
    def steps_at_once(self) -> int:
        """Steps that are handed over together, at most."""
        fitting = MAX_BYTES_AT_ONCE // max(1, self.local_batch * self.groups.layout.row_bytes)
        return max(1, min(MAX_STEPS_AT_ONCE, fitting, self.order.steps_per_epoch))

    @property
    def rows_at_once(self) -> int:
        """Rows that are handed over together, at most."""
        return self.steps_at_once * self.local_batch

    def ordered_spans(self, step: int) -> Iterator[tuple[int, int]]:
        """Spans whose order is worked out together: each is handed over in whole parts."""
        parts = max(1, ORDERED_ROWS // self.rows_at_once)
        return self.spans(step, parts * self.steps_at_once)

    def parts(self, rows: Rows) -> Iterator[Rows]:
        """The rows of a span, those that are handed over together."""
        for start in range(0, len(rows), self.rows_at_once):
            yield rows[start : start + self.rows_at_once]

    def spans(self, step: int, num_steps: int) -> Iterator[tuple[int, int]]:
        """The rest of an epoch from a step on, as first steps and numbers of steps.

        Args:
            step: The first one.
            num_steps: Of each span but the last.
        """
        for first in range(step, self.order.steps_per_epoch, num_steps):
            yield first, min(num_steps, self.order.steps_per_epoch - first)
