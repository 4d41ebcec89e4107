"""A thread for what training must not wait for: commits, one after the other."""

import threading
from collections.abc import Callable

from shardline.errors import NotFiniteError, TrainingError

Task = Callable[[], None]


class Background:
    """Runs one commit at a time."""

    def __init__(self) -> None:
        self._changed = threading.Condition()
        self._commit: Task | None = None
        self._closing = False
        self._failure: Exception | None = None
        self._thread = threading.Thread(target=self._run, name="run-recorder", daemon=True)
        self._thread.start()

    def commit(self, task: Task) -> None:
        """Start a commit; none may be under way.

        Raises:
            TrainingError: An earlier one failed.
        """
        with self._changed:
            self._raise_failure()
            self._commit = task
            self._changed.notify_all()

    def is_busy(self) -> bool:
        """Whether a commit is under way."""
        with self._changed:
            return self._commit is not None

    def wait(self) -> None:
        """Wait until no commit is under way.

        Raises:
            TrainingError: One failed.
        """
        with self._changed:
            self._changed.wait_for(lambda: self._commit is None)
            self._raise_failure()

    def finish(self) -> None:
        """Wait for what is under way and end the thread.

        Raises:
            TrainingError: A commit failed.
        """
        with self._changed:
            self._closing = True
            self._changed.notify_all()
        self._thread.join()
        self._raise_failure()

    def _run(self) -> None:
        while True:
            with self._changed:
                self._changed.wait_for(lambda: self._commit or self._closing)
                commit = self._commit
            if commit is None:
                return
            self._try_to_commit(commit)

    def _try_to_commit(self, commit: Task) -> None:
        failure = None
        try:
            commit()
        except Exception as error:  # noqa: BLE001  # handed to the training thread
            failure = error
        with self._changed:
            self._commit, self._failure = None, failure
            self._closing |= failure is not None
            self._changed.notify_all()

    def _raise_failure(self) -> None:
        if self._failure is not None:
            # Diverged training ends the same way once more, a failed store need not.
            kind = NotFiniteError if isinstance(self._failure, NotFiniteError) else TrainingError
            raise kind(
                f"a checkpoint could not be written: {str(self._failure).rstrip('.')}; the earlier "
                "ones are intact."
            ) from self._failure
