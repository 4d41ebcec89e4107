"""The main job: 1,797 real digits from PNG files to HTTP answers, and once more for nothing."""

import json
import re
import shutil
import subprocess
import sys
import time

import pytest
from tests.e2e.commands import EXAMPLES, Done, environment

DEADLINE_S = 290
MIN_ACCURACY = 0.97
MAX_ERROR = 1e-5


@pytest.fixture(scope="module")
def digits(tmp_path_factory):
    """A copy of the example without what running it has left."""
    folder = tmp_path_factory.mktemp("examples") / "digits"
    skipped = shutil.ignore_patterns("store", "raw", "__*")
    shutil.copytree(EXAMPLES / "digits", folder, ignore=skipped)
    return folder


@pytest.fixture(scope="module")
def first(digits):
    """What the first run said, and how long it took."""
    return quickstart(digits)


def quickstart(folder):
    """Run it as `make quickstart` does; what it said and its seconds."""
    began_s = time.monotonic()
    done = subprocess.run(
        [sys.executable, "quickstart.py"],
        cwd=folder,
        env=environment(),
        capture_output=True,
        text=True,
        timeout=DEADLINE_S,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return Done(done.returncode, done.stdout, done.stderr), time.monotonic() - began_s


def commits(folder, kind):
    """Markers below one of the store's folders, with the time they were written."""
    return {
        str(file.relative_to(folder)): file.stat().st_mtime_ns
        for file in (folder / "store" / kind).rglob("*.json")
        if file.name != "current.json"
    }


@pytest.mark.timeout(DEADLINE_S + 10)
def test_quickstart_reaches_its_accuracy_and_its_answers_agree(digits, first):
    done, _ = first
    (marker,) = (digits / "store/models/digits").glob("*/model.json")
    model = json.loads(marker.read_text())
    assert model["metrics"]["accuracy"] >= MIN_ACCURACY
    alias = json.loads((digits / "store/models/digits/aliases/production.json").read_text())
    assert alias["version"] == model["version"] == 1
    errors = re.findall(r"(HTTP|batch) against in-memory .* (\S+) at most", done.out)
    assert [way for way, _ in errors] == ["HTTP", "batch"]
    assert all(float(error) <= MAX_ERROR for _, error in errors)
    assert "shardline serve" in done.out
    assert "Traceback" not in done.err


@pytest.mark.timeout(DEADLINE_S + 10)
def test_quickstart_again_reuses_everything_and_is_faster(digits, first):
    before = {kind: commits(digits, kind) for kind in ("datasets", "runs", "models", "scores")}
    assert all(before.values())
    done, seconds = quickstart(digits)
    assert {kind: commits(digits, kind) for kind in before} == before
    assert re.search(r"(HTTP|batch) against in-memory .* \S+ at most", done.out)
    assert seconds < first[1]
