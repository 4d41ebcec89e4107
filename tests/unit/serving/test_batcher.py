"""The batcher on a fake model that the test holds in its hand: no Ray, no TensorFlow, no sleep."""

import asyncio
import threading

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from shardline.serving.batcher import Batcher
from shardline.serving.refusals import (
    DeadlineError,
    ModelFailureError,
    NotReadyError,
    OverloadError,
)

pytestmark = pytest.mark.anyio

FAR_S = 30.0
POISON = -1


class Model:
    """Doubles its input; runs only while `gate` is open; fails on a batch with a poisoned row."""

    def __init__(self):
        self.gate = threading.Event()
        self.gate.set()
        self.busy = threading.Event()
        self.batches = []

    def __call__(self, columns):
        self.busy.set()
        assert self.gate.wait(FAR_S)
        values = columns["x"]
        self.batches.append(values[:, 0].tolist())
        if (values == POISON).any():
            raise ValueError("poisoned row\nwith a second line")
        return {"y": values * 2}


def submit(batcher, *values, timeout_s=FAR_S):
    deadline_s = asyncio.get_running_loop().time() + timeout_s
    columns = {"x": np.array(values).reshape(-1, 1)}
    return asyncio.create_task(batcher.submit(columns, num_rows=len(values), deadline_s=deadline_s))


async def hold_model(model, batcher, value=0):
    """Start one request and return once the model is busy with it."""
    model.gate.clear()
    model.busy.clear()
    task = submit(batcher, value)
    assert await asyncio.to_thread(model.busy.wait, FAR_S)
    return task


async def queued(*tasks):
    """Let the tasks run up to their place in the queue."""
    await asyncio.sleep(0)
    return list(tasks)


def answers(results):
    return [result["y"][:, 0].tolist() for result in results]


def make(model, *, max_batch=4, max_queue=16):
    return Batcher(model, max_batch=max_batch, max_queue=max_queue)


async def test_single_request_runs_at_once_alone():
    model = Model()
    batcher = make(model)
    assert answers([await submit(batcher, 3)]) == [[6]]
    assert model.batches == [[3]]
    await batcher.close()


async def test_requests_arriving_while_busy_share_the_next_batch():
    model = Model()
    batcher = make(model)
    first = await hold_model(model, batcher)
    rest = await queued(*(submit(batcher, value) for value in (1, 2, 3, 4, 5)))
    model.gate.set()
    assert answers(await asyncio.gather(first, *rest)) == [[0], [2], [4], [6], [8], [10]]
    assert model.batches == [[0], [1, 2, 3, 4], [5]]
    await batcher.close()


async def test_batch_never_exceeds_its_limit_nor_splits_a_request():
    model = Model()
    batcher = make(model, max_batch=4)
    first = await hold_model(model, batcher)
    rest = await queued(submit(batcher, 1, 2, 3), submit(batcher, 4, 5), submit(batcher, 6))
    model.gate.set()
    assert answers(await asyncio.gather(first, *rest)) == [[0], [2, 4, 6], [8, 10], [12]]
    assert model.batches == [[0], [1, 2, 3], [4, 5, 6]]
    await batcher.close()


async def test_full_queue_refuses_and_recovers():
    model = Model()
    batcher = make(model, max_queue=2)
    held = await queued(await hold_model(model, batcher), submit(batcher, 1))
    with pytest.raises(OverloadError, match="already holds 2 requests; try again in a second"):
        await submit(batcher, 2)
    model.gate.set()
    assert answers(await asyncio.gather(*held)) == [[0], [2]]
    assert answers([await submit(batcher, 2)]) == [[4]]
    await batcher.close()


async def test_deadline_in_the_queue_drops_the_request_before_it_runs():
    model = Model()
    batcher = make(model)
    first = await hold_model(model, batcher)
    with pytest.raises(DeadlineError, match="the request's deadline"):
        await submit(batcher, 1, timeout_s=0.01)
    model.gate.set()
    await first
    await batcher.close()
    assert model.batches == [[0]]


async def test_deadline_while_running_answers_on_time_and_spares_the_next():
    model = Model()
    batcher = make(model)
    model.gate.clear()
    with pytest.raises(DeadlineError):
        await submit(batcher, 1, timeout_s=0.01)
    model.gate.set()
    assert answers([await submit(batcher, 2)]) == [[4]]
    await batcher.close()


async def test_cancelled_request_is_dropped_before_it_runs_and_frees_its_place():
    model = Model()
    batcher = make(model, max_queue=2)
    first, second = await queued(await hold_model(model, batcher), submit(batcher, 1))
    second.cancel()
    with pytest.raises(asyncio.CancelledError):
        await second
    third = submit(batcher, 2)
    await queued(third)
    model.gate.set()
    assert answers(await asyncio.gather(first, third)) == [[0], [4]]
    assert model.batches == [[0], [2]]
    await batcher.close()


async def test_failing_batch_is_retried_one_by_one_and_only_the_culprit_fails():
    model = Model()
    batcher = make(model)
    first = await hold_model(model, batcher)
    good, bad, other = await queued(
        submit(batcher, 1), submit(batcher, POISON), submit(batcher, 2, 3)
    )
    model.gate.set()
    assert answers(await asyncio.gather(first, good, other)) == [[0], [2], [4, 6]]
    with pytest.raises(ModelFailureError, match=r"request: ValueError: poisoned row$"):
        await bad
    assert model.batches == [[0], [1, POISON, 2, 3], [1], [POISON], [2, 3]]
    await batcher.close()


async def test_failing_single_request_runs_once():
    model = Model()
    batcher = make(model)
    with pytest.raises(ModelFailureError):
        await submit(batcher, POISON)
    assert model.batches == [[POISON]]
    await batcher.close()


async def test_model_that_answers_the_wrong_number_of_rows_fails_its_requests():
    batcher = make(lambda columns: {"y": np.zeros((7, 1))})
    with pytest.raises(ModelFailureError, match=r"shape \[7, 1\] for 1 input rows"):
        await submit(batcher, 1)
    await batcher.close()


async def test_close_refuses_the_waiting_and_lets_the_running_end():
    model = Model()
    batcher = make(model)
    first, second = await queued(await hold_model(model, batcher), submit(batcher, 1))
    closing = asyncio.create_task(batcher.close())
    with pytest.raises(NotReadyError):
        await second
    model.gate.set()
    await closing
    assert answers([await first]) == [[0]]
    with pytest.raises(NotReadyError):
        await submit(batcher, 2)


@settings(deadline=None, max_examples=50)
@given(
    requests=st.lists(st.lists(st.integers(POISON, 5), min_size=1, max_size=5), max_size=12),
    max_batch=st.integers(1, 6),
)
def test_every_request_gets_its_own_rows_whatever_the_batches(requests, max_batch):
    async def scenario():
        model = Model()
        batcher = make(model, max_batch=max_batch)
        tasks = [submit(batcher, *values) for values in requests]
        results = await asyncio.gather(*tasks, return_exceptions=True)
        await batcher.close()
        return results

    for values, result in zip(requests, asyncio.run(scenario()), strict=True):
        if POISON in values:
            assert isinstance(result, ModelFailureError)
        else:
            assert result["y"][:, 0].tolist() == [value * 2 for value in values]
