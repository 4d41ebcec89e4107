"""The states of metrics are added up over workers: true of Keras's, asked of the user's."""

import keras
import numpy as np
import pytest

from shardline.errors import ModelError
from shardline.training.replicas.additivity import refuse_unaddable

RNG = np.random.default_rng(0)
SHARES = [slice(0, 5), slice(5, 6), slice(6, 24)]
METRICS = keras.metrics
OPTIONS = {
    "BinaryIoU": {"target_class_ids": [0, 1]},
    "IoU": {"num_classes": 3, "target_class_ids": [0, 2]},
    "MeanIoU": {"num_classes": 3},
    "OneHotIoU": {"num_classes": 3, "target_class_ids": [0, 2]},
    "OneHotMeanIoU": {"num_classes": 3},
    "PrecisionAtRecall": {"recall": 0.5},
    "RecallAtPrecision": {"precision": 0.5},
    "SensitivityAtSpecificity": {"specificity": 0.5},
    "SpecificityAtSensitivity": {"sensitivity": 0.5},
    "TopKCategoricalAccuracy": {"k": 2},
    "SparseTopKCategoricalAccuracy": {"k": 2},
    "F1Score": {"average": "macro"},
    "FBetaScore": {"average": "weighted", "beta": 2.0},
}
NEEDS_CLASSES = {"IoU", "MeanIoU", "SparseCategoricalAccuracy", "SparseCategoricalCrossentropy",
                 "SparseTopKCategoricalAccuracy"}  # fmt: skip
KINDS = sorted(
    name
    for name, kind in vars(METRICS).items()
    if isinstance(kind, type)
    and issubclass(kind, METRICS.Metric)
    and kind not in (METRICS.Metric, METRICS.MeanMetricWrapper)
)


def arguments(name):
    """Labels and predictions that the metric takes, 24 rows."""
    scores = RNG.dirichlet(np.ones(3), size=24).astype(np.float32)
    classes = RNG.integers(0, 3, size=24)
    if name in {"Mean", "Sum"}:
        return (scores,)
    if name in {"IoU", "MeanIoU"}:
        return classes, RNG.integers(0, 3, size=24)
    if name in NEEDS_CLASSES:
        return classes, scores
    return np.eye(3, dtype=np.float32)[classes], scores


@pytest.mark.parametrize("name", KINDS)
def test_states_of_a_keras_metric_add_up_to_that_of_all_rows(name):
    values = arguments(name)

    def states(*rows):
        metric = getattr(METRICS, name)(**OPTIONS.get(name, {}))
        for row in rows:
            metric.update_state(*(value[row] for value in values))
        return metric, [np.array(variable.value) for variable in metric.variables]

    whole, expected = states(slice(0, 24))
    parts = [states(rows)[1] for rows in SHARES]
    joined, _ = states(*SHARES)
    for variable, *addends in zip(joined.variables, *parts, strict=True):
        variable.assign(sum(addends))
    for variable, value in zip(joined.variables, expected, strict=True):
        np.testing.assert_allclose(variable.value, value, rtol=1e-5, atol=1e-6)
    np.testing.assert_allclose(joined.result(), whole.result(), rtol=1e-5, atol=1e-6)


class Largest(keras.metrics.Metric):
    def __init__(self, name="largest"):
        super().__init__(name=name)
        self.value = self.add_weight(shape=(), initializer="zeros", name="value")

    def update_state(self, y_true, y_pred, sample_weight=None):
        self.value.assign(keras.ops.maximum(self.value, keras.ops.max(y_true)))

    def result(self):
        return self.value


class Summed(Largest):
    def update_state(self, y_true, y_pred, sample_weight=None):
        self.value.assign_add(keras.ops.sum(y_true))


def model_with(metrics):
    model = keras.Sequential([keras.Input((2,)), keras.layers.Dense(1)])
    model.compile(loss="mse", metrics=metrics)
    return model


BATCHES = [(np.ones((4, 2), np.float32), np.arange(1.0, 5.0, dtype=np.float32)[:, None])]


@pytest.mark.parametrize("nest", [lambda metric: [metric], lambda metric: [["mae", metric]]])
def test_own_metric_that_keeps_a_maximum_is_refused(nest):
    with pytest.raises(ModelError, match=r"metric 'largest' keeps a state, 'value', that is not"):
        refuse_unaddable(model_with(nest(Largest())), BATCHES)


def test_own_metric_that_keeps_a_sum_is_accepted_and_reset():
    metric = Summed()
    refuse_unaddable(model_with(["mae", metric]), BATCHES)
    assert metric.result() == 0.0


def test_no_batch_is_taken_for_keras_metrics_alone():
    refuse_unaddable(model_with(["mae", keras.metrics.AUC()]), None)
