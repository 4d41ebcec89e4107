"""The thread that commits: one at a time, and failures reach whoever waits."""

import threading

import pytest

from shardline.errors import NotFiniteError, StoreUnavailableError, TrainingError
from shardline.training.checkpoints.background import Background

DEADLINE_S = 30


def test_wait_returns_once_the_commit_is_done():
    background, release, done = Background(), threading.Event(), []
    background.commit(lambda: (release.wait(DEADLINE_S), done.append(1)))
    assert background.is_busy()
    release.set()
    background.wait()
    assert (done, background.is_busy()) == ([1], False)
    background.commit(lambda: done.append(2))
    background.finish()
    assert done == [1, 2]


@pytest.mark.parametrize(
    ("failure", "kind"),
    [
        (StoreUnavailableError("the store is gone."), TrainingError),
        (NotFiniteError("variable 'x' is NaN."), NotFiniteError),
        (ZeroDivisionError("a bug"), TrainingError),
    ],
)
def test_failure_is_raised_by_everything_that_follows(failure, kind):
    def fail():
        raise failure

    background = Background()
    background.commit(fail)
    for follow in (background.wait, lambda: background.commit(print), background.finish):
        with pytest.raises(TrainingError, match="a checkpoint could not be written: ") as raised:
            follow()
        assert type(raised.value) is kind
        assert raised.value.__cause__ is failure
