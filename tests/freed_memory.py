"""A script's lines that count page faults of a large block: the second time it is asked for."""

COUNTING = """
import resource
import numpy as np
for _ in range(2):
    before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
    array = np.ones(64 << 20, np.uint8)
    del array
    faults = resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before
"""
