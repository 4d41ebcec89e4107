"""What stopped a run's workers: written by Ray's controller, told by the driver."""

import logging

import orjson

from shardline.errors import ShardlineError
from shardline.store import Store

logger = logging.getLogger(__name__)


def incidents_key(run: str) -> str:
    """Where a run keeps one sentence per stop of the workers of its last command."""
    return f"runs/{run}/incidents.json"


def write_incidents(store: Store, run: str, sentences: list[str]) -> None:
    """Replace the sentences."""
    store.write(incidents_key(run), orjson.dumps(sentences))


class TellIncidents:
    """Logs each incident of a run once, as it happens.

    Args:
        store: Where the run lives.
        run: Its name.
    """

    def __init__(self, store: Store, run: str) -> None:
        self._store = store
        self._run = run
        self._told = 0
        store.delete(incidents_key(run))  # those of an earlier command

    def __call__(self, ended: str | None) -> None:
        """Look for new ones."""
        try:
            sentences = orjson.loads(self._store.read(incidents_key(self._run)))
        except (ShardlineError, ValueError):
            return  # nothing there yet, or just being written
        for sentence in sentences[self._told :]:
            logger.warning("run %s: the workers stopped: %s", self._run, sentence)
        self._told = len(sentences)
