"""A checkpoint that all ranks write together: every rank its share, rank 0 the marker."""

import logging
from collections.abc import Callable

from pydantic import BaseModel, ConfigDict

from shardline.artifacts.checkpoint import (
    CheckpointManifest,
    commit_checkpoint,
    list_checkpoints,
    write_share,
)
from shardline.artifacts.checkpoint_removal import delete_checkpoints
from shardline.artifacts.clock import Clock, unix_clock
from shardline.artifacts.leases import is_leased
from shardline.artifacts.retention import abandoned, kept
from shardline.artifacts.tensor_file import TensorFile
from shardline.artifacts.variables import MODEL_PREFIX, OPTIMIZER_PREFIX
from shardline.errors import NotFiniteError, ShardlineError, StoreError, TrainingError
from shardline.spec.train import CheckpointSpec
from shardline.store import Store
from shardline.training.exchange.peers import Exchange

logger = logging.getLogger(__name__)


class _Report(BaseModel):
    """What a rank tells its peers of its part in a commit."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    files: dict[str, str] = {}
    error: str = ""
    not_finite: bool = False
    """Whether trying again would end the same way."""


def commit_together(
    store: Store, manifest: CheckpointManifest, share: TensorFile, exchange: Exchange
) -> None:
    """Commit a checkpoint of which every rank holds a share. All ranks must call it, in order.

    Args:
        store: Where to.
        manifest: What is committed; the same on all ranks.
        share: This rank's tensors.
        exchange: Connects the ranks; nobody else uses it meanwhile.

    Raises:
        TrainingError: A rank could not do its part, on all ranks; nothing is committed.
        NotFiniteError: A share holds an infinity or NaN.
    """
    written = _together(exchange, lambda: _write_finite(store, manifest, share))
    files = {name: digest for report in written for name, digest in report.files.items()}

    def commit() -> dict[str, str]:
        if exchange.rank == 0:
            _check_files(store, manifest, files)
            commit_checkpoint(store, manifest, files)
        return {}

    _together(exchange, commit)


def retain(store: Store, run: str, policy: CheckpointSpec, *, clock: Clock = unix_clock) -> None:
    """Remove what the policy does not keep and nobody reads.

    What cannot be removed now is tried after the next commit.
    """
    try:
        committed = list_checkpoints(store, run)
        steps = kept(committed, policy)
        superfluous = [checkpoint for checkpoint in committed if checkpoint.step not in steps]
        delete_checkpoints(store, superfluous, clock=clock)
        folder = f"runs/{run}/checkpoints"
        for name in abandoned(store.list_folders(folder), committed, policy):
            if not is_leased(store, f"{folder}/{name}", now_unix_s=clock()):
                store.delete_folder(f"{folder}/{name}")
    except ShardlineError as error:
        logger.warning("old checkpoints could not be removed: %s", error)


def _together(exchange: Exchange, part: Callable[[], dict[str, str]]) -> list[_Report]:
    """Everyone's report of a part that every rank tries."""
    failure: Exception | None = None
    try:
        report = _Report(files=part())
    except Exception as error:  # noqa: BLE001  # peers must hear of it before it is raised below
        not_finite = isinstance(error, NotFiniteError)
        said = str(error) or type(error).__name__
        failure, report = error, _Report(error=said, not_finite=not_finite)
    answers = exchange.all_gather(report.model_dump_json().encode())
    reports = [_Report.model_validate_json(answer) for answer in answers]
    for rank, found in enumerate(reports):
        if found.error:
            kind = NotFiniteError if found.not_finite else TrainingError
            raise kind(f"rank {rank}: {found.error}") from failure
    return reports


def _check_files(store: Store, manifest: CheckpointManifest, files: dict[str, str]) -> None:
    """A folder that is not shared between nodes takes every rank's file, each its own."""
    gone = [name for name in files if not store.exists(f"{manifest.key}/{name}")]
    if gone:
        raise StoreError(
            f"{store.uri} lacks {gone[0]}, which another worker has written; give all nodes the "
            "same store."
        )


def _write_finite(store: Store, manifest: CheckpointManifest, share: TensorFile) -> dict[str, str]:
    bad = share.first_non_finite(prefixes=(MODEL_PREFIX, OPTIMIZER_PREFIX))
    if bad is not None:
        raise NotFiniteError(
            f"variable {bad!r} holds an infinity or NaN after step {manifest.step}, which is never "
            "committed; lower the learning rate, clip gradients or look at the data."
        )
    return write_share(store, manifest, share)
