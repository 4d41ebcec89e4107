"""Where training continues: the newest checkpoint that every rank can read."""

import logging
from contextlib import ExitStack
from dataclasses import dataclass
from typing import Any

from shardline.artifacts.checkpoint import CheckpointManifest, list_checkpoints, read_tensors
from shardline.artifacts.checkpoint_reading import chosen
from shardline.artifacts.checkpoint_removal import discard_damaged
from shardline.errors import IntegrityError, NotFoundError, StoreError
from shardline.store import Store, dump_marker
from shardline.training.exchange.peers import Exchange

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class Restored:
    """A checkpoint and its arrays."""

    checkpoint: CheckpointManifest
    tensors: dict[str, Any]


def restore_newest(store: Store, run: str, exchange: Exchange) -> Restored | None:
    """The newest checkpoint that all ranks have read whole; None if there is none.

    Rank 0 chooses, so that all ranks continue from one state, and holds it until all have read it.
    One that a rank cannot read is removed and the next one tried: it is damaged, or was removed
    after all.

    Raises:
        StoreError: A rank cannot read what rank 0 can: its store is another one.
    """
    before = ""
    while True:
        with ExitStack() as held:
            choice = _choice(store, run, held) if exchange.rank == 0 else b""
            choice = exchange.all_gather(choice)[0]
            if not choice:
                return None
            checkpoint = CheckpointManifest.model_validate_json(choice)
            tensors, error = _read(store, checkpoint)
            errors = [each.decode() for each in exchange.all_gather(error.encode())]
        if not any(errors):
            return Restored(checkpoint, tensors)
        if not errors[0] and checkpoint.key == before:
            rank, said = next((rank, error) for rank, error in enumerate(errors) if error)
            raise StoreError(
                f"rank {rank} cannot read a checkpoint that rank 0 can ({said.rstrip('.')}); give "
                "all nodes the same store."
            )
        before = "" if errors[0] else checkpoint.key
        # Read again first: a transfer that went wrong is no reason to lose a checkpoint.
        if exchange.rank == 0 and error and _read(store, checkpoint)[1]:
            logger.warning("falling back to an earlier checkpoint: %s", error)
            discard_damaged(store, checkpoint)


def _choice(store: Store, run: str, held: ExitStack) -> bytes:
    """The newest checkpoint's marker, empty if there is none; held until `held` is left."""

    def newest() -> CheckpointManifest | None:
        return next(reversed(list_checkpoints(store, run)), None)

    checkpoint = held.enter_context(chosen(store, newest, reader="resume"))
    return dump_marker(checkpoint) if checkpoint else b""  # knows NaN, as the store does


def _read(store: Store, checkpoint: CheckpointManifest) -> tuple[dict[str, Any], str]:
    """Its arrays and no error, or none and what is wrong with it."""
    try:
        return read_tensors(store, checkpoint), ""
    except (IntegrityError, NotFoundError) as unreadable:
        return {}, str(unreadable)
