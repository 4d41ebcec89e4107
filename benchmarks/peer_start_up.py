"""The peer of `start_up.py`: what Ray's guide to distributed TensorFlow shows, nothing tuned.

Runs in the peers' environment: `python peer_start_up.py ROWS.parquet STAMPS_FOLDER`.
"""

import sys


def train(config: dict[str, str]) -> None:
    """What each worker runs; Ray sends it alone, without this module's imports."""
    import os
    import struct
    import time
    from pathlib import Path
    from typing import Any

    import pyarrow.parquet as pq
    import tensorflow as tf
    import tf_keras

    class Stamps(tf_keras.callbacks.Callback):
        def on_train_batch_end(self, batch: int, logs: Any = None) -> None:  # noqa: ARG002
            path = Path(config["stamps"]) / f"{os.getpid()}.stamps"
            with path.open("ab") as file:
                file.write(struct.pack("<d", time.time()))

    strategy = tf.distribute.MultiWorkerMirroredStrategy()  # before anything else of TensorFlow
    table = pq.read_table(config["rows"])
    images = table["image"].combine_chunks().to_numpy_ndarray()
    data = tf.data.Dataset.from_tensor_slices((images, table["label"].to_numpy()))
    with strategy.scope():
        model = tf_keras.Sequential(
            [
                tf_keras.Input((28, 28, 1)),
                tf_keras.layers.Flatten(),
                tf_keras.layers.Rescaling(1 / 255),
                tf_keras.layers.Dense(90, activation="relu"),
                tf_keras.layers.Dense(10, activation="softmax"),
            ]
        )
        model.compile(optimizer="adam", loss="sparse_categorical_crossentropy")
    model.fit(data.shuffle(len(images)).batch(128), epochs=1, verbose=0, callbacks=[Stamps()])


def main() -> None:
    """Train on two workers."""
    from ray.train import RunConfig, ScalingConfig
    from ray.train.tensorflow import TensorflowTrainer

    rows, stamps = sys.argv[1:]
    TensorflowTrainer(
        train,
        train_loop_config={"rows": rows, "stamps": stamps},
        scaling_config=ScalingConfig(num_workers=2, resources_per_worker={"CPU": 1}),
        run_config=RunConfig(storage_path=stamps),
    ).fit()


if __name__ == "__main__":
    main()
