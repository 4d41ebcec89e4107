import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from shardline.data.row_hash import MAX_WORDS, PIECE_ROWS, WORD_BYTES, content_hashes

LONG = MAX_WORDS * WORD_BYTES


def hashes(purpose=b"test", **columns):
    return content_hashes(pa.table(columns), purpose=purpose).tolist()


def test_content_hashes_are_the_same_in_every_release():
    table = {"a": pa.array([1, None]), "b": pa.array(["x", "Grüße"]), "c": pa.array([0.5, -1.0])}
    assert hashes(**table) == [998020067534683747, 6924478512004522387]


def test_content_hashes_follow_values_not_widths():
    found = {
        tuple(hashes(x=pa.array([5, 0, 1], kind)))
        for kind in (pa.int8(), pa.uint8(), pa.int64(), pa.uint64(), pa.float32(), pa.float64())
    }
    assert len(found) == 1
    assert hashes(x=pa.array([0.0])) == hashes(x=pa.array([-0.0]))
    assert hashes(x=pa.array(["a"])) == hashes(x=pa.array(["a"], pa.large_string()))
    assert hashes(x=pa.array(["a"])) == hashes(x=pa.array(["a"]).dictionary_encode())


def test_content_hashes_follow_names_and_purpose_not_the_order_of_columns():
    one, two = pa.array([1]), pa.array([2])
    assert hashes(a=one, b=two) == hashes(b=two, a=one)
    assert hashes(a=one, b=two) != hashes(a=two, b=one)
    assert hashes(a=one) != hashes(b=one)
    assert hashes(a=one) != hashes(b"other", a=one)


@given(st.lists(st.one_of(st.none(), st.text(max_size=40)), max_size=60))
def test_content_hashes_of_texts_are_equal_only_for_equal_texts(texts):
    found = hashes(x=pa.array(texts, pa.string()))
    assert len(set(found)) == len(set(texts))
    # Where a value lies among others does not matter.
    alone = [hashes(x=pa.array([text], pa.string()))[0] for text in texts]
    assert found == alone


@pytest.mark.parametrize("length", [0, 1, 7, 8, 9, 16, LONG - 1, LONG, LONG + 1, 10**6])
def test_content_hashes_of_texts_see_every_byte(length):
    text = "a" * length
    others = [text + "a", text + "\0", text[:-1] + "b", "b" + text[1:]]
    found = hashes(x=pa.array([text, *others], pa.string()))
    assert len(set(found)) == len({text, *others})


@given(st.lists(st.floats(width=64), min_size=1, max_size=50))
def test_content_hashes_of_numbers_are_equal_only_for_equal_numbers(numbers):
    found = hashes(x=pa.array(numbers, pa.float64()))
    distinct = {"nan" if n != n else n for n in numbers}
    assert len(set(found)) >= len(distinct)
    assert found == [hashes(x=pa.array([n], pa.float64()))[0] for n in numbers]


def test_content_hashes_of_small_numbers_in_many_columns_do_not_collide():
    grid = np.stack(np.meshgrid(*[np.arange(32.0)] * 3), axis=-1).reshape(-1, 3)
    found = hashes(**{f"c{i}": pa.array(grid[:, i]) for i in range(3)})
    assert len(set(found)) == len(grid) > PIECE_ROWS


def test_content_hashes_of_dates_with_counters_do_not_collide():
    keys = [f"202401{day:02}{number:08}" for day in (5, 9) for number in range(29_000, 71_000)]
    assert {"2024010500030007", "2024010900070003"} < set(keys)
    assert len(set(hashes(x=pa.array(keys)))) == len(keys)


@pytest.mark.parametrize("kind", [np.float16, np.float32, np.float64, np.int8])
def test_content_hashes_of_tensors_of_ones_do_not_collide(kind):
    signs = 1 - 2 * (np.arange(1 << 10)[:, None] >> np.arange(10) & 1)
    found = hashes(x=pa.FixedShapeTensorArray.from_numpy_ndarray(signs.astype(kind)))
    assert len(set(found)) == len(signs)


def test_content_hashes_are_uniform():
    found = np.array(hashes(x=pa.array(np.arange(64_000))), np.uint64)
    for shift in (60, 30, 0):
        counts = np.bincount((found >> np.uint64(shift)).astype(np.int64) & 15, minlength=16)
        # Six standard deviations of a binomial.
        assert abs(counts - 4000).max() < 6 * 4000**0.5


@pytest.mark.parametrize("size", [3, 700, 9000])
def test_content_hashes_of_tensors_see_every_element(size):
    rows = np.zeros((4, size), np.uint8)
    rows[1, 0] = rows[2, -1] = 1
    found = hashes(x=pa.FixedShapeTensorArray.from_numpy_ndarray(rows))
    assert found[0] == found[3]
    assert len(set(found)) == 3


def test_content_hashes_of_other_types_tell_values_apart():
    for values in (
        pa.array([[1], [1, 2], None, []]),
        pa.array([0, 1, None, 2], pa.timestamp("us")),
        pa.array([0, 1, None, 2], pa.date32()),
        pa.array([True, False, None]),
        pa.array([{"a": 1}, {"a": 2}, None]),
    ):
        assert len(set(hashes(x=values))) == len(values)
    assert hashes() == []
