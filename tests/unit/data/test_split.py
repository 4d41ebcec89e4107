import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from shardline.data.split import PLACE, SIDE, deal, hashes_of, row_keys, sides
from shardline.spec.data import SPLITS

FRACTIONS = {"train": 0.7, "validation": 0.1, "test": 0.2}
keys = st.lists(st.binary(max_size=12), unique=True, max_size=60)


def side_of(keys, fractions=FRACTIONS):
    return dict(zip(keys, sides(hashes_of(keys, purpose=SIDE), fractions).tolist(), strict=True))


@pytest.mark.parametrize(
    ("purpose", "expected"),
    [
        (SIDE, [2196854021143031278, 6237768919825771082]),
        (PLACE, [13227662425961967334, 15976388956625155674]),
    ],
)
def test_hashes_are_the_same_in_every_release(purpose, expected):
    assert hashes_of([b"", b"cat/1.png"], purpose=purpose).tolist() == expected


@given(keys, keys)
def test_sides_adding_rows_moves_none(old, new):
    together = side_of([*old, *(key for key in new if key not in old)])
    assert {key: together[key] for key in old} == side_of(old)


@given(keys, st.randoms())
def test_sides_order_of_input_does_not_matter(some, random):
    shuffled = random.sample(some, len(some))
    assert side_of(shuffled) == side_of(some)


@given(st.integers(1, 98), st.integers(0, 10**6))
def test_sides_shares_are_close_to_the_fractions(percent, seed):
    fractions = {"train": percent / 100, "test": 1 - percent / 100}
    many = [b"%d/%d" % (seed, i) for i in range(4000)]
    share = np.mean(np.array(list(side_of(many, fractions).values())) == 0)
    # Six standard deviations of a binomial of 4,000 draws: at most 0.05.
    assert abs(share - fractions["train"]) < 0.05


def test_sides_place_hash_says_nothing_about_the_side():
    many = [b"%d" % i for i in range(20_000)]
    side = sides(hashes_of(many, purpose=SIDE), FRACTIONS)
    place = hashes_of(many, purpose=PLACE).astype(float) / 2**64
    for index in range(len(SPLITS)):
        assert abs(place[side == index].mean() - 0.5) < 0.03


def test_sides_without_a_fraction_stay_empty():
    extremes = np.array([0, 2**63, 2**64 - 1], np.uint64)
    assert sides(extremes, {"train": 1.0}).tolist() == [0, 0, 0]
    assert sides(extremes, {"train": 0.5, "test": 0.5}).tolist() == [0, 2, 2]
    thirds = {"train": 0.1 + 0.2, "validation": 0.7}
    assert sides(extremes, thirds).tolist() == [0, 1, 1]


@given(st.lists(st.integers(0, 2**64 - 1), max_size=50), st.integers(1, 60))
def test_deal_every_row_once_in_hash_order_and_even_shards(places, rows_per_shard):
    places = np.array(places, np.uint64)
    shards = deal(places, rows_per_shard=rows_per_shard)
    dealt = np.concatenate([np.empty(0, int), *shards])
    assert sorted(dealt.tolist()) == list(range(len(places)))
    assert places[dealt.astype(int)].tolist() == sorted(places.tolist())
    lengths = [len(shard) for shard in shards]
    assert all(0 < length <= rows_per_shard for length in lengths)
    assert not lengths or max(lengths) - min(lengths) <= 1


def test_row_keys_tell_apart_what_differs_and_nothing_else():
    table = pa.table({
        "a": pa.array(["x", "xy", None, "x"]),
        "b": pa.array(["yz", "z", "z", "yz"]),
        "n": pa.array([1, 1, 1, 1], pa.int64()),
    })  # fmt: skip
    first, second, third, fourth = row_keys(table)
    assert first == fourth
    assert len({first, second, third}) == 3
    assert row_keys(table.select(["n", "b", "a"])) == [first, second, third, fourth]


def test_row_keys_of_tensors_follow_their_elements():
    images = np.arange(12, dtype=np.uint8).reshape(2, 3, 2)
    images = np.concatenate([images, images[:1]])
    column = pa.FixedShapeTensorArray.from_numpy_ndarray(images)
    one, other, same = row_keys(pa.table({"image": column}))
    assert one == same == images[0].tobytes()
    assert one != other


@pytest.mark.parametrize("rows", [0, 1])
def test_row_keys_of_tiny_tables_have_one_key_per_row(rows):
    assert len(row_keys(pa.table({"n": pa.array([1.5] * rows, pa.float32())}))) == rows
