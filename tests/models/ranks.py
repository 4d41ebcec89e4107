"""Processes that train with the engine's own train function, for comparing numbers of workers.

No Ray: each process joins the ring that the parent describes and runs `train_worker`. What the
model saw and computed is recorded inside its traced steps.
"""

import multiprocessing
import os
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, field

NUM_RANKS = 4
NUM_RINGS = 2  # one for the training thread, one for the thread that commits checkpoints
TIMEOUT_S = 240.0


@dataclass(frozen=True)
class Training:
    """What all ranks of a run do."""

    architecture: str
    store: str
    run: str
    train: dict = field(default_factory=dict)


@dataclass
class Seen:
    """What one rank saw."""

    rows: list = field(default_factory=list)
    """Per step, bytes of each row's first feature."""
    losses: list = field(default_factory=list)
    """Per step, mean over this rank's rows."""
    weights: dict = field(default_factory=dict)
    """Final values by path, the optimizer's included."""
    history: list = field(default_factory=list)
    refusal: str = ""
    log: str = ""


class Ranks:
    """Processes that wait for work; they import TensorFlow once, and fork from one that has."""

    def __init__(self):
        os.environ.update(KERAS_BACKEND="tensorflow", TF_CPP_MIN_LOG_LEVEL="2")
        context = multiprocessing.get_context("forkserver")
        context.set_forkserver_preload(["tensorflow", "keras", "tests.models.architectures"])
        self._processes, self._pipes = [], []
        for _ in range(NUM_RANKS):
            mine, theirs = context.Pipe()
            process = context.Process(target=_serve, args=(theirs,), daemon=True)
            process.start()
            theirs.close()
            self._processes.append(process)
            self._pipes.append(mine)

    def train(self, training, *, world_size, first=0):
        """Train on the processes from `first` on.

        Returns:
            What each rank saw, by rank.
        """
        return self.call(run_training, training, world_size=world_size, first=first)

    def train_on(self, world_sizes, describe):
        """Train on several numbers of workers, two of them at a time where there is room.

        Args:
            describe: Gives the `Training` for a world size.

        Returns:
            What each rank saw, by world size.
        """
        big = [size for size in world_sizes if size > NUM_RANKS // 2]
        small = [size for size in world_sizes if size <= NUM_RANKS // 2]
        results = {size: self.train(describe(size), world_size=size) for size in big}
        places = [sum(small[:i]) for i in range(len(small))]
        with ThreadPoolExecutor(max(len(small), 1)) as pool:
            runs = [
                pool.submit(self.train, describe(size), world_size=size, first=place)
                for size, place in zip(small, places, strict=True)
            ]
            results |= {size: run.result() for size, run in zip(small, runs, strict=True)}
        return results

    def call(self, body, *arguments, world_size, first=0):
        """Call `body(exchange, *arguments)` on every rank of a ring; results by rank."""
        pipes = self._pipes[first : first + world_size]
        for pipe in pipes:
            pipe.send(("open", world_size > 1))
        rings = list(zip(*(_answer(pipe) for pipe in pipes), strict=True))
        token = os.urandom(32)
        for rank, pipe in enumerate(pipes):
            pipe.send(("run", rank, rings, token, body, arguments))
        answers = [_answer(pipe) for pipe in pipes]
        for answer in answers:
            if isinstance(answer, BaseException):
                raise answer
        return answers

    def close(self):
        for pipe in self._pipes:
            pipe.close()
        for process in self._processes:
            process.join(5)
            if process.is_alive():
                process.kill()


def _answer(pipe):
    if not pipe.poll(TIMEOUT_S):
        raise TimeoutError(f"a rank said nothing for {TIMEOUT_S:.0f} s")
    return pipe.recv()


def _serve(pipe):
    from shardline.training.exchange.ring import Listener

    listeners = []
    while True:
        try:
            what, *arguments = pipe.recv()
        except EOFError:
            return
        if what == "open":
            listeners = [Listener("127.0.0.1") for _ in range(NUM_RINGS if arguments[0] else 0)]
            pipe.send([listener.address for listener in listeners])
        else:
            pipe.send(_outcome(listeners, *arguments))


def _outcome(listeners, rank, rings, token, body, arguments):
    from shardline.training.exchange.peers import join, joined, leave
    from shardline.training.exchange.ring import TcpRing

    try:
        if rings:
            join(
                *(
                    TcpRing(rank, addresses=addresses, listener=listener, token=token)
                    for addresses, listener in zip(rings, listeners, strict=True)
                )
            )
        return body(joined(), *arguments)
    except Exception as error:  # noqa: BLE001  # the parent raises it
        return RuntimeError(f"rank {rank}: {type(error).__name__}: {error}")
    finally:
        leave()


def run_training(exchange, training):
    """Run the engine's train function on an architecture; the body of `Ranks.train`."""
    from tests.models.architectures import ARCHITECTURES, EPOCHS, GLOBAL_BATCH
    from tests.sample_datasets import spec_for

    from shardline.data.manifest import load_dataset
    from shardline.model.code import collect_code
    from shardline.store import Store
    from shardline.training.task import WorkerTask
    from shardline.training.worker import train_worker

    architecture = ARCHITECTURES[training.architecture]
    seen, models = Seen(), []

    def build(features):
        models.append(architecture.build(features))
        _watch(models[-1], seen)
        return models[-1]

    store = Store(training.store)
    dataset = load_dataset(store, architecture.dataset)
    train = {
        "run": training.run,
        "workers": exchange.world_size,
        "global_batch": GLOBAL_BATCH,
        "epochs": EPOCHS,
        "seed": 5,
        **architecture.train,
        **training.train,
    }
    spec = spec_for(store, dataset, build, train=train)
    with _captured_log() as lines:
        outcome = train_worker({"task": WorkerTask(spec, dataset, collect_code(spec))})
    seen.history, seen.refusal = outcome.history, str(outcome.refusal or "")
    seen.log = "\n".join(lines)
    if not outcome.refusal:
        model = models[-1]
        variables = [*model.variables, *model.optimizer.variables]
        seen.weights = {variable.path: variable.numpy() for variable in variables}
    return seen


def _watch(model, seen):
    """Record rows and loss of every training step, from inside it."""
    import keras
    import tensorflow as tf

    train_step, compute_loss = model.train_step, model.compute_loss
    training = []

    def note_rows(values):
        seen.rows.append([row.tobytes() for row in values])

    def note_loss(value):
        seen.losses.append(float(value))

    def watched_step(data):
        tf.numpy_function(note_rows, [keras.tree.flatten(data[0])[0]], [])
        training.append(True)
        try:
            return train_step(data)
        finally:
            training.pop()

    def watched_loss(*args, **kwargs):
        loss = compute_loss(*args, **kwargs)
        if training:
            tf.numpy_function(note_loss, [loss], [])
        return loss

    model.train_step, model.compute_loss = watched_step, watched_loss


@contextmanager
def _captured_log():
    import logging

    lines = []
    handler = logging.Handler()
    handler.emit = lambda record: lines.append(record.getMessage())
    logger = logging.getLogger("shardline")
    logger.addHandler(handler)
    try:
        yield lines
    finally:
        logger.removeHandler(handler)
