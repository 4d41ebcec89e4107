"""Which row comes when: a pure function of the data, the seed and the cursor, never of the cluster.

The rows of a split are cut into L fixed ranges, the lanes. Every step takes the same number of
rows from each lane, in an order that a keyed permutation gives per epoch, and a worker reads whole
lanes. So the rows of a global batch are the same on any number of workers that divides L.
"""

from dataclasses import dataclass
from functools import lru_cache

import numpy as np
from numpy.typing import NDArray

from shardline.errors import DataError

Rows = NDArray[np.int64]

# An even number brings the halves of an unbalanced network back to their places.
FEISTEL_ROUNDS = 6


@dataclass(frozen=True, slots=True, kw_only=True)
class Order:
    """The order of one split's rows.

    Args:
        num_rows: Rows in the split.
        num_lanes: Fixed streams; divides `global_batch`.
        global_batch: Rows of one step over all workers.
        seed: Chooses one order among all.
    """

    num_rows: int
    num_lanes: int
    global_batch: int
    seed: int

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

    def batch_rows(self, *, epoch: int, step: int, lanes: range) -> Rows:
        """Rows of one step from the given lanes.

        Returns:
            int64 [lanes * rows_per_lane_step], numbers of rows in the split.
        """
        positions = np.arange(self.rows_per_lane_step, dtype=np.uint64)
        positions += np.uint64(step * self.rows_per_lane_step)
        return np.concatenate([self._lane_rows(lane, epoch, positions) for lane in lanes])

    def _lane_rows(self, lane: int, epoch: int, positions: NDArray[np.uint64]) -> Rows:
        start, stop = self.lane_range(lane)
        keys = round_keys(self.seed, epoch, lane)
        return permuted(positions, size=stop - start, keys=keys).astype(np.int64) + start


def permuted(
    positions: NDArray[np.uint64], *, size: int, keys: NDArray[np.uint64]
) -> NDArray[np.uint64]:
    """Where a keyed permutation of `range(size)` sends each position, in O(1) each.

    An unbalanced Feistel network permutes the next power of two; values that fall outside
    `range(size)` walk on along their cycle until they are inside (Black and Rogaway, "Ciphers with
    Arbitrary Finite Domains", CT-RSA 2002).

    Args:
        positions: uint64, each below `size`.
        size: Number of values, from 1 up.
        keys: uint64 [FEISTEL_ROUNDS].
    """
    bits = max(2, int(size - 1).bit_length())
    values = _feistel(positions, bits, keys)
    outside = values >= size
    while outside.any():
        values[outside] = _feistel(values[outside], bits, keys)
        outside = values >= size
    return values


@lru_cache(maxsize=1024)
def round_keys(*parts: int) -> NDArray[np.uint64]:
    """Independent round keys for a (seed, epoch, lane) or any other tuple of integers."""
    keys = np.random.SeedSequence(parts).generate_state(FEISTEL_ROUNDS, np.uint64)
    return keys.astype(np.uint64, copy=False)


def _feistel(values: NDArray[np.uint64], bits: int, keys: NDArray[np.uint64]) -> NDArray[np.uint64]:
    high_bits, low_bits = bits // 2, bits - bits // 2
    for key in keys:
        low = values & np.uint64((1 << low_bits) - 1)
        high = values >> np.uint64(low_bits)
        high ^= _mixed(low, key) & np.uint64((1 << high_bits) - 1)
        values = (low << np.uint64(high_bits)) | high
        high_bits, low_bits = low_bits, high_bits
    return values


def _mixed(values: NDArray[np.uint64], key: np.uint64) -> NDArray[np.uint64]:
    """The finaliser of SplitMix64 (Steele, Lea and Flood, OOPSLA 2014), keyed."""
    mixed = values + key
    mixed = (mixed ^ (mixed >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    mixed = (mixed ^ (mixed >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return mixed ^ (mixed >> np.uint64(31))
