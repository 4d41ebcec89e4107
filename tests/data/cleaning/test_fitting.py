import pickle

import numpy as np
import pyarrow as pa
import pytest

from shardline.data.cleaning.fitting import begin, cleaned_layout, raw_treatments, takes_nulls
from shardline.data.cleaning.record import Touched
from shardline.data.cleaning.tally import CleaningTally
from shardline.data.rows import RowLayout
from shardline.data.schema import Column
from shardline.errors import DataError
from shardline.spec.data import DataSpec

LAYOUT = RowLayout(
    features=(
        Column(name="x", dtype="float64"), Column(name="n", dtype="int32"),
        Column(name="w", dtype="string"), Column(name="v", dtype="float32", shape=(2,)),
    ),
    label=Column(name="y", dtype="string"),
    carried=("id",),
)  # fmt: skip


def data(**cleaning):
    return DataSpec.model_validate({
        "source": {"format": "csv", "path": "x.csv"}, "label": {"name": "y"}, "keep": ["id"],
        "cleaning": cleaning,
    })  # fmt: skip


def fitted(table, *, pieces=1, layout=LAYOUT, **cleaning):
    """The cleaning after all its rounds, and how many there were."""
    found = begin(data(**cleaning), layout)
    rounds = 0
    while found.stage:
        rounds += 1
        size = -(-table.num_rows // pieces)
        tallies = [CleaningTally(found) for _ in range(pieces)]
        for number, tally in enumerate(tallies):
            tally.add(table.slice(number * size, size), first_row=number * size)
        for tally in tallies[1:]:
            tallies[0].merge(pickle.loads(pickle.dumps(tally)))
        found = tallies[0].fitted()
    return pickle.loads(pickle.dumps(found)), rounds


NUMBERS = pa.table({
    "x": pa.array([*map(float, range(1, 11)), 1000.0, None]),
    "n": pa.array([*range(11), None], pa.int32()),
    "w": pa.array([*"bbbaaaccdef", None], pa.string()),
})  # fmt: skip


@pytest.mark.parametrize("pieces", [1, 3])
def test_fitting_fills_come_from_the_values_that_are_there(pieces):
    found, rounds = fitted(
        NUMBERS, pieces=pieces, x={"missing": {"by": "median"}}, n={"missing": {"by": "mean"}},
        w={"missing": {"by": "mode", "indicator": True}},
    )  # fmt: skip
    assert rounds == 1
    assert found.treatments["x"].fill == 6.0
    assert found.treatments["n"].fill == 5
    assert found.treatments["w"].fill == "a"
    assert found.treatments["w"].indicator == "w_missing"
    assert found.fitted_on == {"x": 11, "n": 11, "w": 11}
    assert found.apply(NUMBERS).table["x"].to_pylist()[-1] == 6.0


def test_fitting_bounds_come_first_and_fills_see_clipped_values():
    rules = {"outliers": {"by": "iqr", "then": "clip"}, "missing": {"by": "mean"}}
    found, rounds = fitted(NUMBERS, pieces=2, x=rules)
    assert rounds == 2
    first, third = np.quantile(NUMBERS["x"].drop_null().to_numpy(), [0.25, 0.75])
    high = third + 1.5 * (third - first)
    assert found.treatments["x"].high == high
    assert found.treatments["x"].fill == pytest.approx((55 + high) / 11)


def test_fitting_bounds_do_not_see_the_constants_that_fill_gaps():
    table = pa.table({"x": pa.array([1.0, 2.0, 3.0, None, None, None])})
    rules = {"outliers": {"by": "zscore", "limit": 1, "then": "clip"}}
    bare, _ = fitted(table, x=rules)
    filled, _ = fitted(table, x=rules | {"missing": {"by": "constant", "value": -999}})
    assert filled.treatments["x"].low == bare.treatments["x"].low == 2 - np.std([1, 2, 3])
    assert filled.fitted_on == {"x": 3}
    assert filled.apply(table).table["x"].to_pylist()[3:] == [-999] * 3


def test_fitting_fills_do_not_see_rows_that_were_set_aside():
    aside = {"outliers": {"by": "bounds", "max": 100, "then": "quarantine"}}
    found, rounds = fitted(NUMBERS, x=aside, n={"missing": {"by": "mean"}})
    assert rounds == 1
    assert found.treatments["n"].fill == 4  # 0 … 9 of the rows that stay, rounded to even
    assert found.fitted_on == {"n": 10}


def test_fitting_constants_and_bounds_need_no_round():
    found, rounds = fitted(
        NUMBERS, x={"missing": {"by": "constant", "value": 0}},
        n={"outliers": {"by": "bounds", "min": 2.5, "then": "clip"}},
        y={"missing": {"by": "constant", "value": "none"}}, id={"missing": {"by": "drop"}},
    )  # fmt: skip
    assert rounds == 0
    assert found.treatments["x"].fill == 0.0
    assert found.treatments["n"].low == 3
    assert found.treatments["y"].fill == "none"
    assert found.treatments["id"].drop_missing


def test_fitting_is_written_down():
    found, _ = fitted(NUMBERS, x={"missing": {"by": "median"}}, y={"text": {"strip": True}})
    record = found.record(Touched({("x", "filled"): 3, ("y", "rewritten"): 0}))
    assert record["x"].model_dump()["touched"] == {"filled": 3}
    assert (record["x"].fitted_on, record["y"].fitted_on) == (11, None)
    assert record["y"].touched == {}


def test_cleaned_layout_has_indicators_beside_their_columns():
    found, _ = fitted(NUMBERS, n={"missing": {"by": "mean", "indicator": "no_n"}})
    layout = cleaned_layout(LAYOUT, found)
    assert [column.name for column in layout.features] == ["x", "n", "no_n", "w", "v"]
    assert layout.features[1].treatment.fill == 5
    assert (layout.features[2].dtype, layout.features[2].indicates) == ("float32", "n")
    assert layout.features[0] == LAYOUT.features[0]
    table = found.apply(NUMBERS).table
    assert table.column_names == ["x", "n", "no_n", "w"]


def test_raw_steps_and_nulls_are_known_from_the_spec():
    spec = data(
        x={"missing": {"by": "mean", "null_values": ["?"]}}, w={"missing": {"by": "drop"}},
        y={"map": {"a": "b"}},
    )  # fmt: skip
    assert takes_nulls(spec) == {"x"}
    treatments = raw_treatments(spec)
    assert treatments["x"].null_values == ("?",)
    assert treatments["w"].drop_missing
    assert (treatments["y"].map, treatments["y"].unmapped) == ({"a": "b"}, "quarantine")


@pytest.mark.parametrize(
    ("cleaning", "sentence"),
    [
        ({"z": {"text": {"strip": True}}}, "the dataset has no cleaned column 'z'; its columns"),
        ({"w": {"missing": {"by": "mean"}}}, "data.cleaning.w.missing: the mean of texts is not"),
        ({"v": {"missing": {"by": "mean"}}}, "data.cleaning.v: its values have shape [2]"),
        ({"v": {"outliers": {"by": "iqr", "then": "clip"}}}, "data.cleaning.v: its values have"),
        ({"w": {"outliers": {"by": "iqr", "then": "clip"}}}, "data.cleaning.w.outliers: the col"),
        ({"id": {"missing": {"by": "mode", "indicator": True}}}, "'id' is a kept column, expected"),
        ({"n": {"missing": {"by": "constant", "value": 2.5}}}, "value is 2.5, expected int32."),
        ({"x": {"missing": {"by": "mean", "indicator": "id"}}}, "there is a column 'id' already"),
        ({"x": {"missing": {"by": "mean", "indicator": "n"}}}, "there is a column 'n' already"),
        (
            {"x": {"missing": {"by": "mean", "indicator": "shardline.side"}}},
            "there is a column 'shardline.side' already",
        ),
    ],
)
def test_rules_that_do_not_suit_their_column_are_refused_before_any_round(cleaning, sentence):
    with pytest.raises((DataError, ValueError)) as caught:
        begin(data(**cleaning), LAYOUT)
    assert sentence in str(caught.value)


def test_fitting_on_no_values_is_refused():
    with pytest.raises(DataError, match="no row of the train split has a value to take the mean"):
        fitted(NUMBERS.slice(11), x={"missing": {"by": "mean"}})
