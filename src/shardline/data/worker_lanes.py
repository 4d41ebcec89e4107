"""What a worker reads of a split, and how many rows it hands over at once."""

from collections.abc import Iterator
from dataclasses import dataclass

from shardline.data.order import Order
from shardline.data.row_groups import RowGroups

# Handing rows over costs the same for one step as for many small ones.
MAX_STEPS_AT_ONCE = 16
MAX_BYTES_AT_ONCE = 4 << 20


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

    @property
    def steps_at_once(self) -> int:
        """Steps that are handed over together, at most."""
        fitting = MAX_BYTES_AT_ONCE // max(1, self.local_batch * self.groups.layout.row_bytes)
        return max(1, min(MAX_STEPS_AT_ONCE, fitting))

    def spans(self, step: int, num_steps: int) -> Iterator[tuple[int, int]]:
        """The rest of an epoch from a step on, as first steps and numbers of steps.

        Args:
            step: The first one.
            num_steps: Of each span but the last.
        """
        for first in range(step, self.order.steps_per_epoch, num_steps):
            yield first, min(num_steps, self.order.steps_per_epoch - first)
