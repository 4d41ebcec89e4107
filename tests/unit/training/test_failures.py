"""What is said about failed workers."""

import pytest
from ray.exceptions import ActorDiedError, OutOfMemoryError, RayActorError
from ray.train.v2._internal.exceptions import WorkerHealthCheckFailedError
from ray.train.v2._internal.execution.worker_group.poll import _is_preempted_actor

from shardline.errors import ModelError, NotFiniteError, StalledError, TrainingError
from shardline.training.stopping.failures import (
    explained,
    restart_without_blame,
    sentence_of,
    telling,
    told_by_ranks,
)


def test_explained_puts_the_original_failure_in_place_of_tensorflows():
    stalled = StalledError("rank 1 was silent for 3 s")
    told = explained(RuntimeError("Graph execution error: …"), stalled, step=17, stepped=True)
    assert type(told) is StalledError
    assert str(told) == "at step 17, rank 1 was silent for 3 s"


@pytest.mark.parametrize(
    ("error", "stepped"),
    [(ValueError("user's"), True), (NotFiniteError("NaN"), True), (OSError("disk"), False)],
)
def test_explained_leaves_other_errors_alone(error, stepped):
    assert explained(error, None, step=1, stepped=stepped) is error
    if isinstance(error, NotFiniteError):
        assert explained(error, TrainingError("closed"), step=1, stepped=stepped) is error


def test_explained_takes_what_python_raises_in_the_first_step_for_a_mistake():
    raised = ValueError("in user code:\n\n    File model.py, line 3\n    ValueError: no logits.\n")
    told = explained(raised, None, step=5, stepped=False)
    assert type(told) is ModelError
    assert str(told).startswith("the first training step raised ValueError: no logits; check the")


@pytest.mark.parametrize("cause", [ActorDiedError(), OutOfMemoryError("too much memory")])
def test_sentence_of_a_dead_worker_is_what_killed_it(cause):
    error = WorkerHealthCheckFailedError("A worker health check failed.\nWorker info: …", cause)
    assert sentence_of(error) == str(cause).strip().splitlines()[0]


def test_told_by_ranks_says_the_same_only_once():
    same, other = TrainingError("asked to stop."), TrainingError("gone.")
    assert told_by_ranks({0: same, 1: same}) == "asked to stop"
    assert told_by_ranks({1: other}) == "rank 1: gone"
    assert told_by_ranks({0: same, 1: other, 2: same}) == "rank 0, 2: asked to stop; rank 1: gone"


def test_telling_prefers_what_happened_to_what_followed():
    lost = TrainingError("rank 0 lost its peer, rank 1")
    died = WorkerHealthCheckFailedError("…", OutOfMemoryError("too much memory"))
    stalled = StalledError("rank 1 was silent")
    assert telling({0: lost, 1: died}) is died
    assert telling({0: stalled, 1: lost}) is stalled


def test_restart_without_blame_counts_as_a_preemption_for_ray():
    error = restart_without_blame(TrainingError("rank 1 was asked to stop"))
    assert isinstance(error, RayActorError)
    assert _is_preempted_actor(error)
    assert str(error) == "rank 1 was asked to stop"
