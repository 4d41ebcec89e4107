"""Export with real Keras models: what is frozen, proven and published."""

import hashlib
import itertools
import json
from importlib import metadata

import numpy as np
import pytest
from tests.models.ordinary import ROWS, write_everything
from tests.sample_datasets import candidate_of, spec_for

from shardline.artifacts.export import export_version
from shardline.artifacts.manifest import ModelManifest, Seen
from shardline.artifacts.predictor import load_predictor
from shardline.artifacts.registry import versions
from shardline.artifacts.saved_model import write_saved_model
from shardline.data.schema import Column, Label
from shardline.errors import ModelError, ParityError
from shardline.evaluation.worker import evaluate_candidate
from shardline.model.builder import build_model
from shardline.model.code import collect_code
from shardline.serving.wire import parse_predict
from shardline.store import read_marker

LIBRARIES = ("shardline", "keras", "tensorflow", "numpy")


def predictor_of(exported, tmp_path):
    result = exported.result
    return load_predictor(
        exported.store, result.model, result.version, cache_dir=tmp_path / "cache"
    )


def test_export_classifier_answers_scores_and_class_names(classifier, image_rows, tmp_path):
    result = classifier.result
    assert (result.model, result.version, result.reused) == ("digits", 1, False)
    assert result.parity <= 1e-5
    assert result.uri.endswith("/models/digits/1")
    answers = predictor_of(classifier, tmp_path).predict({"image": image_rows})
    assert answers["scores"].shape == (20, 3)
    np.testing.assert_allclose(answers["scores"].sum(axis=1), 1, atol=1e-5)
    names = np.array(["null", "eins", "zwölf"], dtype=object)
    assert answers["class"].tolist() == names[answers["scores"].argmax(axis=1)][:, None].tolist()


def test_export_scalar_regression_answers_the_line(line, tmp_path):
    predictor = predictor_of(line, tmp_path)
    answers = predictor.predict({"celsius": np.array([[100.0], [0.0]], np.float32)})
    assert list(answers) == [column.name for column in predictor.manifest.outputs]
    (values,) = answers.values()
    np.testing.assert_allclose(values, [[212.0], [32.0]], rtol=1e-6)


def test_export_text_and_odd_names_are_served_under_their_raw_names(two_inputs, tmp_path):
    import tensorflow as tf
    from tensorflow.core.protobuf import saved_model_pb2

    rows = {
        "petal length (cm)": np.array([[1.0], [1.0], [2.5]], np.float32),
        "city": np.array([["Köln"], ["nowhere"], ["Ulm"]], dtype=object),
    }
    answers = predictor_of(two_inputs, tmp_path).predict(rows)
    assert {name: array.shape for name, array in answers.items()} == {
        "price": (3, 1),
        "risk per cent": (3, 2),
    }
    proto = saved_model_pb2.SavedModel()
    proto.ParseFromString(two_inputs.store.read("models/prices/1/saved_model.pb"))
    signature = proto.meta_graphs[0].signature_def["serving_default"]
    assert sorted(signature.inputs) == ["city", "petal length (cm)"]
    assert sorted(signature.outputs) == ["price", "risk per cent"]
    assert tf.dtypes.as_dtype(signature.inputs["city"].dtype) == tf.string


def test_saved_model_columns_called_like_keywords_stay_apart(tmp_path):
    import keras
    from tensorflow.core.protobuf import saved_model_pb2

    columns = [Column(name=name, dtype="float32") for name in ("input_1", "per cent", "input_0")]
    inputs = [keras.Input((1,), name=column.name) for column in columns]
    model = keras.Model(inputs, keras.layers.Concatenate()(inputs))
    label = Label(name="y", dtype="float32")
    write_saved_model(model, tmp_path / "model", inputs=columns, label=label)
    proto = saved_model_pb2.SavedModel()
    proto.ParseFromString((tmp_path / "model/saved_model.pb").read_bytes())
    inputs = proto.meta_graphs[0].signature_def["serving_default"].inputs
    assert {name: info.name for name, info in inputs.items()} == {
        "input_1": "serving_default_input_0:0",
        "per cent": "serving_default_input_1:0",
        "input_0": "serving_default_input_2:0",
    }


def test_saved_model_output_named_like_the_label_keeps_both(tmp_path):
    import keras

    image, label = (
        Column(name="image", dtype="float32", shape=(4,)),
        Label(name="class", dtype="int64", vocabulary=("null", "eins", "zwölf")),
    )
    scores = keras.Sequential(
        [keras.Input((4,), name="image"), keras.layers.Dense(3, name="class")]
    )
    saved = write_saved_model(scores, tmp_path / "model", inputs=[image], label=label)
    assert [(c.name, c.dtype, c.shape) for c in saved.outputs] == [
        ("class", "float32", (3,)),
        ("class_name", "string", ()),
    ]


def test_export_again_returns_the_existing_version(classifier):
    again = export_version(classifier.candidate)
    assert again.reused
    assert (again.version, again.parity) == (1, classifier.result.parity)
    assert versions(classifier.store, "digits") == [1]


def test_export_writes_a_serving_base_path_and_lineage(classifier):
    folder = "models/digits/1/"
    manifest = read_marker(classifier.store, f"{folder}model.json", ModelManifest)
    assert {"saved_model.pb", "model.keras", "variables/variables.index"} <= set(manifest.files)
    stored = {entry.key.removeprefix(folder) for entry in classifier.store.scan(folder)}
    assert stored == {*manifest.files, "model.json"}
    for path, sha256 in manifest.files.items():
        content = classifier.store.read(f"{folder}{path}")
        assert hashlib.sha256(content).hexdigest() == sha256, path
    assert manifest.created_unix_s == 5.0
    candidate, lineage = classifier.candidate, manifest.lineage
    assert (lineage.run, lineage.step) == ("digits", 3)
    assert lineage.checkpoint_digest == candidate.checkpoint.digest
    assert (lineage.dataset, lineage.dataset_version) == ("digits", candidate.dataset.version)
    assert (lineage.spec_digest, lineage.code_digest) == (
        candidate.spec.digest, candidate.code.digest,
    )  # fmt: skip
    assert lineage.code_revision == candidate.code.revision
    assert lineage.libraries == {name: metadata.version(name) for name in LIBRARIES}
    assert manifest.metrics == {}
    assert manifest.seen == {"image": Seen(min=0, max=255)}
    assert list(manifest.example) == ["image"]
    assert manifest.spec["name"] == "digits"


def noisy(x):
    import tensorflow as tf

    return x + tf.random.normal(tf.shape(x))


TRACES = itertools.count()


def otherwise_each_time(x):
    return x + 1e-3 * next(TRACES)


@pytest.mark.parametrize("change", [noisy, otherwise_each_time])
def test_export_that_answers_otherwise_makes_no_version_and_takes_no_number(store, images, change):
    def build(features):
        import keras

        x = keras.layers.Flatten()(keras.ops.cast(features["image"].input, "float32"))
        x = keras.layers.Lambda(change, output_shape=(16,))(x)
        model = keras.Model(features.inputs, keras.layers.Dense(2, name="out")(x))
        model.compile(loss="mse")
        return model

    candidate = candidate_of(store, images, build)
    with pytest.raises(ParityError, match=r"output 'out' of the exported model deviates by"):
        export_version(candidate)
    assert list(store.scan("models/")) == []


def test_export_model_with_python_code_in_its_graph_is_refused(store, images):
    def build(features):
        import keras
        import tensorflow as tf

        def halved(t):
            flat = tf.numpy_function(lambda a: a / 2, [keras.ops.cast(t, "float32")], tf.float32)
            return tf.reshape(flat, (-1, 16))

        x = keras.layers.Lambda(halved, output_shape=(16,))(features["image"].input)
        model = keras.Model(features.inputs, keras.layers.Dense(2)(x))
        model.compile(loss="mse")
        return model

    with pytest.raises(ModelError, match=r"the model contains PyFunc"):
        export_version(candidate_of(store, images, build))
    assert list(store.scan("models/")) == []


def build_of_everything(features):
    """Texts, a ragged list, numbers and times in; numbers, integers and booleans out; bfloat16."""
    import keras
    from tests.models.ordinary_signals import RaggedMean

    city = keras.layers.Embedding(4, 2)(features["city"].indexed())
    parts = [
        RaggedMean(20, 4)(features["basket"].input),
        keras.layers.Flatten()(city),
        features["age"].normalized(),
        features["when"].cyclic("day"),
        keras.layers.Dense(4)(features["wide"].input),
    ]
    joined = keras.layers.Concatenate()([keras.ops.cast(part, "bfloat16") for part in parts])
    scores = keras.layers.Dense(3, "softmax", name="kind")(joined)
    outputs = {
        "kind": scores,
        "best": keras.ops.argmax(scores, axis=-1),
        "sure": keras.ops.max(scores, axis=-1) > 0.4,
    }
    model = keras.Model(
        {f.column.name: f.input for f in features.values() if "input" in vars(f)}, outputs
    )
    model.compile(loss={"kind": "sparse_categorical_crossentropy"})
    return model


def test_export_of_inputs_and_outputs_of_every_kind_in_low_precision(store, tmp_path):
    dataset = write_everything(store)
    train = {"mixed_precision": "mixed_bfloat16", "global_batch": 8}
    candidate = candidate_of(store, dataset, build_of_everything, train=train)
    evaluate_candidate(candidate, "test")
    result = export_version(candidate)
    assert result.parity <= 1e-5
    manifest = read_marker(store, "models/everything/1/model.json", ModelManifest)
    assert {c.name: (c.dtype, c.shape) for c in manifest.outputs} == {
        "kind": ("float32", (3,)), "best": ("int32", ()), "sure": ("bool", ()),
    }  # fmt: skip
    assert (manifest.evaluated_split, manifest.evaluated_rows) == ("test", ROWS)
    assert list(manifest.metrics) == ["loss"]
    assert {each.column for each in manifest.slices} == {None, "kind", "city"}
    assert manifest.slices[0].rows == ROWS
    assert manifest.seen["city"] == Seen(texts=3)
    request = parse_predict(
        json.dumps({"instances": [manifest.example] * 2}).encode(), manifest.inputs, max_rows=2
    )
    predictor = load_predictor(store, "everything", 1, cache_dir=tmp_path / "cache")
    answers = predictor.predict(request.columns)
    assert {name: len(array) for name, array in answers.items()} == dict.fromkeys(answers, 2)
    card = store.read("models/everything/1/MODEL_CARD.md").decode()
    assert f"On all {ROWS} rows of the test split." in card
    assert 'custom_objects={"RaggedMean": RaggedMean}' in card


def test_ragged_and_sparse_inputs_are_refused_in_a_sentence(store):
    import keras

    dataset = write_everything(store)

    def build(features, kind):
        x = keras.Input((5,), name="basket", dtype="int64", **{kind: True})
        model = keras.Model(x, keras.layers.Dense(1)(keras.ops.cast(x, "float32")))
        model.compile(loss="mse")
        return model

    for kind in ("ragged", "sparse"):
        spec = spec_for(store, dataset, build, model={"builder": build, "params": {"kind": kind}})
        with pytest.raises(ModelError, match=f"model input 'basket' is {kind}, rows come as dense"):
            build_model(collect_code(spec), spec, dataset)


def test_ragged_output_is_refused_in_a_sentence(tmp_path):
    import keras
    import tensorflow as tf

    class Ragged(keras.layers.Layer):
        def call(self, x):
            return tf.RaggedTensor.from_tensor(x, padding=0)

    column = Column(name="basket", dtype="int64", shape=(5,))
    x = keras.Input((5,), dtype="int64", name="basket")
    model = keras.Model(x, Ragged(name="kept")(x))
    with pytest.raises(ModelError, match="has shape"):
        write_saved_model(
            model, tmp_path / "model", inputs=[column], label=Label(name="y", dtype="float32")
        )
