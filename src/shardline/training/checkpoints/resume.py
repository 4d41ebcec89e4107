"""Where training continues: the newest checkpoint that every rank can read."""

import logging
from dataclasses import dataclass
from typing import Any

from shardline.artifacts.checkpoint import (
    CheckpointManifest,
    delete_checkpoints,
    list_checkpoints,
    read_tensors,
)
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

    Rank 0 chooses, so that all ranks continue from one state. One that a rank cannot read is
    removed and the next one tried: it is damaged, or a group of workers that was given up on still
    lives, has committed newer ones and removed it, in which case those are found.

    Raises:
        StoreError: A rank cannot read what rank 0 can: its store is another one.
    """
    before = ""
    while True:
        chosen = exchange.all_gather(_choice(store, run) if exchange.rank == 0 else b"")[0]
        if not chosen:
            return None
        checkpoint = CheckpointManifest.model_validate_json(chosen)
        try:
            tensors, error = read_tensors(store, checkpoint), ""
        except (IntegrityError, NotFoundError) as unreadable:
            tensors, error = {}, str(unreadable)
        errors = [each.decode() for each in exchange.all_gather(error.encode())]
        if not any(errors):
            return Restored(checkpoint, tensors)
        if not errors[0] and checkpoint.key == before:
            rank, said = next((rank, error) for rank, error in enumerate(errors) if error)
            raise StoreError(
                f"rank {rank} cannot read a checkpoint that rank 0 can ({said.rstrip('.')}); give "
                "all nodes the same store."
            )
        before = checkpoint.key
        if exchange.rank == 0 and error:
            logger.warning("falling back to an earlier checkpoint: %s", error)
            delete_checkpoints(store, [checkpoint])


def _choice(store: Store, run: str) -> bytes:
    checkpoints = list_checkpoints(store, run)
    return dump_marker(checkpoints[-1]) if checkpoints else b""  # knows NaN, as the store does
