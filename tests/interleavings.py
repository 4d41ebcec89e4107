"""Several processes on one store, in every order of their requests, each killed anywhere.

The store is in memory and lets one process at a time do one operation, as if it were S3: each
takes effect at once. Orders that differ only in operations that do not meet (on other objects, or
only reading) are the same order and run once: a process that could have gone first without a
difference sleeps until something meets its operation (sleep sets, Godefroid 1996).
"""

import hashlib
import random
import threading
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field

from shardline.errors import NotFoundError
from shardline.store import Store

DEADLINE_S = 30
URI = "file:///in-memory"


class Killed(BaseException):
    """What a killed process ends with; no code of the product's catches it."""


@dataclass
class Memory:
    """The objects of the store; `before` is told the key of every operation, and if it writes."""

    objects: dict[str, bytes] = field(default_factory=dict)
    before: Callable[[str, bool], None] = lambda key, writes: None

    def read(self, key):
        return self.read_versioned(key)[0]

    def read_versioned(self, key):
        self.before(key, False)
        if key not in self.objects:
            raise NotFoundError(f"there is no {key}.")
        data = self.objects[key]
        return data, hashlib.sha256(data).hexdigest()

    def write(self, key, data, *, sha256=None):
        self.before(key, True)
        self.objects[key] = bytes(data)

    @contextmanager
    def writing(self, key):
        pieces = []
        yield lambda piece: pieces.append(bytes(piece))
        self.write(key, b"".join(pieces))

    def put_if_absent(self, key, data):
        self.before(key, True)
        if key in self.objects:
            return False
        self.objects[key] = bytes(data)
        return True

    def compare_and_swap(self, key, data, version):
        self.before(key, True)
        if key not in self.objects:
            raise NotFoundError(f"there is no {key}.")
        if hashlib.sha256(self.objects[key]).hexdigest() != version:
            return False
        self.objects[key] = bytes(data)
        return True

    def scan(self, prefix):
        self.before(prefix, False)
        found = sorted(item for item in self.objects.items() if item[0].startswith(prefix))
        return [(key, len(data), "stamp") for key, data in found]

    def list_folders(self, prefix):
        self.before(prefix, False)
        start = prefix.rstrip("/") + "/"
        inside = (key[len(start) :] for key in self.objects if key.startswith(start))
        return sorted({rest.split("/")[0] for rest in inside if "/" in rest})

    def delete(self, key):
        self.before(key, True)
        self.objects.pop(key, None)

    def delete_all(self, keys):
        for key in list(keys):  # a server may be asked for another object in the middle of a batch
            self.delete(key)

    def sweep(self, prefix):
        """Nothing is ever broken off here."""


def memory_store(monkeypatch) -> tuple[Store, Memory]:
    """A store in memory, to which every `Store` leads now."""
    memory = Memory()
    monkeypatch.setattr("shardline.store.store._bytes_at", lambda uri: memory)
    return Store(URI), memory


@dataclass
class Run:
    """What came of one order of operations."""

    steps: list[str]
    results: dict[str, object]
    """Per process what it returned or raised."""
    is_new: bool = True
    """Whether no earlier run was the same."""
    next_runs: list[tuple[list[str], frozenset[str]]] = field(default_factory=list)


def explored(
    memory: Memory,
    processes: Mapping[str, Callable[[], object]],
    *,
    orders: "Callable[[Start], Iterator[Run]] | None" = None,
    is_shared: Callable[[str], bool] = lambda key: True,
    lives: Mapping[str, int] | None = None,
) -> Iterator[Run]:
    """Runs of the processes on the objects that are there now; the store is as each has left it.

    Args:
        memory: What they share.
        processes: Function by name.
        orders: Which ones; left out, every one.
        is_shared: Whether others may write a key; operations on other keys are not told apart.
        lives: Per process that dies, the number of operations that it still does.
    """
    objects = dict(memory.objects)

    def start() -> _Turns:
        memory.objects = dict(objects)
        turns = _Turns(is_shared, lives or {})
        memory.before = turns.before
        turns.start(processes)
        return turns

    return (orders or every_order)(start)


def every_order(start: "Start") -> Iterator[Run]:
    """A run of every order; `start` makes the processes anew, from the same objects."""
    pending = [([], frozenset())]
    while pending:
        schedule, asleep = pending.pop()
        done = _run(start(), schedule, asleep)
        pending += done.next_runs
        if done.is_new:
            yield done


def random_orders(start: "Start", *, count: int, seed: int) -> Iterator[Run]:
    """Some runs, where there are too many orders."""
    rng = random.Random(seed)
    for _ in range(count):
        turns, steps = start(), []
        while turns.next:
            steps.append(rng.choice(sorted(turns.next)))
            turns.step(steps[-1])
        yield Run(steps, turns.results)


@dataclass(frozen=True)
class _Operation:
    """What a process is about to do."""

    key: str
    """An object, or a prefix that is listed."""
    writes: bool

    def meets(self, other):
        """Whether it matters which of the two comes first."""
        near = self.key.startswith(other.key) or other.key.startswith(self.key)
        return near and (self.writes or other.writes)


class _Turns:
    """Lets one process at a time do its next operation; `lives` says after how many one dies."""

    def __init__(self, is_shared, lives):
        self._is_shared, self._left = is_shared, dict(lives)
        self._go: dict[str, threading.Semaphore] = {}
        self._stopped = threading.Semaphore(0)
        self._over = False
        self.next: dict[str, _Operation] = {}
        self.results: dict[str, object] = {}

    def start(self, processes):
        """Let every process come to its first operation."""
        for name, action in processes.items():
            self._go[name] = threading.Semaphore(0)
            body = self._body(name, action)
            threading.Thread(target=body, name=name, daemon=True).start()
            self._wait()

    def before(self, key, writes):
        name = threading.current_thread().name
        if name not in self._go or not self._is_shared(key):
            return
        if self._over or self._left.get(name) == 0:  # also for what it does on its way out
            raise Killed
        self.next[name] = _Operation(key, writes)
        self._stopped.release()
        self._go[name].acquire()
        if self._over:
            raise Killed
        if name in self._left:
            self._left[name] -= 1

    def step(self, name):
        """Let a process do the operation that it waits for, and go on to its next one."""
        del self.next[name]
        self._go[name].release()
        self._wait()

    def end(self):
        """Kill whoever still waits."""
        self._over = True
        for name in list(self.next):
            self.step(name)

    def _wait(self):
        assert self._stopped.acquire(timeout=DEADLINE_S), "a process waits for another"

    def _body(self, name, action):
        def run():
            try:
                self.results[name] = action()
            except (Exception, Killed) as error:  # noqa: BLE001  # the test looks at it
                self.results[name] = error
            self._stopped.release()

        return run


Start = Callable[[], _Turns]
"""Brings the processes to their first operations."""


def _run(turns, schedule, asleep) -> Run:
    steps, next_runs = [], []
    for name in schedule:
        turns.step(name)
        steps.append(name)
    while turns.next and (able := [name for name in turns.next if name not in asleep]):
        for place, name in enumerate(able[1:], start=1):
            rest = asleep.union(able[:place])
            next_runs.append(([*steps, name], _still_asleep(turns, rest, name)))
        asleep = _still_asleep(turns, asleep, able[0])
        turns.step(able[0])
        steps.append(able[0])
    is_new = not turns.next
    turns.end()
    return Run(steps, turns.results, is_new, next_runs)


def _still_asleep(turns, asleep, name):
    operation = turns.next[name]
    return frozenset(each for each in asleep if not turns.next[each].meets(operation))
