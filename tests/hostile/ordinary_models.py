"""Models that people serve: of every kind of layer, and of TensorFlow operations at the edges."""

import keras
import tensorflow as tf
from keras import layers

WORDS = ["red", "green", "blue"]


def numbers(*shape, name="x"):
    return keras.Input(shape, name=name)


def texts(*shape, name="x"):
    return keras.Input(shape, name=name, dtype="string")


def perceptron(folder):
    x = numbers(4)
    hidden = layers.Dropout(0.5)(layers.Dense(8, "gelu", kernel_regularizer="l2")(x))
    return keras.Model(x, layers.Dense(3, "softmax")(layers.BatchNormalization()(hidden)))


def compiled_sequential(folder):
    model = keras.Sequential([numbers(4), layers.Dense(2), layers.LeakyReLU(), layers.Dense(1)])
    rate = keras.optimizers.schedules.CosineDecay(0.1, 10)
    model.compile(keras.optimizers.AdamW(rate), "mse", metrics=["mae", keras.metrics.R2Score()])
    return model


def conv_net(folder):
    x = image = numbers(16, 16, 3)
    for kind in (layers.Conv2D, layers.SeparableConv2D, layers.Conv2DTranspose):
        x = layers.Activation("swish")(kind(4, 3, padding="same")(x))
    x = layers.GroupNormalization(2)(layers.DepthwiseConv2D(3)(x))
    x = layers.GlobalAveragePooling2D()(layers.MaxPooling2D()(x))
    return keras.Model(image, layers.Dense(2)(x))


def wide_head_after_flatten(folder):
    x = numbers(128, 128, 3)
    pooled = layers.GlobalMaxPooling2D()(layers.Conv2D(8, 3, strides=2)(x))
    return keras.Model(x, layers.Dense(4096)(pooled))


def residual_net(folder):
    x = numbers(8, 8, 2)
    y = layers.Conv2D(2, 3, padding="same")(x)
    block = keras.Model(x, layers.Add()([x, y]), name="block")
    image = numbers(8, 8, 2)
    return keras.Model(image, layers.Flatten()(block(block(image))))


def volumes_and_series(folder):
    volume, series = numbers(4, 4, 4, 1, name="volume"), numbers(16, 2, name="series")
    a = layers.Flatten()(layers.AveragePooling3D(2)(layers.Conv3D(2, 2)(volume)))
    b = layers.Flatten()(layers.UpSampling1D()(layers.Conv1D(2, 3, dilation_rate=2)(series)))
    return keras.Model([volume, series], layers.Concatenate()([a, b]))


def recurrent(folder):
    x = numbers(6, 3)
    y = layers.Bidirectional(layers.LSTM(4, return_sequences=True))(layers.Masking()(x))
    cells = layers.StackedRNNCells([layers.LSTMCell(3), layers.GRUCell(3)])
    return keras.Model(x, [layers.GRU(2)(y), layers.RNN(cells)(y), layers.SimpleRNN(2)(y)])


def frames(folder):
    x = numbers(3, 8, 8, 1)
    y = layers.TimeDistributed(layers.Conv2D(2, 3))(x)
    return keras.Model(x, layers.ConvLSTM2D(2, 3)(y))


def transformer(folder):
    x = keras.Input((6,), dtype="int64", name="x")
    y = layers.Embedding(50, 8, mask_zero=True)(x)
    y = layers.LayerNormalization()(y + layers.MultiHeadAttention(2, 4)(y, y, use_causal_mask=True))
    y = y + layers.GroupQueryAttention(4, 4, 2)(y, y)
    y = layers.EinsumDense("abc,cd->abd", (None, 4), bias_axes="d")(layers.RMSNormalization()(y))
    return keras.Model(x, layers.GlobalAveragePooling1D()(y))


def half_precision(folder):
    x = numbers(4)
    y = layers.Dense(8, dtype="mixed_bfloat16")(x)
    return keras.Model(x, layers.Dense(2, dtype="float32")(y))


def keras_operations(folder):
    x = numbers(4)
    y = keras.ops.concatenate([keras.ops.sin(x) * 2, keras.ops.clip(x, 0, 1)], axis=-1)
    y = keras.ops.where(y > 0.5, y, keras.ops.zeros_like(y)) + keras.ops.ones((1, 8))
    return keras.Model(x, keras.ops.logsumexp(keras.ops.reshape(y, (-1, 2, 4)), axis=-1))


def looked_up_texts(folder):
    x = texts(1)
    index = layers.StringLookup(vocabulary=WORDS, num_oov_indices=2)(x)
    hot = layers.CategoryEncoding(num_tokens=5, output_mode="multi_hot")(index)
    return keras.Model(x, layers.Dense(2)(hot))


def words_from_a_file(folder):
    file = folder / "words.txt"
    file.write_text("\n".join(WORDS))
    x = texts(1)
    return keras.Model(x, layers.StringLookup(vocabulary=str(file), output_mode="one_hot")(x))


def sentences(folder):
    x = texts(1)
    split = layers.TextVectorization(vocabulary=WORDS, ngrams=2, output_sequence_length=5)(x)
    return keras.Model(x, layers.Embedding(10, 2)(split))


def weighted_words(folder):
    layer = layers.TextVectorization(output_mode="tf_idf")
    layer.adapt(["red green", "blue red red"])
    x = texts(1)
    return keras.Model(x, layer(x))


def columns(folder):
    price = numbers(1, name="price")
    town, code = texts(1, name="town"), keras.Input((1,), dtype="int64", name="code")
    parts = [
        layers.Normalization(mean=[1.0], variance=[2.0])(price),
        layers.CategoryEncoding(4)(layers.Discretization([0.0, 1.0, 2.0])(price)),
        layers.CategoryEncoding(8)(layers.Hashing(8, salt=3)(town)),
        layers.IntegerLookup(vocabulary=[3, 5], output_mode="one_hot")(code),
        layers.HashedCrossing(6, output_mode="one_hot")((town, code)),
    ]
    joined = layers.Concatenate()([layers.Flatten()(part) for part in parts])
    return keras.Model([price, town, code], layers.Dense(1)(joined))


def image_preparation(folder):
    x = numbers(20, 20, 3)
    y = layers.CenterCrop(16, 16)(layers.RandomFlip()(layers.Rescaling(1 / 255)(x)))
    y = layers.RandomRotation(0.1)(layers.RandomContrast(0.2)(layers.Resizing(8, 8)(y)))
    return keras.Model(x, layers.Flatten()(layers.GaussianNoise(0.1)(y)))


def sound(folder):
    x = numbers(1600)
    mel = layers.MelSpectrogram(fft_length=256, sequence_stride=128, num_mel_bins=16)(x)
    waves = layers.STFTSpectrogram(frame_length=128, frame_step=64)(layers.Reshape((1600, 1))(x))
    return keras.Model(x, [mel, waves])


def noise_of_a_seed(folder):
    x = numbers(4)
    return keras.Model(x, layers.Lambda(lambda t: t + tf.random.stateless_normal([4], [1, 2]))(x))


def encoded_images(folder):
    def decode(files):
        def one(file):
            image = tf.io.decode_image(file, channels=3, expand_animations=False)
            image = tf.image.resize(tf.image.rgb_to_grayscale(tf.cast(image, tf.float32)), (4, 4))
            return tf.image.adjust_contrast(tf.image.flip_left_right(image), 2.0)

        return tf.map_fn(one, files[:, 0], fn_output_signature=tf.TensorSpec((4, 4, 1)))

    x = texts(1)
    return keras.Model(x, layers.Flatten()(layers.Lambda(decode, output_shape=(4, 4, 1))(x)))


def ragged_texts(folder):
    def lengths(values):
        words = tf.strings.split(tf.strings.lower(values[:, 0]), " ")
        words = tf.ragged.map_flat_values(tf.strings.regex_replace, words, "[^a-z]", "")
        hashed = tf.ragged.map_flat_values(tf.strings.to_hash_bucket_fast, words, 8)
        grams = tf.strings.ngrams(words, 2).row_lengths()
        counts = tf.cast(tf.reduce_sum(hashed, 1) + grams, tf.float32)
        return tf.stack([counts, tf.cast(words.row_lengths(), tf.float32)], 1)

    x = texts(1)
    return keras.Model(x, layers.Lambda(lengths, output_shape=(2,))(x))


def parsed_records(folder):
    def parse(records):
        spec = {"a": tf.io.FixedLenFeature((2,), tf.float32), "b": tf.io.VarLenFeature(tf.int64)}
        parsed = tf.io.parse_example(records[:, 0], spec)
        raw = tf.io.decode_raw(tf.io.decode_base64(tf.constant(["AAAA"])), tf.uint8)
        dense = tf.sparse.to_dense(parsed["b"])
        return parsed["a"] + tf.cast(tf.reduce_sum(dense) + tf.size(raw, tf.int64), tf.float32)

    x = texts(1)
    return keras.Model(x, layers.Lambda(parse, output_shape=(2,))(x))


def loops_and_branches(folder):
    @tf.function
    def steps(x):
        total = tf.TensorArray(tf.float32, 0, dynamic_size=True)
        for i in tf.range(3):
            if tf.reduce_sum(x) > tf.cast(i, tf.float32):
                total = total.write(total.size(), tf.linalg.matmul(x, x, transpose_b=True)[0, 0])
        tf.debugging.assert_non_negative(total.size())
        return x + tf.reduce_sum(total.stack())

    x = numbers(4)
    return keras.Model(x, layers.Lambda(steps, output_shape=(4,))(x))


def boxes(folder):
    def pick(x):
        scores = tf.sigmoid(x[0, :, 0])
        kept = tf.image.non_max_suppression(x[0, :, :4], scores, 3)
        best = tf.math.top_k(tf.gather(scores, kept), 1)
        spectrum = tf.abs(tf.signal.rfft(x[:, :, 0]))
        return tf.reduce_sum(spectrum, 1, keepdims=True) + best.values + tf.linalg.det(tf.eye(2))

    x = numbers(8, 4)
    return keras.Model(x, layers.Lambda(pick, output_shape=(1,))(x))


class Weighted(layers.Layer):
    """A class of the user's own."""

    def build(self, shape):
        self.scale = self.add_weight(shape=shape[1:], initializer="ones")
        self.calls = self.add_weight(shape=(), dtype="int64", trainable=False)

    def call(self, x):
        return x * self.scale


def own_layer(folder):
    x = numbers(4)
    return keras.Model(x, Weighted()(x))


PLAIN = (
    perceptron, compiled_sequential, conv_net, wide_head_after_flatten, residual_net,
    volumes_and_series, recurrent, frames, transformer, half_precision, keras_operations,
    looked_up_texts, words_from_a_file, sentences, weighted_words, columns, image_preparation,
    sound,
)  # fmt: skip
"""Of Keras's own parts: their `.keras` files are accepted, too."""

WITH_CODE = (
    noise_of_a_seed, encoded_images, ragged_texts, parsed_records,
    loops_and_branches, boxes, own_layer,
)  # fmt: skip
"""Their `.keras` files need Python; their graphs do not."""

IN_HDF5 = (perceptron, compiled_sequential, conv_net, residual_net, recurrent, transformer)
"""Saved as Keras 2 did, too."""
