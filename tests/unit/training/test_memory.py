"""What the C library does with freed memory."""

import platform
import resource
import subprocess
import sys

from tests.freed_memory import COUNTING

SCRIPT = f"""
from shardline.training.memory import keep_freed_memory
kept = keep_freed_memory()
{COUNTING}
print(int(kept), faults)
"""


def test_keep_freed_memory_large_blocks_come_back_without_the_kernel():
    answer = subprocess.run([sys.executable, "-c", SCRIPT], capture_output=True, check=True)
    kept, faults = map(int, answer.stdout.split())
    assert kept == (platform.libc_ver()[0] == "glibc")
    assert not kept or faults < (64 << 20) // resource.getpagesize() // 100
