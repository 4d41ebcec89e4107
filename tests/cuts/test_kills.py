"""Checkpoints outlive SIGKILL at any moment: readers see whole ones, and the next run continues.

The program is `tests/kills.py`; `make test-kills` has S3 take as many kills as the folder.
"""

import os
import subprocess
import sys
import time

import pytest

KILLS = 200
S3_KILLS = int(os.environ.get("S3_KILLS", "12"))
DEADLINE_S = 280


@pytest.mark.parametrize(("kind", "trials"), [("folder", KILLS), ("s3", S3_KILLS)])
@pytest.mark.timeout(DEADLINE_S + 10)
def test_kill_at_random_moments_leaves_whole_checkpoints_and_a_run_that_continues(
    kind, trials, tmp_path, request
):
    folder = f"file://{tmp_path}/store"
    uri = request.getfixturevalue("s3_store").uri if kind == "s3" else folder
    seed = time.time_ns() % 1_000_000
    command = ("tests.kills", uri, str(trials), str(seed))
    done = subprocess.run(
        [sys.executable, "-m", *command],
        capture_output=True, text=True, timeout=DEADLINE_S, check=False,
    )  # fmt: skip
    assert done.returncode == 0, f"seed {seed}: {done.stderr}"
    assert done.stdout.startswith(f"{trials} kills: step ")
