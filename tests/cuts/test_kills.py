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


def deadline_s(trials):
    """On a machine that is busy otherwise."""
    return 80 + 2 * trials


def case(kind, trials):
    return pytest.param(kind, trials, marks=pytest.mark.timeout(deadline_s(trials) + 10))


@pytest.mark.parametrize(("kind", "trials"), [case("folder", KILLS), case("s3", S3_KILLS)])
def test_kill_at_random_moments_leaves_whole_checkpoints_and_a_run_that_continues(
    kind, trials, tmp_path, request
):
    folder = f"file://{tmp_path}/store"
    uri = request.getfixturevalue("s3_store").uri if kind == "s3" else folder
    seed = time.time_ns() % 1_000_000
    command = ("tests.kills", uri, str(trials), str(seed))
    done = subprocess.run(
        [sys.executable, "-m", *command],
        capture_output=True, text=True, timeout=deadline_s(trials), check=False,
    )  # fmt: skip
    assert done.returncode == 0, f"seed {seed}: {done.stderr}"
    assert done.stdout.startswith(f"{trials} kills: step ")
    print(done.stdout)  # what `pytest -s` shows: how far it came, and how often it was read
