"""A small conv net, plain Keras 3."""

import keras


def build(features, filters=32):
    """Return a compiled classifier of 8 x 8 images."""
    image = features["image"].input
    x = keras.layers.Rescaling(1 / 16)(image)
    x = keras.layers.Conv2D(filters, 3, padding="same", activation="relu")(x)
    x = keras.layers.Conv2D(2 * filters, 3, padding="same", activation="relu")(x)
    x = keras.layers.MaxPooling2D()(x)
    x = keras.layers.Flatten()(x)
    x = keras.layers.Dense(4 * filters, activation="relu")(x)
    x = keras.layers.Dropout(0.3)(x)
    scores = keras.layers.Dense(features.num_classes, activation="softmax", name="scores")(x)
    model = keras.Model(features.inputs, scores)
    model.compile(
        optimizer=keras.optimizers.Adam(1e-3),
        loss="sparse_categorical_crossentropy",
        metrics=["accuracy"],
        steps_per_execution=5,
    )
    return model
