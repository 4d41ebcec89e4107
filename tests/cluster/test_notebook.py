"""The line without any file: a spec made in Python, its builder a function."""

import pytest

import shardline
from shardline.errors import SpecError

pytestmark = pytest.mark.usefixtures("ray_session")


def build_in_notebook():
    def build(features, units):
        import keras

        x = keras.layers.Dense(units, activation="relu")(features["x"].normalized())
        model = keras.Model(features.inputs, keras.layers.Dense(1, name="y")(x))
        model.compile(optimizer="adam", loss="mse")
        return model

    return build


def test_line_from_a_function_with_relative_places_works(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    rows = "".join(f"{x},{2 * x}\n" for x in range(64))
    (tmp_path / "rows.csv").write_text(f"x,y\n{rows}")
    spec = shardline.Spec(
        name="doubling",
        store="store",
        data={
            "source": {"format": "csv", "path": "rows.csv"},
            "split": {"fractions": {"train": 0.8, "test": 0.2}},
            "label": {"name": "y", "dtype": "float32"},
        },
        model={"builder": build_in_notebook(), "params": {"units": 4}},
        train={"workers": 2, "global_batch": 8, "epochs": 1},
    )
    result = shardline.run(spec)
    assert len(result.train.history) == 1
    assert result.evaluate.rows == result.prepare.splits["test"]
    assert (tmp_path / "store/models/doubling/1/saved_model.pb").is_file()


def test_spec_made_in_python_is_refused_in_sentences():
    with pytest.raises(SpecError, match=r"^'store' is missing; 'data' is missing"):
        shardline.Spec(name="toy", model=build_in_notebook())
