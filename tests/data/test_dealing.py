"""Runs of dealt rows: which batch holds which rows, in little memory."""

import numpy as np

from shardline.data.dealing import Run
from shardline.data.shards import plan_shards

BITS = 12


def run_of(name, sides, places):
    groups, counts = np.unique((sides << BITS) + places, return_counts=True)
    return Run(name, BITS, groups.astype(np.uint16), counts.astype(np.uint32))


def test_run_knows_the_batches_of_every_side_and_place():
    random = np.random.default_rng(5)
    sides, places = random.integers(0, 3, 300), random.integers(0, 1 << BITS, 300)
    run = run_of("a", sides, places)
    for side in range(3):
        expected = np.bincount(places[sides == side], minlength=1 << BITS)
        assert run.counts(side).tolist() == expected.tolist()
        for begin, end in ((0, 1 << BITS), (100, 101), (7, 3000)):
            first, stop = run.batches(side, range(begin, end))
            assert run.num_rows[first:stop].sum() == expected[begin:end].sum()


def test_run_takes_memory_by_its_batches_not_by_all_places():
    run = run_of("a", np.zeros(5, int), np.arange(5))
    assert run.groups.nbytes + run.num_rows.nbytes == 5 * 6


def test_plan_shards_covers_every_row_once():
    random = np.random.default_rng(5)
    runs = [
        run_of(f"{n}", random.integers(0, 2, 200), random.integers(0, 1 << BITS, 200))
        for n in range(3)
    ]
    held = sum(int(run.counts(0).sum()) for run in runs)
    plans = plan_shards(runs, "train", rows_per_shard=50)
    assert sum(plan.num_rows for plan in plans) == held
    by_name = {run.name: run for run in runs}
    for plan in plans:
        rows = sum(int(by_name[n].num_rows[a:b].sum()) for n, a, b in plan.batches)
        assert rows >= plan.skip + plan.num_rows
    assert plan_shards(runs, "test", rows_per_shard=50) == []
