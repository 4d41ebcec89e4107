"""What the C library does with freed memory."""

import platform
import resource
import subprocess
import sys

SCRIPT = """
import resource, sys
import numpy as np
from shardline.training.memory import keep_freed_memory
kept = keep_freed_memory()
for _ in range(2):
    before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
    array = np.ones(64 << 20, np.uint8)
    del array
    faults = resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before
print(int(kept), faults)
"""


def test_keep_freed_memory_large_blocks_come_back_without_the_kernel():
    answer = subprocess.run([sys.executable, "-c", SCRIPT], capture_output=True, check=True)
    kept, faults = map(int, answer.stdout.split())
    assert kept == (platform.libc_ver()[0] == "glibc")
    assert not kept or faults < (64 << 20) // resource.getpagesize() // 100
