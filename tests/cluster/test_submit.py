"""Verbs sent through the Jobs API of a real cluster, followed, their exit codes carried over."""

import json
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path
from urllib.request import Request, urlopen

import pytest
from tests.cluster.conftest import ROOT, LocalClusterCommand
from tests.e2e.commands import environment

from shardline.cluster.jobs_api import exit_code

SECRET = "not-for-the-cluster"
TIMEOUT_S = 240


@pytest.fixture
def celsius(tmp_path: Path) -> Path:
    """A spec with its source and its model code in a folder of their own."""
    folder = tmp_path / "celsius"
    folder.mkdir()
    for name in ("celsius.yaml", "celsius.csv", "model.py"):
        shutil.copy(ROOT / "examples" / "celsius" / name, folder)
    return folder / "celsius.yaml"


def shardline(*arguments: object, environment: dict[str, str]) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, "-m", "shardline", *map(str, arguments)],
        env=environment | {"AWS_SECRET_ACCESS_KEY": SECRET},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def submit(
    cluster: LocalClusterCommand, verb: str, spec: Path, *options: str
) -> tuple[int, str, str]:
    variables = cluster.environment()
    address = variables["RAY_API_SERVER_ADDRESS"]
    job = shardline("submit", verb, spec, "--address", address, *options, environment=variables)
    out, err = job.communicate(timeout=TIMEOUT_S)
    return job.returncode, out, err


def prepare(spec: Path) -> None:
    prepared = shardline("prepare", spec, environment=environment())
    _, err = prepared.communicate(timeout=TIMEOUT_S)
    assert prepared.returncode == 0, err


def jobs(cluster: LocalClusterCommand) -> list[dict]:
    environment = cluster.environment()
    token = (cluster.state / "token").read_text()
    request = Request(
        environment["RAY_API_SERVER_ADDRESS"] + "/api/jobs/",
        headers={"Authorization": f"Bearer {token}"},
    )
    with urlopen(request, timeout=10) as answer:
        return json.load(answer)


def test_submit_validate_shows_the_result_and_succeeds(
    local_cluster: LocalClusterCommand, celsius: Path
) -> None:
    code, out, err = submit(local_cluster, "validate", celsius)
    assert (code, "model:build" in out) == (0, True), out + err
    assert "Ctrl-C stops it" in err


def test_submit_wrong_input_carries_exit_code_and_sentence(
    local_cluster: LocalClusterCommand, celsius: Path
) -> None:
    celsius.with_name("model.py").unlink()
    code, out, _ = submit(local_cluster, "validate", celsius)
    assert code == 2
    assert "there is no model.py in" in out


def test_submit_train_runs_on_both_nodes_and_commits_to_the_store(
    local_cluster: LocalClusterCommand, celsius: Path
) -> None:
    prepare(celsius)
    settings = ("train.workers=2", "train.global_batch=14", "train.epochs=2")
    sets = [part for setting in settings for part in ("--set", setting)]
    code, out, err = submit(local_cluster, "train", celsius, *sets)
    assert code == 0, out + err
    checkpoints = celsius.parent / "store" / "runs" / "celsius" / "checkpoints"
    markers = list(checkpoints.glob("step-*/checkpoint.json"))
    assert [json.loads(marker.read_text())["world_size"] for marker in markers][-1] == 2


def test_submit_interrupted_stops_the_job(
    local_cluster: LocalClusterCommand, celsius: Path
) -> None:
    environment = local_cluster.environment()
    prepare(celsius)
    job = shardline(
        "submit", "train", celsius, "--set", "train.epochs=1000000",
        "--address", environment["RAY_API_SERVER_ADDRESS"], environment=environment,
    )  # fmt: skip
    run = celsius.parent / "store" / "runs" / "celsius"
    deadline = time.monotonic() + TIMEOUT_S
    while not run.exists():
        assert time.monotonic() < deadline
        assert job.poll() is None
        time.sleep(0.1)
    job.send_signal(signal.SIGINT)
    _, err = job.communicate(timeout=60)
    assert job.returncode == 130
    name = err.split()[1]
    assert err.splitlines()[-2:] == [f"stopping job {name}", f"job {name} is stopped"]
    (stopped,) = [job for job in jobs(local_cluster) if job["submission_id"] == name]
    assert stopped["status"] == "STOPPED", stopped["message"]


def test_submit_leaves_credentials_and_data_at_home(
    local_cluster: LocalClusterCommand, celsius: Path
) -> None:
    submit(local_cluster, "validate", celsius)
    token = (local_cluster.state / "token").read_text()
    told = json.dumps(jobs(local_cluster))
    assert SECRET not in told
    assert token not in told
    nodes = json.loads((local_cluster.state / "cluster.json").read_text())["nodes"]
    sent = {
        path.name
        for node in nodes
        for path in Path(node["folder"]).glob("session_2*/runtime_resources/working_dir_files/*/*")
    }
    assert {"celsius.yaml", "model.py"} <= sent
    assert "celsius.csv" not in sent


@pytest.mark.parametrize(
    ("address", "sentence"),
    [
        (
            "http://127.0.0.1:1",
            "no Ray dashboard answers at http://127.0.0.1:1; check the address and that the "
            "cluster is up.",
        ),
        (
            "ray://127.0.0.1:10001",
            "'ray://127.0.0.1:10001' is no dashboard address; write it as http://host:8265 (a "
            "control service's host:port goes to --address of the other verbs).",
        ),
    ],
)
def test_submit_to_no_dashboard_says_so(celsius: Path, address: str, sentence: str) -> None:
    job = shardline("submit", "validate", celsius, "--address", address, environment=environment())
    _, err = job.communicate(timeout=60)
    assert (job.returncode, err.splitlines()[-1]) == (2, sentence)


def test_submit_with_a_wrong_token_is_refused(
    local_cluster: LocalClusterCommand, celsius: Path
) -> None:
    environment = local_cluster.environment() | {"RAY_AUTH_TOKEN": "0" * 64}
    address = environment["RAY_API_SERVER_ADDRESS"]
    job = shardline("submit", "validate", celsius, "--address", address, environment=environment)
    _, err = job.communicate(timeout=60)
    assert job.returncode == 2
    assert err.splitlines()[-1] == (
        f"the Ray cluster at {address} refuses this process; set RAY_AUTH_TOKEN to its token."
    )


@pytest.mark.parametrize(
    ("status", "driver", "code"),
    [
        ("SUCCEEDED", 0, 0),
        ("FAILED", 2, 2),
        ("FAILED", 1, 1),
        ("FAILED", None, 1),  # the driver never ran
        ("FAILED", -9, 1),  # a signal ended it
        ("STOPPED", None, 130),
    ],
)
def test_exit_code_is_the_drivers(status: str, driver: int | None, code: int) -> None:
    assert exit_code(status, driver) == code
