"""The peer of `training_step.py`: tf_keras in a MultiWorkerMirroredStrategy, started by Ray.

Runs in the peers' environment: `python peer_training_step.py TASK FOLDER`.
"""

import ast
import sys
import time
from typing import Any


def train(task: dict[str, Any]) -> None:
    """What each worker runs: steps, when told to."""
    from multiprocessing.connection import Client

    import numpy as np
    import tensorflow as tf
    import tf_keras

    tf.config.threading.set_intra_op_parallelism_threads(1)
    strategy = tf.distribute.MultiWorkerMirroredStrategy()
    tf_keras.utils.set_random_seed(1)
    with strategy.scope():
        layers = [tf_keras.layers.Dense(units, activation="relu") for units in task["units"]]
        model = tf_keras.Sequential([tf_keras.Input((784,)), *layers, tf_keras.layers.Dense(10)])
        model.compile(
            optimizer=task["optimizer"],
            loss=tf_keras.losses.SparseCategoricalCrossentropy(from_logits=True),
            steps_per_execution=task["steps_per_execution"],
        )
    random = np.random.default_rng(0)
    images = random.normal(size=(task["batch"], 784)).astype("float32")
    labels = random.integers(0, 10, task["batch"])
    data = strategy.distribute_datasets_from_function(
        lambda _: tf.data.Dataset.from_tensors((images, labels)).repeat()
    )
    per_execution = task["steps_per_execution"]
    address, key = tuple(task["address"]), bytes.fromhex(task["key"])
    with Client(address, authkey=key) as connection:
        while (order := connection.recv()) is not None:
            stamps: list[float] = []
            note = tf_keras.callbacks.LambdaCallback(
                on_train_batch_end=lambda batch, logs, to=stamps: to.append(  # noqa: ARG005
                    time.perf_counter()
                )
            )
            steps = (order[1] + 1) * per_execution
            model.fit(data, steps_per_epoch=steps, verbose=0, callbacks=[note])
            connection.send((np.diff(stamps) / per_execution).tolist())


def main() -> None:
    """Two workers."""
    from ray.train import RunConfig, ScalingConfig
    from ray.train.tensorflow import TensorflowTrainer

    task, folder = ast.literal_eval(sys.argv[1]), sys.argv[2]
    TensorflowTrainer(
        train,
        train_loop_config=task,
        scaling_config=ScalingConfig(num_workers=2, resources_per_worker={"CPU": 1}),
        run_config=RunConfig(storage_path=folder),
    ).fit()


if __name__ == "__main__":
    main()
