"""Several programs on one store, in every order in which their requests can reach it.

The store is a dictionary whose requests take effect one after the other, as S3 promises; programs
are plain functions on threads, of which one runs at a time: from one request to just before the
next.
"""

import random
import threading
from collections.abc import Callable

from shardline.errors import NotFoundError
from shardline.store import Store

DEADLINE_S = 30
URI = "file:///interleaved"


class MemoryBytes:
    """Objects in a dictionary; `turn` is called before each request, with what it is."""

    def __init__(self, turn: Callable[[str, str], None]) -> None:
        self.objects: dict[str, bytes] = {}
        self._turn = turn

    def read(self, key):
        self._turn("read", key)
        if key not in self.objects:
            raise NotFoundError(f"there is no {key}.")
        return self.objects[key]

    def write(self, key, data, *, sha256=None):
        self._turn("write", key)
        self.objects[key] = bytes(data)

    def put_if_absent(self, key, data):
        self._turn("put", key)
        if key in self.objects:
            return False
        self.objects[key] = bytes(data)
        return True

    def scan(self, prefix):
        self._turn("list", prefix)
        return [
            (key, len(data), str(hash(data)))
            for key, data in sorted(self.objects.items())
            if key.startswith(prefix)
        ]

    def list_folders(self, prefix):
        self._turn("folders", prefix)
        start = prefix.rstrip("/") + "/"
        below = (key[len(start) :] for key in self.objects if key.startswith(start))
        return sorted({rest.partition("/")[0] for rest in below if "/" in rest})

    def delete(self, key):
        self._turn("delete", key)
        self.objects.pop(key, None)

    def delete_all(self, keys):
        for key in keys:  # a server may be asked for another object in the middle of a batch
            self.delete(key)

    def sweep(self, prefix):
        """Nothing breaks off here."""


class Interleaved:
    """One order of the requests of several programs, given by who is next at every request.

    Args:
        monkeypatch: Leads every `Store` to the dictionary.
        choices: Which of the programs that are not done is next; 0 after the last.
    """

    def __init__(self, monkeypatch, choices: list[int]) -> None:
        self._choices = choices
        self.taken: list[tuple[int, int]] = []
        """At every request: who came next, of how many."""
        self._waiting: dict[int, threading.Event] = {}
        self._idle = threading.Event()
        self._names = threading.local()
        self.bytes = MemoryBytes(self._turn)
        self.store = Store(URI)
        monkeypatch.setattr("shardline.store.store._bytes_at", lambda uri: self.bytes)

    def run(self, *programs: Callable[[], object]) -> list[object]:
        """What the programs return, or the exceptions that they raise."""
        results: list[object] = [None] * len(programs)
        done = [False] * len(programs)

        def body(number: int) -> None:
            self._names.number = number
            try:
                results[number] = programs[number]()
            except Exception as error:  # noqa: BLE001
                results[number] = error
            finally:
                done[number] = True
                self._idle.set()

        for number in range(len(programs)):
            self._waiting[number] = threading.Event()
        threads = [threading.Thread(target=body, args=(n,), daemon=True) for n in range(len(done))]
        for thread in threads:
            self._idle.clear()
            thread.start()
            assert self._idle.wait(DEADLINE_S)
        while not all(done):
            alive = [number for number, ended in enumerate(done) if not ended]
            position = len(self.taken)
            choice = self._choices[position] if position < len(self._choices) else 0
            choice %= len(alive)
            self.taken.append((choice, len(alive)))
            self._idle.clear()
            self._waiting[alive[choice]].set()
            assert self._idle.wait(DEADLINE_S)
        for thread in threads:
            thread.join(DEADLINE_S)
        return results

    def _turn(self, _operation: str, _key: str) -> None:
        number = getattr(self._names, "number", None)
        if number is not None:  # the test's own requests are made at once
            self._pause(number)

    def _pause(self, number: int) -> None:
        self._waiting[number].clear()
        self._idle.set()
        assert self._waiting[number].wait(DEADLINE_S)


def in_every_order(run: Callable[[list[int]], list[tuple[int, int]]], *, limit: int) -> int:
    """Run until every order was seen; how many there were.

    Args:
        run: Takes choices for `Interleaved` and returns what was `taken`.
        limit: More orders than this are a mistake in the test.
    """
    choices: list[int] = []
    for number in range(1, limit + 1):
        taken = run(choices)
        while taken and taken[-1][0] + 1 == taken[-1][1]:
            taken = taken[:-1]
        if not taken:
            return number
        choices = [choice for choice, _ in taken[:-1]] + [taken[-1][0] + 1]
    raise AssertionError(f"more than {limit} orders")


def random_choices(seed: int) -> list[int]:
    """One order out of those of any programs."""
    drawn = random.Random(seed)
    return [drawn.randrange(60) for _ in range(1000)]
