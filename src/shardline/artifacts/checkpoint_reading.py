"""Checkpoints while they are read: nobody removes what a reader holds."""

import logging
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager

from shardline.artifacts.checkpoint import CheckpointManifest, read_checkpoint
from shardline.artifacts.checkpoint_removal import discard_damaged
from shardline.artifacts.clock import Clock, unix_clock
from shardline.artifacts.leases import leased
from shardline.errors import IntegrityError, NotFoundError
from shardline.store import Store, read_verified

logger = logging.getLogger(__name__)

Choose = Callable[[], CheckpointManifest | None]
"""Lists what there is and takes one."""


@contextmanager
def reading(
    store: Store, checkpoint: CheckpointManifest, *, reader: str, clock: Clock = unix_clock
) -> Iterator[None]:
    """Hold a checkpoint that was listed: its files stay while the block runs, for an hour.

    Whoever reads for longer may find them gone, and says so: hashes are compared either way.

    Args:
        store: Where it is; a reader must be able to write there.
        checkpoint: The one to hold.
        reader: What it is read for.
        clock: The reader's.

    Raises:
        NotFoundError: It was removed before it could be held.
    """
    with leased(store, checkpoint.key, reader=reader, clock=clock):
        found = read_checkpoint(store, checkpoint.key)
        if found is None or found.files != checkpoint.files:
            raise NotFoundError(
                f"{store.uri_of(checkpoint.key)} was removed before it could be read; run the same "
                "command again, or take one that `shardline runs NAME --checkpoints` lists."
            )
        yield


@contextmanager
def chosen(
    store: Store, choose: Choose, *, reader: str, clock: Clock = unix_clock
) -> Iterator[CheckpointManifest | None]:
    """Hold what is chosen; chosen anew if it goes before it can be held.

    Yields:
        The checkpoint, None if there is none to choose.
    """
    with ExitStack() as stack:
        while (checkpoint := choose()) is not None:
            try:
                stack.enter_context(reading(store, checkpoint, reader=reader, clock=clock))
            except NotFoundError as error:
                logger.info("choosing another checkpoint: %s", error)
            else:
                break
        yield checkpoint


def newest_intact(
    store: Store, checkpoints: Sequence[CheckpointManifest], *, clock: Clock = unix_clock
) -> CheckpointManifest | None:
    """The newest checkpoint whose bytes are those that were committed.

    Those on the way that are damaged are removed for good, so that training can commit their steps
    again.
    """
    for checkpoint in reversed(checkpoints):
        # Read again first: a transfer that went wrong is no reason to lose a checkpoint.
        damage = _damage(store, checkpoint, clock) and _damage(store, checkpoint, clock)
        if not damage:
            return checkpoint
        logger.warning("falling back to an earlier checkpoint: %s", damage)
        discard_damaged(store, checkpoint)
    return None


def _damage(store: Store, checkpoint: CheckpointManifest, clock: Clock) -> str:
    """What is wrong with a checkpoint's bytes; empty if nothing is."""
    try:
        with reading(store, checkpoint, reader="resume", clock=clock):
            for name, digest in checkpoint.files.items():
                read_verified(store, f"{checkpoint.key}/{name}", sha256=digest)
    except (IntegrityError, NotFoundError) as error:
        return str(error)
    return ""
