"""The local cluster: up and down, safe to repeat, and shut to everybody else."""

import json
import os
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path
from urllib.error import HTTPError
from urllib.request import Request, urlopen

import pytest
import ray  # noqa: F401  # psutil comes inside Ray
from tests.cluster.conftest import LocalClusterCommand
from tests.e2e.commands import environment

JOIN = "from shardline.cluster.session import session\nwith session({}) as s: print(s.address)"


def facts(command: LocalClusterCommand) -> dict:
    return json.loads((command.state / "cluster.json").read_text())


def processes_of(node: dict) -> list:
    import psutil

    root = psutil.Process(node["pid"])
    return [root, *root.children(recursive=True)]


def run_python(code: str, environment: dict[str, str]) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-c", code],
        env=environment, capture_output=True, text=True, timeout=120, check=False,
    )  # fmt: skip


def test_up_again_is_the_same_cluster(local_cluster: LocalClusterCommand) -> None:
    before = facts(local_cluster)
    again = local_cluster.run("up", "--nodes", "2")
    assert again.returncode == 0
    assert facts(local_cluster) == before
    assert f"export RAY_ADDRESS={before['address']}\n" in again.stdout
    assert f"2 nodes; dashboard at {before['dashboard']}" in again.stdout


def test_session_joins_both_nodes(local_cluster: LocalClusterCommand) -> None:
    code = (
        "from shardline.cluster.session import session\n"
        "from shardline.cluster.resources import cluster_nodes\n"
        "with session(): print([node.cpus for node in cluster_nodes()])"
    )
    joined = run_python(code, local_cluster.environment())
    assert joined.stdout == "[1.0, 1.0]\n", joined.stderr


def test_tasks_run_on_both_nodes(local_cluster: LocalClusterCommand) -> None:
    code = """
import ray
from shardline.cluster.session import session

@ray.remote(num_cpus=1)
def here():
    return ray.get_runtime_context().get_node_id()

with session():
    there = [node["NodeID"] for node in ray.nodes()]
    tasks = [here.options(label_selector={"ray.io/node-id": node}).remote() for node in there]
    print(ray.get(tasks) == there, len(set(there)))
"""
    assert run_python(code, local_cluster.environment()).stdout == "True 2\n"


@pytest.mark.parametrize("token", ["0" * 64, ""], ids=["wrong", "none"])
def test_session_without_the_token_is_refused(
    local_cluster: LocalClusterCommand, token: str, tmp_path: Path
) -> None:
    environment = local_cluster.environment()
    for name in ("RAY_AUTH_MODE", "RAY_AUTH_TOKEN_PATH"):
        del environment[name]
    environment |= {"HOME": str(tmp_path)} | ({"RAY_AUTH_TOKEN": token} if token else {})
    refused = run_python(JOIN.format(""), environment)
    address = facts(local_cluster)["address"]
    assert refused.stderr.splitlines()[-1] == (
        f"shardline.errors.ResourceError: the Ray cluster at {address} refuses this process; "
        "set RAY_AUTH_TOKEN to its token."
    )


def test_jobs_api_without_the_token_is_refused(local_cluster: LocalClusterCommand) -> None:
    url = f"{facts(local_cluster)['dashboard']}/api/jobs/"
    with pytest.raises(HTTPError) as refused:
        urlopen(url, timeout=10)
    assert refused.value.code == 401
    token = (local_cluster.state / "token").read_text()
    with urlopen(Request(url, headers={"Authorization": f"Bearer {token}"}), timeout=10) as answer:
        assert answer.status == 200


def test_token_is_readable_by_its_owner_alone(local_cluster: LocalClusterCommand) -> None:
    assert (local_cluster.state / "token").stat().st_mode & 0o077 == 0


def test_cluster_listens_on_loopback_only(local_cluster: LocalClusterCommand) -> None:
    addresses = {
        connection.laddr.ip.removeprefix("::ffff:")
        for node in facts(local_cluster)["nodes"]
        for process in processes_of(node)
        for connection in process.net_connections(kind="inet")
        if connection.status == "LISTEN"
    }
    assert addresses == {"127.0.0.1"}


def test_down_ends_everything_and_is_safe_to_repeat(tmp_path: Path) -> None:
    import psutil

    command = LocalClusterCommand(tmp_path / "state")
    assert command.run("up", "--nodes", "1").returncode == 0
    (node,) = facts(command)["nodes"]
    processes = processes_of(node)
    assert command.run("down").stdout == "# down\n"
    _, running = psutil.wait_procs(processes, timeout=10)
    assert running == []
    assert not Path(node["folder"]).exists()
    assert not (command.state / "token").exists()
    assert command.run("down").stdout == "# nothing was up\n"
    status = command.run("status")
    assert status.returncode == 1
    assert status.stderr == "no cluster is up; start one with `make cluster-up`\n"


def test_down_after_a_crash_spares_a_stranger_with_the_old_pid(tmp_path: Path) -> None:
    command = LocalClusterCommand(tmp_path / "state")
    command.state.mkdir()
    folder = tmp_path / "node"
    folder.mkdir()
    (folder / "alive").touch()
    stranger = subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE)
    try:
        node = {"pid": stranger.pid, "folder": str(folder)}
        cluster = {"address": "127.0.0.1:1", "dashboard": "http://127.0.0.1:2", "token_file": "t"}
        (command.state / "cluster.json").write_text(json.dumps(cluster | {"nodes": [node]}))
        assert command.run("status").returncode == 1
        assert command.run("down").returncode == 0
        assert stranger.poll() is None
        assert not folder.exists()
    finally:
        stranger.kill()
        stranger.wait()


def test_up_interrupted_leaves_nothing(tmp_path: Path) -> None:
    import psutil

    # Short, for the sockets in it.
    folders = Path(f"/tmp/shl-test-{os.getpid()}")
    folders.mkdir()
    starting = subprocess.Popen(
        [sys.executable, "cluster/local.py", "up", "--state", str(tmp_path / "state")],
        env=environment(TMPDIR=str(folders)),
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    deadline = time.monotonic() + 60
    while not list(folders.glob("*/session_latest/logs/gcs_server.out")):
        assert time.monotonic() < deadline
        time.sleep(0.05)
    nodes = [psutil.Process(starting.pid), *psutil.Process(starting.pid).children(recursive=True)]
    starting.send_signal(signal.SIGTERM)
    assert starting.wait(timeout=30) == 128 + signal.SIGTERM
    _, running = psutil.wait_procs(nodes, timeout=10)
    assert running == []
    assert list(folders.iterdir()) == []
    folders.rmdir()


def test_session_with_a_port_where_nobody_listens_says_so() -> None:
    with socket.socket() as unused:
        unused.bind(("127.0.0.1", 0))
        address = f"127.0.0.1:{unused.getsockname()[1]}"
        refused = run_python(JOIN.format(f"address={address!r}"), environment())
    assert refused.stderr.splitlines()[-1] == (
        f"shardline.errors.ResourceError: no Ray cluster answers at {address}; check the address "
        "and that the cluster is up."
    )
