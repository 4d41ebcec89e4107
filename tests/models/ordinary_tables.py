"""Ordinary models of tables and categories: dense, wide, crossed, factorised, in several parts."""

import keras
from keras import layers, ops
from tests.models.ordinary import CITIES, WORDS, classifier, compiled, finished


def linear(features):
    return compiled(keras.Sequential([keras.Input((6,), name="x"), layers.Dense(1)]), "mse")


def logistic(features):
    x = layers.Dense(1, activation="sigmoid")(features["x"].input)
    return finished(x, loss="binary_crossentropy")


def dropout_and_batch_norm(features):
    x = layers.BatchNormalization()(layers.Dense(8, "relu")(features["x"].input))
    return classifier(layers.Dropout(0.5)(x))


def noise(features):
    x = layers.GaussianNoise(0.5)(features["x"].input)
    x = layers.AlphaDropout(0.5)(layers.Dense(8, "selu")(x))
    return classifier(layers.GaussianDropout(0.5)(x))


def activations(features):
    x = features["x"].input
    for layer in (layers.PReLU(), layers.LeakyReLU(), layers.ELU(), layers.Activation("mish")):
        x = layer(layers.Dense(6, kernel_regularizer="l2")(x))
    return classifier(layers.ActivityRegularization(0.1)(x))


def residual(features):
    x = layers.Dense(8)(features["x"].input)
    for _ in range(2):
        x = layers.Add()([x, layers.Dense(8, "relu")(layers.LayerNormalization()(x))])
    return classifier(layers.RMSNormalization()(x))


def normalised_weights(features):
    x = layers.SpectralNormalization(layers.Dense(8))(features["x"].input)
    x = layers.UnitNormalization()(layers.EinsumDense("ab,bc->ac", output_shape=4)(x))
    return classifier(x)


def moving_average(features):
    optimizer = keras.optimizers.AdamW(0.01, use_ema=True)
    return classifier(layers.Dense(4)(features["x"].input), optimizer=optimizer)


def low_rank(features):
    layer = layers.Dense(8)
    x = layer(features["x"].input)
    layer.enable_lora(2)
    return classifier(x)


def double_precision(features):
    x = layers.Dense(4, dtype="float64")(features["wide"].input)
    return finished(layers.Dense(1, dtype="float64")(x), loss="mse")


def wide_and_deep(features):
    wide = layers.HashedCrossing(32, output_mode="one_hot")(
        [features["city"].input, features["code"].input]
    )
    deep = layers.Dense(8, "relu")(layers.Concatenate()([features["age"].normalized(), wide]))
    return classifier(layers.Concatenate()([wide, deep]))


def text_lookup_one_hot(features):
    lookup = layers.StringLookup(vocabulary=list(CITIES), output_mode="one_hot")
    return classifier(lookup(features["city"].input))


def text_lookup_of_a_closed_list(features):
    lookup = layers.StringLookup(vocabulary=list(CITIES), num_oov_indices=0)
    return classifier(layers.Flatten()(layers.Embedding(3, 2)(lookup(features["city"].input))))


def text_lookup_multi_hot(features):
    lookup = layers.StringLookup(vocabulary=list(WORDS), output_mode="multi_hot")
    return classifier(lookup(features["words"].input))


def text_lookup_weighted(features):
    lookup = layers.StringLookup(
        vocabulary=list(WORDS), output_mode="tf_idf", idf_weights=[0.1, 0.2, 0.3, 0.4]
    )
    return classifier(lookup(features["words"].input))


def integer_lookup(features):
    lookup = layers.IntegerLookup(vocabulary=[0, 1, 2, 3], output_mode="count")
    return classifier(lookup(features["code"].input))


def hashing(features):
    buckets = layers.Hashing(16, salt=7)(features["user id"].input)
    return classifier(layers.Flatten()(layers.Embedding(16, 4)(buckets)))


def category_encoding(features):
    encoded = layers.CategoryEncoding(5, output_mode="one_hot")(features["code"].input)
    return classifier(encoded)


def discretisation(features):
    bucket = layers.Discretization(bin_boundaries=[18.0, 30.0, 65.0], output_mode="one_hot")
    return classifier(bucket(features["age"].input))


def adapted_normalisation(features):
    layer = layers.Normalization(axis=-1, mean=[0.0] * 6, variance=[1.0, 2, 3, 4, 5, 6])
    return classifier(layer(features["x"].input))


def calendar(features):
    when = features["when"]
    parts = [ops.cast(when.part("weekday"), "float32"), when.cyclic("day"), when.normalized()]
    return classifier(layers.Concatenate()(parts))


def yes_or_no(features):
    member = ops.cast(features["member"].input, "float32")
    return classifier(layers.Concatenate()([member, features["age"].normalized()]))


def everything_at_once(features):
    encoded = [
        layers.Flatten()(layers.Embedding(8, 2)(features["city"].indexed())),
        features["age"].normalized(),
        layers.CategoryEncoding(5, output_mode="one_hot")(features["code"].input),
        features["when"].cyclic("week"),
        features["x"].input,
    ]
    return classifier(layers.Dense(8, "relu")(layers.Concatenate()(encoded)))


def two_towers(features):
    def tower(column, size, name):
        x = layers.Flatten()(layers.Embedding(size, 4)(column))
        return layers.UnitNormalization(name=name)(layers.Dense(4)(x))

    user = tower(layers.Hashing(32)(features["user id"].input), 32, "user")
    item = tower(features["city"].indexed(), features["city"].vocabulary_size, "item")
    outputs = {"match": layers.Dot(axes=1)([user, item]), "user": user, "item": item}
    return finished(outputs, loss={"match": "mse", "user": None, "item": None})


class Cross(layers.Layer):
    """One layer of a deep and cross network."""

    def build(self, shape):
        self.kernel = self.add_weight(shape=(shape[0][-1], shape[0][-1]), name="kernel")

    def call(self, inputs):
        first, x = inputs
        return first * ops.matmul(x, self.kernel) + x


def deep_and_cross(features):
    x = first = features["x"].input
    for _ in range(2):
        x = Cross()([first, x])
    return classifier(x)


def factorisation_machine(features):
    vectors = layers.Embedding(30, 4)(features["tokens"].input)
    squares = ops.square(ops.sum(vectors, axis=1)) - ops.sum(ops.square(vectors), axis=1)
    return finished(ops.sum(squares, axis=1, keepdims=True), loss="mse")


def gate_of_experts(features):
    x = features["x"].input
    gates = layers.Softmax()(layers.Dense(3)(x))
    experts = ops.stack([layers.Dense(4, "relu")(x) for _ in range(3)], axis=1)
    return classifier(ops.sum(ops.expand_dims(gates, -1) * experts, axis=1))


def outputs_in_a_list(features):
    x = layers.Dense(4)(features["x"].input)
    outputs = [layers.Dense(3, "softmax", name="kind")(x), layers.Dense(2, name="place")(x)]
    return finished(outputs, loss=["sparse_categorical_crossentropy", None])


def outputs_of_all_types(features):
    scores = layers.Dense(3, "softmax", name="scores")(features["x"].input)
    best = ops.argmax(scores, axis=-1)
    outputs = {"scores": scores, "best": best, "sure": ops.max(scores, axis=-1) > 0.5}
    return finished(outputs, loss={"scores": "sparse_categorical_crossentropy"})


def nested_and_shared(features):
    inner = keras.Sequential([keras.Input((6,)), layers.Dense(4, "tanh"), layers.Dense(4)])
    x = features["x"].input
    return classifier(layers.Subtract()([inner(x), inner(-x)]))


class Pair(keras.Model):
    """A subclassed model with a config of its own."""

    def __init__(self, units, **options):
        super().__init__(**options)
        self.units = units
        self.hidden = layers.Dense(units, "relu")
        self.out = layers.Dense(3, "softmax")

    def call(self, inputs, training=False):
        joined = ops.concatenate([inputs["x"], inputs["age"]], axis=-1)
        return self.out(self.hidden(joined))

    def get_config(self):
        return {**super().get_config(), "units": self.units}


def subclassed(features):
    return compiled(Pair(5))


@keras.saving.register_keras_serializable("ordinary")
def twice(x):
    return 2 * x


def own_loss(y_true, y_pred):
    return ops.mean(ops.square(y_true - y_pred[:, :1]), axis=-1)


def own_functions(features):
    x = layers.Dense(3, activation=twice, name="kinds")(features["x"].input)
    return finished(x, loss=own_loss)


def python_lambda(features):
    return classifier(layers.Lambda(lambda x: x * 2)(features["x"].input))


def quantised(features):
    model = classifier(layers.Dense(8, "relu")(features["x"].input))
    model.quantize("int8")
    return compiled(model)


TABLES = (
    linear, logistic, dropout_and_batch_norm, noise, activations, residual, normalised_weights,
    moving_average, low_rank, double_precision, wide_and_deep, text_lookup_one_hot,
    text_lookup_of_a_closed_list, text_lookup_multi_hot, text_lookup_weighted, integer_lookup,
    hashing, category_encoding, discretisation, adapted_normalisation, calendar, yes_or_no,
    everything_at_once, two_towers, deep_and_cross, factorisation_machine, gate_of_experts,
    outputs_in_a_list, outputs_of_all_types, nested_and_shared, subclassed, own_functions,
    python_lambda, quantised,
)  # fmt: skip
