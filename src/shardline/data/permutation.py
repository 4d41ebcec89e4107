"""Keyed permutations of any size: no memory, any position in O(1), the same on every machine."""

from functools import lru_cache

import numpy as np
from numpy.typing import NDArray

UInt64s = NDArray[np.uint64]

# An even number brings the halves of an unbalanced network back to their places.
FEISTEL_ROUNDS = 6


def permuted(positions: UInt64s, *, size: int, keys: UInt64s) -> UInt64s:
    """Where a keyed permutation of `range(size)` sends each position.

    Args:
        positions: uint64 [n], each below `size`.
        size: Number of values, from 1 up.
        keys: uint64 [FEISTEL_ROUNDS].
    """
    sizes = np.array([size], np.uint64)
    alone: UInt64s = permuted_each(positions, sizes=sizes, keys=keys[:, np.newaxis])[0]
    return alone


def permuted_each(positions: UInt64s, *, sizes: UInt64s, keys: UInt64s) -> UInt64s:
    """Where several permutations send the same positions.

    An unbalanced Feistel network permutes the next power of two; values that fall outside
    `range(size)` walk on along their cycle until they are inside (Black and Rogaway, "Ciphers with
    Arbitrary Finite Domains", CT-RSA 2002).

    Args:
        positions: uint64 [n], each below every size.
        sizes: uint64 [permutations], number of values of each.
        keys: uint64 [FEISTEL_ROUNDS, permutations].

    Returns:
        uint64 [permutations, n].
    """
    bits = np.array([max(2, int(size - 1).bit_length()) for size in sizes], np.uint64)
    if (bits == bits[0]).all():
        bits = bits[:1]  # the common case, and twice as fast
    grid = np.repeat(positions[np.newaxis], len(sizes), axis=0)
    values = _feistel(grid, bits[:, np.newaxis], keys[:, :, np.newaxis])
    which, place = np.nonzero(values >= sizes[:, np.newaxis])
    while which.size:
        walks = bits if len(bits) == 1 else bits[which]
        walked = _feistel(values[which, place], walks, keys[:, which])
        values[which, place] = walked
        outside = walked >= sizes[which]
        which, place = which[outside], place[outside]
    return values


def round_keys(*parts: int) -> UInt64s:
    """Independent round keys for a tuple of integers; zeros at its end make no difference."""
    keys = np.random.SeedSequence(parts).generate_state(FEISTEL_ROUNDS, np.uint64)
    return keys.astype(np.uint64, copy=False)


@lru_cache(maxsize=64)
def keys_by_lane(seed: int, epoch: int, num_lanes: int) -> UInt64s:
    """Round keys of every lane's permutation, uint64 [FEISTEL_ROUNDS, num_lanes]."""
    keys = [round_keys(seed, epoch, lane) for lane in range(num_lanes)]
    return np.stack(keys, axis=1)


def _feistel(values: UInt64s, bits: UInt64s, keys: UInt64s) -> UInt64s:
    one = np.uint64(1)
    high_bits, low_bits = bits // np.uint64(2), bits - bits // np.uint64(2)
    for key in keys:
        low = values & ((one << low_bits) - one)
        high = values >> low_bits
        high ^= _mixed(low, key) & ((one << high_bits) - one)
        values = (low << high_bits) | high
        high_bits, low_bits = low_bits, high_bits
    return values


def _mixed(values: UInt64s, key: UInt64s) -> UInt64s:
    """The finaliser of SplitMix64 (Steele, Lea and Flood, OOPSLA 2014), keyed."""
    mixed = values + key
    mixed = (mixed ^ (mixed >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    mixed = (mixed ^ (mixed >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return mixed ^ (mixed >> np.uint64(31))
