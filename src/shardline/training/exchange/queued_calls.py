"""A thread of its own that does one call after the other."""

import queue
import threading
from collections.abc import Callable
from concurrent.futures import Future
from typing import Any


class QueuedCalls:
    """Runs calls in the order in which they were handed over.

    Not a `ThreadPoolExecutor`: that one is waited for when the interpreter ends, and a call may be
    waiting for a peer that is gone.

    Args:
        name: The thread's.
    """

    def __init__(self, name: str) -> None:
        self._name = name
        self._calls: queue.SimpleQueue[tuple[Future[Any], Callable[[], Any]] | None] = (
            queue.SimpleQueue()
        )
        self._lock = threading.Lock()
        self._thread: threading.Thread | None = None
        self._is_closed = False

    def submit(self, call: Callable[[], Any]) -> "Future[Any]":
        """Run a call after those before it; its result or exception is the future's."""
        future: Future[Any] = Future()
        with self._lock:
            if self._is_closed:
                raise RuntimeError(f"{self._name} is closed; nothing can be handed to it")
            if self._thread is None:
                self._thread = threading.Thread(target=self._run, name=self._name, daemon=True)
                self._thread.start()
            self._calls.put((future, call))
        return future

    def close(self) -> None:
        """Take no more calls; those handed over are still made."""
        with self._lock:
            self._is_closed = True
            self._calls.put(None)

    def _run(self) -> None:
        while (item := self._calls.get()) is not None:
            future, call = item
            try:
                future.set_result(call())
            except Exception as error:  # noqa: BLE001 - whoever waits for the future gets it
                future.set_exception(error)
