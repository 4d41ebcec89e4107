"""What a builder may return, what its features give it, and the sentence for a mistake."""

import keras
import numpy as np
import pytest

from shardline.data.manifest import ColumnStatistics, Counts, DatasetManifest, SourceRecord
from shardline.data.schema import Column, Label, Schema
from shardline.data.treatment import Treatment
from shardline.errors import ModelError
from shardline.model.builder import build_model, model_inputs
from shardline.model.code import collect_code
from shardline.model.features import Feature
from shardline.spec import check_spec

DATASET = DatasetManifest(
    name="toy",
    version="v",
    created_unix_s=0,
    columns=Schema(
        features=(
            Column(name="age", dtype="float32"),
            Column(name="city", dtype="string"),
            Column(name="image", dtype="uint8", shape=(4, 4, 1)),
        ),
        label=Label(name="y", dtype="int64", vocabulary=("no", "yes")),
    ),
    splits={},
    split_rule=None,
    statistics={
        "age": ColumnStatistics(count=9, nulls=0, mean=40.0, variance=100.0, min=1, max=80),
        "city": ColumnStatistics(count=9, nulls=0, vocabulary=("oslo", "rome")),
    },
    source=SourceRecord(format="csv", path="x", num_files=1, fingerprint="f"),
    counts=Counts(rows_read=9, rows_kept=9, rows_quarantined=0),
)


def built(builder, **params):
    spec = check_spec(
        {
            "name": "toy",
            "store": "store",
            "data": {
                "source": {"format": "csv", "path": "x.csv"},
                "label": {"name": "y"},
            },
            "model": {"builder": builder, "params": params},
        },
        where="test",
    )
    return build_model(collect_code(spec), spec, DATASET)


def compiled(inputs, outputs):
    model = keras.Model(inputs, outputs)
    model.compile(optimizer="sgd", loss="mse")
    return model


def test_build_functional_model_of_some_features_is_taken():
    def build(features, units):
        return compiled(
            {"age": features["age"].input}, keras.layers.Dense(units)(features["age"].normalized())
        )

    model = built(build, units=3)
    assert model.output_shape == (None, 3)
    assert [column.name for column in model_inputs(model, DATASET)] == ["age"]


def cleaned(dtype, values, **treatment):
    column = Column(name="x", dtype=dtype, treatment=Treatment(**treatment))
    feature = Feature(column, None)
    model = keras.Model(feature.input, feature.cleaned())
    again = keras.Model.from_config(model.get_config())
    found = np.asarray(again(np.array(values, dtype)[:, None]))
    assert found.dtype == dtype
    return found[:, 0].tolist()


@pytest.mark.parametrize("dtype", ["float16", "float32", "float64"])
def test_feature_cleaned_is_clipped_and_filled(dtype):
    rules = {"low": -1.0, "high": 8.0, "beyond": "clip", "fill": 9.0}
    assert cleaned(dtype, [-5, 2, 99, np.nan], **rules) == [-1, 2, 8, 9]


@pytest.mark.parametrize("dtype", ["int8", "uint8", "int64"])
def test_feature_cleaned_of_whole_numbers_stays_whole(dtype):
    assert cleaned(dtype, [0, 5, 99], low=2, high=8, beyond="clip", fill=3) == [2, 5, 8]


def test_feature_cleaned_leaves_outliers_that_rows_were_set_aside_for():
    assert cleaned("float32", [-5, 99], low=0.0, high=8.0, beyond="quarantine") == [-5, 99]


def test_feature_normalized_is_of_the_cleaned_input():
    column = Column(name="x", dtype="float32", treatment=Treatment(fill=40.0))
    feature = Feature(column, ColumnStatistics(count=9, nulls=0, mean=40.0, variance=100.0))
    model = keras.Model(feature.input, feature.normalized())
    assert np.asarray(model(np.array([[np.nan], [60.0]], "float32"))).tolist() == [[0.0], [2.0]]


def test_build_same_seed_gives_the_same_weights():
    def build(features):
        return compiled(features["age"].input, keras.layers.Dense(3)(features["age"].input))

    first, second = (built(build).get_weights()[0] for _ in range(2))
    np.testing.assert_array_equal(first, second)


def test_build_subclassed_model_gets_weights_and_all_features():
    class Net(keras.Model):
        def __init__(self):
            super().__init__()
            self.dense = keras.layers.Dense(1)

        def call(self, inputs):
            return self.dense(inputs["age"])

    def build(features):
        model = Net()
        model.compile(optimizer="sgd", loss="mse")
        return model

    model = built(build)
    assert model.built
    assert len(model_inputs(model, DATASET)) == 3


def test_features_normalized_and_indexed_use_the_train_statistics():
    def build(features):
        assert features["city"].vocabulary_size == 3
        assert features.num_classes == 2
        outputs = [features["age"].normalized(), features["city"].indexed()]
        return compiled([features["age"].input, features["city"].input], outputs)

    model = built(build)
    import tensorflow as tf

    age, city = model(
        {"age": tf.constant([[40.0], [60.0]]), "city": tf.constant([["rome"], ["atlantis"]])}
    )
    np.testing.assert_allclose(age, [[0.0], [2.0]], atol=1e-6)
    assert city.numpy().tolist() == [[2], [0]]


def fails(features):
    raise ValueError("no such thing")


def returns_nothing(features):
    return None


def not_compiled(features):
    return keras.Model(features["age"].input, keras.layers.Dense(1)(features["age"].input))


def unknown_feature(features):
    return features["agee"]


def unknown_input(features):
    other = keras.Input((1,), name="height")
    return compiled(other, keras.layers.Dense(1)(other))


def other_shape(features):
    other = keras.Input((8, 8, 1), name="image")
    return compiled(other, keras.layers.Flatten()(other))


def other_kind(features):
    other = keras.Input((1,), name="city", dtype="float32")
    return compiled(other, keras.layers.Dense(1)(other))


def text_normalized(features):
    return features["city"].normalized()


def number_indexed(features):
    return features["age"].indexed()


@pytest.mark.parametrize(
    ("builder", "sentence"),
    [
        (fails, "raised ValueError: no such thing"),
        (returns_nothing, "returned NoneType, expected a compiled keras.Model"),
        (not_compiled, "returned a model that is not compiled; call model.compile"),
        (unknown_feature, "there is no feature 'agee'; the dataset has age, city, image"),
        (unknown_input, "the model has an input 'height', the dataset's features are age, city"),
        (other_shape, "model input 'image' has shape (8, 8, 1), the feature has (4, 4, 1)"),
        (other_kind, "model input 'city' is float32, the feature is string"),
        (text_normalized, "feature 'city' has no mean (string); use .indexed() for text"),
        (number_indexed, "feature 'age' (float32) has no vocabulary; use .normalized()"),
    ],
)
def test_build_broken_contract_is_refused_with_a_sentence(builder, sentence):
    with pytest.raises(ModelError) as caught:
        built(builder)
    assert sentence in caught.value.message
    assert caught.value.exit_code == 2


def test_build_unknown_parameter_is_refused():
    with pytest.raises(ModelError, match=r"raised TypeError: .*unexpected keyword.*depth"):
        built(not_compiled, depth=3)
