"""A step of MLPs with much to exchange, on two workers: ours, tf_keras under Ray, and no exchange.

    python benchmarks/training_step.py [--rounds 5] [--sizes 77k 4m 25m]

Every process has one TensorFlow thread. Ours are two processes with the engine's averaging, over
shared memory and over TCP, with gradients in 32 and in 16 bits; the peer is `tf_keras` in a
`MultiWorkerMirroredStrategy` that Ray's `TensorflowTrainer` started; the limit is the same two
processes training apart at the same time. All take the same batches, optimizer and
`steps_per_execution`. They stay up and are measured in turn.
"""

import argparse
import multiprocessing
import os
import statistics
import subprocess
import tempfile
from collections.abc import Callable
from contextlib import ExitStack
from multiprocessing.connection import Connection, Listener
from pathlib import Path
from typing import Any

import numpy as np
from peers import peer_environment, peer_python
from rig import interleaved, show, show_ratio

from models import MLP_UNITS

PEER = Path(__file__).with_name("peer_training_step.py")
LOCAL_BATCH = 32
STEPS_PER_EXECUTION = {"77k": 20, "4m": 5, "25m": 2}
EXECUTIONS = {"77k": 10, "4m": 5, "25m": 3}
OURS = ("shared memory", "TCP", "shared memory, bfloat16", "TCP, bfloat16")
LIMIT = "two jobs apart"


def main() -> None:
    """Measure every size and print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--sizes", nargs="+", default=list(MLP_UNITS), choices=list(MLP_UNITS))
    parser.add_argument("--optimizer", default="sgd", choices=["sgd", "adam"])
    arguments = parser.parse_args()
    for size in arguments.sizes:
        measure(size, arguments.optimizer, arguments.rounds)


def measure(size: str, optimizer: str, rounds: int) -> None:
    """One size: milliseconds of a step, in turn."""
    task = {
        "units": MLP_UNITS[size],
        "optimizer": optimizer,
        "batch": LOCAL_BATCH,
        "steps_per_execution": STEPS_PER_EXECUTION[size],
    }
    with ExitStack() as stack:
        ours = stack.enter_context(Workers(start_ours, task, rings=2))
        peer = stack.enter_context(Workers(start_peer, task, rings=0))
        group = dict.fromkeys((*OURS, LIMIT), ours) | {"peer": peer}
        for name, workers in group.items():
            workers.step_ms(name, executions=1)  # traces and warms up
        found = interleaved(
            rounds,
            {
                name: lambda name=name, workers=workers: workers.step_ms(name, EXECUTIONS[size])
                for name, workers in group.items()
            },
        )
    print(f"{size} parameters, {optimizer}, {STEPS_PER_EXECUTION[size]} steps per execution")
    for name, values in found.items():
        show(name, values, "ms")
    for name in OURS:
        show_ratio(f"peer / {name}", found["peer"], found[name])
    show_ratio(f"{OURS[0]} / limit", found[OURS[0]], found[LIMIT])


class Workers:
    """Two processes that train when told to.

    Args:
        start: Starts them; they connect to the address they are given.
        task: What they train.
        rings: How many rings they make.
    """

    def __init__(self, start: Callable[..., Any], task: dict[str, Any], *, rings: int) -> None:
        key = os.urandom(16)
        self._listener = Listener(("127.0.0.1", 0), authkey=key)
        self._processes = start(self._listener.address, key, task)
        self._connections: list[Connection] = []
        self._rings = rings

    def __enter__(self) -> "Workers":
        """Wait until both are there, and introduce them to each other."""
        self._connections = [self._listener.accept() for _ in range(2)]
        for _ in range(self._rings):
            addresses = [connection.recv() for connection in self._connections]
            for rank, connection in enumerate(self._connections):
                connection.send((rank, addresses))
        return self

    def step_ms(self, case: str, executions: int) -> float:
        """Median milliseconds of a step, of the slower process."""
        for connection in self._connections:
            connection.send((case, executions))
        return max(statistics.median(connection.recv()) for connection in self._connections) * 1e3

    def __exit__(self, *_: object) -> None:
        """Let them end."""
        for connection in self._connections:
            connection.send(None)
        self._listener.close()
        for process in self._processes:
            (process.wait if isinstance(process, subprocess.Popen) else process.join)()


def start_peer(address: tuple[str, int], key: bytes, task: dict[str, Any]) -> list[Any]:
    """Ray and its two workers, in the peers' environment."""
    arguments = [repr({"address": address, "key": key.hex(), **task}), tempfile.mkdtemp()]
    command = [str(peer_python()), str(PEER), *arguments]
    return [subprocess.Popen(command, env=peer_environment(), stdout=subprocess.DEVNULL)]


def start_ours(address: tuple[str, int], key: bytes, task: dict[str, Any]) -> list[Any]:
    """Two plain processes."""
    os.environ |= {"KERAS_BACKEND": "tensorflow", "TF_CPP_MIN_LOG_LEVEL": "3"}
    context = multiprocessing.get_context("spawn")
    processes = [context.Process(target=run_rank, args=(address, key, task)) for _ in range(2)]
    for process in processes:
        process.start()
    return processes


def run_rank(address: tuple[str, int], key: bytes, task: dict[str, Any]) -> None:
    """One of ours: a model for every case, run when told to."""
    from multiprocessing.connection import Client

    import tensorflow as tf

    from shardline.training.memory import keep_freed_memory

    keep_freed_memory()
    tf.config.threading.set_intra_op_parallelism_threads(1)
    with Client(address, authkey=key) as connection:
        kinds: dict[str, Any] = {LIMIT: (None, "float32")}
        for name in ("shared memory", "TCP"):
            ring = connect(connection, shares_memory=name == "shared memory")
            kinds |= {name: (ring, "float32"), f"{name}, bfloat16": (ring, "bfloat16")}
        models: dict[str, Any] = {}
        while (order := connection.recv()) is not None:
            case, executions = order
            if case not in models:
                models[case] = build(task, *kinds[case])
            connection.send(run(models[case], task, executions))


def connect(connection: Connection, *, shares_memory: bool) -> Any:
    """A ring of both processes, introduced by the one that started them."""
    from shardline.training.exchange.ring import Listener as RingListener
    from shardline.training.exchange.ring import TcpRing

    listener = RingListener("127.0.0.1")
    connection.send(listener.address)
    rank, addresses = connection.recv()
    return TcpRing(
        rank,
        addresses=addresses,
        listener=listener,
        token=b"benchmark".ljust(32),
        shares_memory=shares_memory,
    )


def build(task: dict[str, Any], ring: Any, wire: Any) -> Any:
    """A compiled model that averages over a ring, if any."""
    import keras

    from shardline.training.replicas.averaging import average_gradients
    from shardline.training.replicas.gradients import RingSums

    keras.utils.set_random_seed(1)
    layers = [keras.layers.Dense(units, activation="relu") for units in task["units"]]
    model = keras.Sequential([keras.Input((784,)), *layers, keras.layers.Dense(10)])
    model.compile(
        optimizer=task["optimizer"],
        loss=keras.losses.SparseCategoricalCrossentropy(from_logits=True),
        steps_per_execution=task["steps_per_execution"],
    )
    average_gradients(model, ring and RingSums(ring, wire=wire), weight=0.5)
    return model


def run(model: Any, task: dict[str, Any], executions: int) -> list[float]:
    """Seconds of a step, for each execution but the first."""
    import time

    import keras
    import tensorflow as tf

    random = np.random.default_rng(0)
    images = random.normal(size=(task["batch"], 784)).astype("float32")
    labels = random.integers(0, 10, task["batch"])
    stamps: list[float] = []
    note = keras.callbacks.LambdaCallback(
        on_train_batch_end=lambda batch, logs: stamps.append(time.perf_counter())  # noqa: ARG005
    )
    per_execution = task["steps_per_execution"]
    model.fit(
        tf.data.Dataset.from_tensors((images, labels)).repeat(),
        steps_per_epoch=(executions + 1) * per_execution,
        verbose=0,
        callbacks=[note],
    )
    return (np.diff(stamps) / per_execution).tolist()


if __name__ == "__main__":
    main()
