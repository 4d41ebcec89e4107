import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from shardline.data import rows
from shardline.data.casting import cast_column
from shardline.data.padding import Padding
from shardline.data.reading import column_to_numpy
from shardline.data.rows import RawBatch, bounded
from shardline.data.schema import Column
from shardline.errors import DataError

SIZE = 4


def column(dtype="int64", *, pad=0, longer="quarantine"):
    return Column(name="v", dtype=dtype, shape=(SIZE,), padding=Padding(value=pad, longer=longer))


def cast(raw, padded):
    """The rows that can be used, and what is wrong with the others."""
    found = cast_column(raw, padded, role="feature")
    sound = [row for row in range(len(raw)) if row not in found.faults]
    return column_to_numpy(found.values.take(pa.array(sound, pa.int64())), padded), found.faults


LISTS = [[1, 2], [], None, [1, None], [1, 2, 3, 4], [1, 2, 3, 4, 5], [7]]


@pytest.mark.parametrize("kind", [pa.list_(pa.int32()), pa.large_list(pa.float32())])
def test_cast_lists_are_padded_and_the_others_named(kind):
    found, faults = cast(pa.array(LISTS, kind), column(pad=-1))
    assert found.tolist() == [[1, 2, -1, -1], [-1] * 4, [1, 2, 3, 4], [7, -1, -1, -1]]
    assert faults == {
        2: "feature 'v' is null",
        3: "feature 'v' has an element that is null or no int64",
        5: "feature 'v' has 5 elements, expected at most 4",
    }


def test_cast_lists_that_are_too_long_are_cut_at_their_end():
    found, faults = cast(pa.array(LISTS), column(longer="cut"))
    assert found[3].tolist() == [1, 2, 3, 4]
    assert set(faults) == {2, 3}


def test_cast_lists_elements_beyond_the_cut_do_not_matter():
    found, faults = cast(pa.array([[1, 2, 3, 4, None]]), column(longer="cut"))
    assert (found.tolist(), faults) == ([[1, 2, 3, 4]], {})


@pytest.mark.parametrize(
    ("raw", "expected"),
    [
        (pa.array([[1, 2], None], pa.list_(pa.int8(), 2)), [[1, 2, 0, 0]]),
        (pa.array([[], []], pa.list_(pa.null())), [[0] * 4, [0] * 4]),
        (pa.array([["1", " 2.0"]]), [[1, 2, 0, 0]]),
        (pa.nulls(2), []),
        (pa.array([[5], [1, 2]]).slice(1), [[1, 2, 0, 0]]),
        (pa.array([["3"]], pa.list_(pa.dictionary(pa.int8(), pa.string()))), [[3, 0, 0, 0]]),
    ],
)
def test_cast_lists_of_every_kind(raw, expected):
    assert cast(raw, column())[0].tolist() == expected


@pytest.mark.parametrize(
    "dtype", ["int8", "uint64", "float16", "float32", "float64"]
)  # one of each family
def test_cast_lists_of_every_dtype(dtype):
    found, faults = cast(pa.array([[1, 2], [1, None]]), column(dtype, pad=3))
    assert found.dtype == dtype
    assert found.tolist() == [[1, 2, 3, 3]]
    assert len(faults) == 1


def test_cast_lists_an_element_out_of_range_is_no_silent_zero():
    found, faults = cast(pa.array([[1, 300], [2]]), column("uint8"))
    assert found.tolist() == [[2, 0, 0, 0]]
    assert faults == {0: "feature 'v' has an element that is null or no uint8"}


@pytest.mark.parametrize("raw", [pa.array([1]), pa.array(["1 2"]), pa.array([[[1]]])])
def test_cast_lists_what_is_no_list_is_refused_by_its_type(raw):
    with pytest.raises(DataError, match=r"feature 'v' holds .*, which cannot become int64 of sha"):
        cast(raw, column())


elements = st.lists(st.none() | st.integers(-200, 200), max_size=7)


@settings(deadline=None)
@given(st.lists(st.none() | elements, max_size=30), st.sampled_from(["cut", "quarantine"]))
def test_cast_lists_is_what_python_would_make_of_them(lists, longer):
    found, faults = cast(pa.array(lists, pa.list_(pa.int64())), column("int8", longer=longer))
    expected = []
    for row, values in enumerate(lists):
        kept = values[:SIZE] if values is not None and longer == "cut" else values
        sound = kept is not None and len(kept) <= SIZE
        sound = sound and all(v is not None and -128 <= v < 128 for v in kept)
        assert sound == (row not in faults)
        expected += [[*kept, *[0] * (SIZE - len(kept))]] if sound else []
    assert found.tolist() == expected


def test_bounded_batches_keep_padded_rows_small_and_every_row_once(monkeypatch):
    monkeypatch.setattr(rows, "GROWN_BYTES", 100)
    batch = RawBatch(pa.table({"v": np.arange(10)}), ("v",), rejected=("one",))
    parts = list(bounded(batch, [column()]))
    assert [part.table.num_rows for part in parts] == [3, 3, 3, 1]
    assert pa.concat_tables([part.table for part in parts]).equals(batch.table)
    assert [part.rejected for part in parts] == [("one",), (), (), ()]
    assert list(bounded(batch, [Column(name="v", dtype="int64")])) == [batch]
    empty = RawBatch(pa.table({"v": np.arange(0)}), ("v",))
    assert list(bounded(empty, [column()])) == [empty]
    assert list(bounded(empty, [])) == [empty]
