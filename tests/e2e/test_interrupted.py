"""Training on a terminal: what is shown, what Ctrl-C leaves, and how the same command goes on."""

import fcntl
import os
import pty
import re
import select
import struct
import subprocess
import termios
import time
import uuid
from pathlib import Path

from tests.e2e.commands import SHARDLINE, environment, processes_with, run_process
from tests.lines import classifier_line

from shardline.artifacts.checkpoint import list_checkpoints
from shardline.store import Store

DEADLINE_S = 180
SIZE = struct.pack("HHHH", 40, 160, 0, 0)
"""Rows and columns of the terminal."""
CTRL_C = b"\x03"
BAR = re.compile(r"train .* +\d+/1040 rows +[\d,]+ rows/s +0:\d\d:\d\d .*loss ")

# Says more than a JSON object on stdout, and leaves a mark per step taken.
BUILDER = """
import os, time
import keras
import tensorflow as tf

print("the builder is imported")

def build(features, marks):
    os.write(1, b"the builder is called\\n")
    x = keras.layers.Concatenate()([features["a"].input, features["b"].input])
    model = keras.Model(features.inputs, keras.layers.Dense(3, activation="softmax", name="p")(x))
    model.compile("sgd", "sparse_categorical_crossentropy", metrics=["accuracy"])
    take_step = model.train_step

    def mark():
        with open(marks, "a") as file:
            file.write(".")
        time.sleep(0.1)

    def train_step(data):
        logs = take_step(data)
        with tf.control_dependencies([tf.numpy_function(mark, [], [])]):
            return {name: tf.identity(value) for name, value in logs.items()}

    model.train_step = train_step
    return model
"""


class Terminal:
    """A command on a pseudo-terminal of its own."""

    def __init__(self, command, *, mark):
        self.seen = ""
        self._screen, other = pty.openpty()
        fcntl.ioctl(other, termios.TIOCSWINSZ, SIZE)
        self.process = subprocess.Popen(
            command,
            stdin=other,
            stdout=other,
            stderr=other,
            env=environment(TERM="xterm", TEST_MARK=mark),
            start_new_session=True,
            preexec_fn=lambda: fcntl.ioctl(0, termios.TIOCSCTTY, 0),  # so that ^C is a signal
        )
        os.close(other)

    def type(self, keys):
        """Press keys."""
        os.write(self._screen, keys)

    def read_until(self, condition):
        """Read the screen until a condition holds or the command has ended."""
        deadline_s = time.monotonic() + DEADLINE_S
        while not condition():
            assert time.monotonic() < deadline_s, self.seen[-2000:]
            if not select.select([self._screen], [], [], 0.1)[0]:
                continue
            try:
                text = os.read(self._screen, 1 << 16).decode(errors="replace")
            except OSError:
                return  # the other side is closed
            self.seen += re.sub(r"\x1b\[[0-9;?]*[A-Za-z]", "", text)

    def __enter__(self):
        return self

    def __exit__(self, *exception):
        self.process.kill()
        self.process.wait()
        os.close(self._screen)


def test_train_interrupted_by_ctrl_c_leaves_nothing_behind_and_continues(tmp_path):
    classifier_line(tmp_path)
    (tmp_path / "model.py").write_text(BUILDER)
    spec, marks, store = (
        tmp_path / "toy.yaml",
        tmp_path / "marks",
        Store(f"file://{tmp_path}/store"),
    )
    train = [
        "train", spec, "--set", "train.epochs=5", "--set", "train.checkpoint.every_steps=5",
        "--set", f"model.params.marks={marks}",
    ]  # fmt: skip
    assert run_process("prepare", spec).err == ""

    mark = uuid.uuid4().hex
    with Terminal([*SHARDLINE, *map(str, train)], mark=mark) as terminal:
        terminal.read_until(lambda: BAR.search(terminal.seen) and list_checkpoints(store, "toy"))
        commands = processes_with(f"TEST_MARK={mark}").values()
        (folder,) = set(re.findall(r"/\S*?/shl-\w+", " ".join(commands)))
        terminal.type(CTRL_C)
        terminal.read_until(lambda: False)
        assert terminal.process.wait(DEADLINE_S) == 130, terminal.seen[-2000:]
        assert processes_with(f"TEST_MARK={mark}") == {}
    assert not Path(folder).exists()
    assert "Traceback" not in terminal.seen
    assert terminal.seen.splitlines()[-1] == (
        "interrupted; the same command continues where this one stopped."
    )

    continued_from = list_checkpoints(store, "toy")[-1].step
    marks.write_text("")
    done = run_process(*train, "--json")
    assert (done.code, done.err) == (0, "")
    assert [entry["epoch"] for entry in done.json["history"]] == [0, 1, 2, 3, 4]
    steps = list_checkpoints(store, "toy")[-1].step
    assert len(marks.read_text()) == steps - continued_from < steps


def test_train_terminated_says_so_and_leaves_nothing_behind(tmp_path):
    classifier_line(tmp_path)
    spec, store = tmp_path / "toy.yaml", Store(f"file://{tmp_path}/store")
    assert run_process("prepare", spec).code == 0

    mark = uuid.uuid4().hex
    with Terminal([*SHARDLINE, "train", str(spec)], mark=mark) as terminal:
        terminal.read_until(lambda: store.exists("runs/toy/run.json"))
        terminal.process.terminate()
        terminal.read_until(lambda: False)
        assert terminal.process.wait(DEADLINE_S) == 143, terminal.seen[-2000:]
        assert processes_with(f"TEST_MARK={mark}") == {}
    assert terminal.seen.splitlines()[-1] == (
        "terminated; the same command continues where this one stopped."
    )
