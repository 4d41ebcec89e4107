"""Memory that is handed out again once nobody holds it."""

from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest

from shardline.data.reused_memory import ALIGNMENT, ReusedMemory


def test_reused_memory_is_given_again_only_when_nobody_holds_a_view():
    memory = ReusedMemory()
    first = memory.take(1000)
    assert first.ctypes.data % ALIGNMENT == 0
    first[:] = 1
    held = first[10:20].view(np.uint8).reshape(2, 5)
    del first
    second = memory.take(1000)
    second[:] = 2
    assert held.tolist() == [[1] * 5] * 2
    address = held.base.ctypes.data
    del held
    assert memory.take(1000).base.ctypes.data == address
    assert memory.num_bytes == 2 * (1024 + ALIGNMENT)


@pytest.mark.parametrize("num_bytes", [0, 1, 7, 100, 1100, 4_000_001])
def test_reused_memory_has_the_bytes_asked_for_and_serves_sizes_that_are_close(num_bytes):
    memory = ReusedMemory()
    address = memory.take(num_bytes).base.ctypes.data
    assert memory.take(num_bytes).nbytes == num_bytes
    assert memory.take(max(0, num_bytes - num_bytes // 100)).base.ctypes.data == address
    assert memory.num_bytes <= 1.25 * num_bytes + 1 + ALIGNMENT


def test_reused_memory_gives_no_two_threads_the_same():
    memory = ReusedMemory()

    def taken(number):
        array = memory.take(4096)
        array[:] = number % 256
        return bool((array == number % 256).all())

    with ThreadPoolExecutor(8) as pool:
        assert all(pool.map(taken, range(5000)))
