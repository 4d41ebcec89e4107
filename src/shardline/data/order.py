"""Which row comes when: a pure function of the data, the seed and the cursor, never of the cluster.

The rows of a split are cut into L fixed ranges, the lanes. Every step takes the same number of
rows from each lane, and a worker reads whole lanes, so the rows of a global batch are the same on
any number of workers that divides L. Inside a lane an epoch has one of two forms: *full*, a keyed
permutation of all its rows, or *window* (`windows.py`), which can be read as a stream.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from shardline.data.permutation import keys_by_lane, permuted_each
from shardline.data.windows import LaneStream, WindowForm, lane_stream
from shardline.errors import DataError

Rows = NDArray[np.int64]


@dataclass(frozen=True, slots=True, kw_only=True)
class Order:
    """The order of one split's rows.

    Args:
        num_rows: Rows in the split.
        num_lanes: Fixed streams; divides `global_batch`.
        global_batch: Rows of one step over all workers.
        seed: Chooses one order among all.
        window: Which epochs have the window form, and how; None for none.
    """

    num_rows: int
    num_lanes: int
    global_batch: int
    seed: int
    window: WindowForm | None = None

    def __post_init__(self) -> None:
        if self.steps_per_epoch == 0:
            raise DataError(
                f"the train split has {self.num_rows} rows, too few for train.global_batch "
                f"{self.global_batch}; lower it or bring more data."
            )

    @property
    def rows_per_lane_step(self) -> int:
        """Rows that each lane gives to one step."""
        return self.global_batch // self.num_lanes

    @property
    def steps_per_epoch(self) -> int:
        """Full steps that the shortest lane holds."""
        return (self.num_rows // self.num_lanes) // self.rows_per_lane_step

    def window_form(self, epoch: int) -> WindowForm | None:
        """The window form if the epoch has it, None if it has the full one."""
        return self.window if self.window and epoch < self.window.epochs else None

    def lane_range(self, lane: int) -> tuple[int, int]:
        """First row and end of a lane."""
        return (
            lane * self.num_rows // self.num_lanes,
            (lane + 1) * self.num_rows // self.num_lanes,
        )

    def worker_lanes(self, rank: int, world_size: int) -> range:
        """The consecutive lanes that a worker owns."""
        return range(rank * self.num_lanes // world_size, (rank + 1) * self.num_lanes // world_size)

    def worker_share(self, rank: int, world_size: int) -> float:
        """The part of every global batch's rows that a worker takes."""
        return len(self.worker_lanes(rank, world_size)) / self.num_lanes

    def worker_range(self, rank: int, world_size: int) -> tuple[int, int]:
        """First row and end of all lanes of a worker."""
        lanes = self.worker_lanes(rank, world_size)
        return self.lane_range(lanes[0])[0], self.lane_range(lanes[-1])[1]

    def batch_rows(self, *, epoch: int, step: int, lanes: range, num_steps: int = 1) -> Rows:
        """Rows of consecutive steps from the given lanes.

        Returns:
            int64 [num_steps * lanes * rows_per_lane_step], numbers of rows in the split.
        """
        start, stop = step * self.rows_per_lane_step, (step + num_steps) * self.rows_per_lane_step
        form = self.window_form(epoch)
        if form is None:
            return self.by_step(self._full_rows(epoch, lanes, start, stop))
        streams = [self.stream(lane, epoch, form) for lane in lanes]
        return self.by_step(np.stack([stream.rows(start, stop) for stream in streams]))

    def stream(self, lane: int, epoch: int, form: WindowForm) -> LaneStream:
        """A lane in an epoch of the window form."""
        return lane_stream(form, self.lane_range(lane), key=(self.seed, epoch, lane))

    def by_step(self, by_lane: Rows) -> Rows:
        """Values of shape (lanes, steps * rows_per_lane_step) in the order of steps, then lanes."""
        split = by_lane.reshape(len(by_lane), -1, self.rows_per_lane_step)
        return split.transpose(1, 0, 2).ravel()

    def _full_rows(self, epoch: int, lanes: range, start: int, stop: int) -> Rows:
        ranges = np.array([self.lane_range(lane) for lane in lanes], np.int64)
        sizes = (ranges[:, 1] - ranges[:, 0]).astype(np.uint64)
        keys = keys_by_lane(self.seed, epoch, self.num_lanes)[:, lanes.start : lanes.stop]
        positions = np.arange(start, stop, dtype=np.uint64)
        inside = permuted_each(positions, sizes=sizes, keys=keys).astype(np.int64)
        return inside + ranges[:, :1]
