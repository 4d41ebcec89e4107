"""Keeps memory that was freed once, for the next step's arrays."""

import ctypes
from collections.abc import Callable, Iterator
from typing import TypeVar

# <malloc.h>
M_TRIM_THRESHOLD = -1
M_TOP_PAD = -2
M_MMAP_THRESHOLD = -3
# The largest that glibc takes; it is a C int.
KEPT_BYTES = (1 << 31) - 1
PADDING_BYTES = 64 << 20

Item = TypeVar("Item")


def keep_freed_memory() -> bool:
    """Keep glibc from giving large blocks back to the kernel whenever they are freed.

    A step allocates the same gradients as the one before; given back and fetched again, each of
    their pages costs a fault.

    Returns:
        False where the C library is another.
    """
    try:
        mallopt = ctypes.CDLL(None).mallopt
        ctypes.CDLL(None).gnu_get_libc_version  # noqa: B018  # musl has no such name
    except (OSError, AttributeError):
        return False
    settings = {
        M_MMAP_THRESHOLD: 1 << 30,
        M_TRIM_THRESHOLD: KEPT_BYTES,
        M_TOP_PAD: PADDING_BYTES,
    }
    return all(mallopt(name, value) == 1 for name, value in settings.items())


def keeping_freed_memory(items: Callable[[], Iterator[Item]]) -> Callable[[], Iterator[Item]]:
    """What a `tf.data` generator yields, with freed memory kept from its first item on.

    TensorFlow 2.21 sets glibc's threshold for giving memory back to 128 kB when it makes the op of
    a process's first generator. Epochs of 6,000 encoded images then had up to a million page faults
    and took up to a seventh longer, at random; with it set again they never had more than 10,000.
    """

    def kept() -> Iterator[Item]:
        keep_freed_memory()
        yield from items()

    return kept
