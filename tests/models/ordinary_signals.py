"""Ordinary models of images, sequences and texts: convolutions, recurrence, attention."""

import keras
from keras import layers, ops
from tests.models.ordinary import CITIES, WORDS, classifier, compiled, finished


def conv_net(features):
    x = features["image"].input
    for filters in (4, 8):
        x = layers.ReLU()(layers.BatchNormalization()(layers.Conv2D(filters, 3)(x)))
    return classifier(layers.GlobalAveragePooling2D()(x))


def separable_convolutions(features):
    x = layers.DepthwiseConv2D(3, padding="same")(features["image"].input)
    x = layers.SeparableConv2D(4, 3, strides=2)(layers.SpatialDropout2D(0.2)(x))
    return classifier(layers.Flatten()(layers.AveragePooling2D()(x)))


def group_normalisation(features):
    x = layers.GroupNormalization(2)(layers.Conv2D(4, 3)(features["image"].input))
    return classifier(layers.GlobalMaxPooling2D()(x))


def residual_conv_net(features):
    x = layers.Conv2D(4, 3, padding="same")(features["image"].input)
    x = layers.Add()([x, layers.Conv2D(4, 3, padding="same", activation="relu")(x)])
    return classifier(layers.Flatten()(layers.MaxPooling2D(4)(x)))


def squeeze_and_excite(features):
    x = layers.Conv2D(4, 3)(features["image"].input)
    weights = layers.Dense(4, "sigmoid")(layers.GlobalAveragePooling2D(keepdims=True)(x))
    return classifier(layers.GlobalAveragePooling2D()(layers.Multiply()([x, weights])))


def autoencoder(features):
    x = layers.Conv2D(4, 3, strides=2, padding="same")(features["image"].input)
    x = layers.Conv2DTranspose(3, 3, strides=2, padding="same", activation="sigmoid")(x)
    return finished(x, loss="mse")


def u_net(features):
    x = layers.Conv2D(4, 3, padding="same")(features["image"].input)
    low = layers.Conv2D(4, 3, padding="same")(layers.MaxPooling2D()(x))
    x = layers.Concatenate()([x, layers.UpSampling2D(interpolation="bilinear")(low)])
    return finished(layers.Conv2D(1, 1, activation="sigmoid")(x), loss="binary_crossentropy")


class Sampling(layers.Layer):
    """The middle of a variational autoencoder: random in training alone."""

    def __init__(self, **options):
        super().__init__(**options)
        self.seeds = keras.random.SeedGenerator(3)

    def call(self, inputs, training=False):
        mean, log_variance = inputs
        if not training:
            return mean
        noise = keras.random.normal(ops.shape(mean), seed=self.seeds)
        return mean + ops.exp(log_variance / 2) * noise


def variational_autoencoder(features):
    x = layers.Dense(8, "relu")(features["x"].input)
    x = Sampling()([layers.Dense(2)(x), layers.Dense(2)(x)])
    return finished(layers.Dense(6)(x), loss="mse")


def augmented_images(features):
    x = layers.RandomFlip()(features["photo"].input)
    x = layers.RandomZoom(0.2)(layers.RandomRotation(0.1)(x))
    x = layers.Rescaling(1 / 127.5, offset=-1)(layers.CenterCrop(16, 16)(x))
    return classifier(layers.Flatten()(layers.Conv2D(2, 3, strides=4)(x)))


def resized_images(features):
    x = layers.Resizing(9, 9, antialias=True)(features["photo"].input)
    x = layers.ZeroPadding2D()(layers.Cropping2D(2)(layers.Rescaling(1 / 255)(x)))
    return classifier(layers.Flatten()(x))


def mobile_net(features):
    body = keras.applications.MobileNet(
        (32, 32, 3), alpha=0.25, include_top=False, weights=None, pooling="avg"
    )
    return classifier(body(layers.Rescaling(1 / 127.5, -1)(features["photo"].input)))


def volumes(features):
    x = layers.Conv3D(2, 2, activation="relu")(features["clip"].input)
    return classifier(layers.Flatten()(layers.MaxPooling3D(2)(x)))


class Patches(layers.Layer):
    """Tokens of an image, with what says where they are."""

    def __init__(self, size, units, **options):
        super().__init__(**options)
        self.size, self.units = size, units
        self.project = layers.Conv2D(units, size, strides=size)

    def build(self, shape):
        self.project.build(shape)
        count = (shape[1] // self.size) * (shape[2] // self.size)
        self.places = self.add_weight(shape=(1, count, self.units), name="places")

    def call(self, image):
        return (
            ops.reshape(self.project(image), (-1, self.places.shape[1], self.units)) + self.places
        )

    def get_config(self):
        return {**super().get_config(), "size": self.size, "units": self.units}


def vision_transformer(features):
    x = Patches(4, 8)(features["image"].input)
    x = layers.Add()([x, layers.MultiHeadAttention(2, 4)(x, x)])
    return classifier(layers.GlobalAveragePooling1D()(layers.LayerNormalization()(x)))


def dilated_convolutions(features):
    x = features["series"].input
    for rate in (1, 2, 4):
        x = layers.Conv1D(4, 2, dilation_rate=rate, padding="causal", activation="relu")(x)
    return classifier(layers.Lambda(lambda steps: steps[:, -1])(x))


def long_short_term_memory(features):
    return classifier(layers.LSTM(4)(features["series"].input))


def masked_recurrence(features):
    x = layers.Masking()(features["series"].input)
    return classifier(layers.GRU(4)(layers.LSTM(4, return_sequences=True)(x)))


def bidirectional(features):
    x = layers.Embedding(30, 4, mask_zero=True)(features["tokens"].input)
    return classifier(layers.Bidirectional(layers.GRU(3))(x))


def stacked_cells(features):
    cells = layers.StackedRNNCells([layers.LSTMCell(3), layers.GRUCell(3)])
    return classifier(layers.RNN(cells)(features["series"].input))


def forecast(features):
    x = layers.SimpleRNN(4)(features["series"].input)
    x = layers.RepeatVector(3)(x)
    x = layers.LSTM(4, return_sequences=True)(x)
    return finished(layers.TimeDistributed(layers.Dense(2))(x), loss="mse")


def recurrent_convolutions(features):
    x = layers.Reshape((3, 4, 2))(features["series"].input)
    return classifier(layers.Flatten()(layers.ConvLSTM1D(2, 2)(x)))


def spectrogram(features):
    x = layers.MelSpectrogram(fft_length=64, sequence_stride=32, num_mel_bins=8, sampling_rate=256)(
        features["wave"].input
    )
    return classifier(layers.Flatten()(x))


def causal_transformer(features):
    tokens = features["tokens"].input
    x = layers.Embedding(30, 8)(tokens) + layers.Embedding(6, 8)(ops.arange(6))
    x = layers.LayerNormalization()(x + layers.MultiHeadAttention(2, 4)(x, x, use_causal_mask=True))
    return classifier(layers.Flatten()(x + layers.Dense(8)(layers.Dense(16, "gelu")(x))))


def grouped_attention(features):
    x = layers.Embedding(30, 8, mask_zero=True)(features["tokens"].input)
    x = layers.GroupQueryAttention(4, 4, 2)(x, x)
    return classifier(layers.GlobalAveragePooling1D()(x))


def attention_between(features):
    query = layers.Embedding(30, 4)(features["tokens"].input)
    value = layers.Dense(4)(features["series"].input)
    both = [layers.Attention()([query, value]), layers.AdditiveAttention()([query, value])]
    return classifier(layers.GlobalMaxPooling1D()(layers.Average()(both)))


def attention_pooling(features):
    x = layers.Embedding(30, 4)(features["tokens"].input)
    weights = layers.Softmax(axis=1)(layers.Dense(1)(x))
    return classifier(ops.sum(weights * x, axis=1))


def bag_of_a_padded_list(features):
    basket = features["basket"].input
    there = ops.cast(ops.not_equal(basket, 0), "float32")
    vectors = layers.Embedding(20, 4)(basket) * ops.expand_dims(there, -1)
    count = ops.maximum(ops.sum(there, axis=1, keepdims=True), 1.0)
    return classifier(ops.sum(vectors, axis=1) / count)


class RaggedMean(layers.Layer):
    """Takes a padded list for what it was: a ragged one."""

    def __init__(self, size, units, **options):
        super().__init__(**options)
        self.size, self.units = size, units

    def build(self, shape):
        self.table = self.add_weight(shape=(self.size, self.units), name="table")

    def call(self, padded):
        import tensorflow as tf

        ragged = tf.RaggedTensor.from_tensor(padded, padding=0)
        vectors = tf.ragged.map_flat_values(tf.gather, tf.convert_to_tensor(self.table), ragged)
        return tf.math.divide_no_nan(
            tf.reduce_sum(vectors, axis=1),
            tf.cast(ragged.row_lengths(), tf.float32)[:, None],
        )

    def compute_output_shape(self, shape):
        return (shape[0], self.units)

    def get_config(self):
        return {**super().get_config(), "size": self.size, "units": self.units}


def ragged_inside(features):
    return classifier(RaggedMean(20, 4)(features["basket"].input))


def vectorised_text(features):
    vocabulary = ["the", "sun", "and", *WORDS, *(city.lower() for city in CITIES)]
    words = layers.TextVectorization(
        vocabulary=list(dict.fromkeys(vocabulary)), output_sequence_length=6
    )(features["sentence"].input)
    return classifier(layers.GlobalAveragePooling1D()(layers.Embedding(16, 4)(words)))


def bag_of_word_pairs(features):
    layer = layers.TextVectorization(
        vocabulary=["the sun", "sun", "and"], ngrams=2, output_mode="multi_hot"
    )
    return classifier(layer(features["sentence"].input))


def characters(features):
    letters = layers.TextVectorization(
        vocabulary=list("abcdefghijklmnop"), split="character", output_sequence_length=12
    )(features["sentence"].input)
    x = layers.Conv1D(4, 3, activation="relu")(layers.Embedding(20, 4)(letters))
    return classifier(layers.GlobalMaxPooling1D()(x))


def images_and_table(features):
    image = layers.GlobalAveragePooling2D()(layers.Conv2D(4, 3)(features["image"].input))
    x = layers.Concatenate()([image, features["age"].normalized(), features["x"].input])
    return classifier(layers.Dense(4)(x))


def siamese(features):
    encode = keras.Sequential([keras.Input((12, 2)), layers.Conv1D(4, 3), layers.Flatten()])
    first = encode(features["series"].input)
    second = encode(layers.Reshape((12, 2))(layers.Dense(24)(features["x"].input)))
    distance = ops.sqrt(ops.sum(ops.square(first - second), axis=1, keepdims=True) + 1e-6)
    return finished(layers.Dense(1, "sigmoid")(distance), loss="binary_crossentropy")


class Encoder(keras.Model):
    """Subclassed, of layers that it makes by itself; no config is asked of it."""

    def __init__(self, **options):
        super().__init__(**options)
        self.embed = layers.Embedding(30, 8)
        self.attend = layers.MultiHeadAttention(2, 4)
        self.out = layers.Dense(3, "softmax")

    def call(self, inputs, training=False):
        x = self.embed(inputs["tokens"])
        return self.out(ops.mean(self.attend(x, x, training=training), axis=1))


def subclassed_transformer(features):
    return compiled(Encoder())


def network_in_low_precision(features):
    x = layers.Conv2D(4, 3, activation="relu")(features["image"].input)
    x = layers.BatchNormalization()(x)
    x = layers.Dense(8, "relu")(layers.Flatten()(x))
    return classifier(x)


def recurrence_in_low_precision(features):
    x = layers.GRU(4)(layers.Embedding(30, 4)(features["tokens"].input))
    return finished(layers.Dense(3, "softmax", dtype="float32", name="kinds")(x))


SIGNALS = (
    conv_net, separable_convolutions, group_normalisation, residual_conv_net, squeeze_and_excite,
    autoencoder, u_net, variational_autoencoder, augmented_images, resized_images, mobile_net,
    volumes, vision_transformer, dilated_convolutions, long_short_term_memory, masked_recurrence,
    bidirectional, stacked_cells, forecast, recurrent_convolutions, spectrogram,
    causal_transformer, grouped_attention, attention_between, attention_pooling,
    bag_of_a_padded_list, ragged_inside, vectorised_text, bag_of_word_pairs, characters,
    images_and_table, siamese, subclassed_transformer,
)  # fmt: skip
LOW_PRECISION = (network_in_low_precision, recurrence_in_low_precision)
