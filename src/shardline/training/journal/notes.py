"""Small writes that nothing depends on, made on a thread of their own."""

import logging
import threading
from collections.abc import Callable

FINISH_TIMEOUT_S = 30.0

Write = Callable[[], None]

logger = logging.getLogger(__name__)


class Notes:
    """Makes the newest write of each kind; one that fails is a warning and never more."""

    def __init__(self) -> None:
        self._changed = threading.Condition()
        self._waiting: dict[str, Write] = {}
        self._failed: set[str] = set()
        self._closing = False
        self._thread = threading.Thread(target=self._run, name="run-notes", daemon=True)
        self._thread.start()

    def note(self, kind: str, write: Write) -> None:
        """Queue a write in place of the one of its kind that is waiting, if any; never waits."""
        with self._changed:
            self._waiting[kind] = write
            self._changed.notify_all()

    def finish(self) -> None:
        """Wait for what is queued, but not for a store that does not answer."""
        with self._changed:
            self._closing = True
            self._changed.notify_all()
        self._thread.join(FINISH_TIMEOUT_S)

    def _run(self) -> None:
        while True:
            with self._changed:
                self._changed.wait_for(lambda: self._waiting or self._closing)
                writes, self._waiting = self._waiting, {}
            if not writes:
                return
            for kind, write in writes.items():
                self._make(kind, write)

    def _make(self, kind: str, write: Write) -> None:
        try:
            write()
        except Exception as error:  # noqa: BLE001  # the boundary: notes never stop training
            if kind not in self._failed:  # said once, not every second
                logger.warning("%s could not be written: %s", kind, error)
            self._failed.add(kind)
