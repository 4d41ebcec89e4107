"""Retention: which checkpoints of a run are kept, and why."""

import math
from collections.abc import Iterable, Sequence
from typing import Literal

from shardline.artifacts.checkpoint import CheckpointManifest, best_checkpoints, step_of
from shardline.spec.train import CheckpointSpec

Reason = Literal["last", "best", "hourly"]
SECONDS_PER_HOUR = 3600.0


def kept(
    checkpoints: Sequence[CheckpointManifest], policy: CheckpointSpec
) -> dict[int, tuple[Reason, ...]]:
    """Steps that the policy keeps, each with its reasons.

    A pure function of what is there, so a pass that was broken off, or of which some removals were
    put off, ends up with the same ones.

    Args:
        checkpoints: Committed ones, oldest first.
        policy: How many of which kind.
    """
    best = best_checkpoints(checkpoints, policy.monitor)[: policy.keep_best]
    by_reason: dict[Reason, set[int]] = {
        "last": {checkpoint.step for checkpoint in checkpoints[-policy.keep :]},
        "best": {checkpoint.step for checkpoint in best},
        "hourly": _spaced(checkpoints, policy.keep_every_hours),
    }
    return {
        checkpoint.step: reasons
        for checkpoint in checkpoints
        if (reasons := tuple(r for r, steps in by_reason.items() if checkpoint.step in steps))
    }


def abandoned(
    folders: Iterable[str], checkpoints: Sequence[CheckpointManifest], policy: CheckpointSpec
) -> list[str]:
    """Folders without a marker, from before the last checkpoints that the policy keeps.

    Nobody will complete them: a run that continues does so from one of the last.

    Args:
        folders: Names of all folders of the run's checkpoints.
        checkpoints: Committed ones, oldest first.
        policy: What is kept.
    """
    committed = {checkpoint.step for checkpoint in checkpoints}
    oldest = min((checkpoint.step for checkpoint in checkpoints[-policy.keep :]), default=0)
    steps = {name: step_of(name) for name in folders}
    return [
        name
        for name, step in steps.items()
        if step is not None and step < oldest and step not in committed
    ]


def _spaced(checkpoints: Sequence[CheckpointManifest], hours: float | None) -> set[int]:
    """The first one, and each that is at least so many hours newer than the one taken before.

    What is taken does not depend on those in between, so removing them changes nothing.
    """
    if hours is None:
        return set()
    taken: list[CheckpointManifest] = []
    for checkpoint in checkpoints:
        before_unix_s = taken[-1].created_unix_s if taken else -math.inf
        if checkpoint.created_unix_s >= before_unix_s + hours * SECONDS_PER_HOUR:
            taken.append(checkpoint)
    return {checkpoint.step for checkpoint in taken}
