"""A local Ray cluster for trying things out: a head and worker nodes, each with its own raylet.

    python cluster/local.py up --nodes 2 --cpus 1
    eval "$(python cluster/local.py status)"     # address and access for this shell
    python cluster/local.py down

Everything listens on loopback, and nobody gets in without the token. `down` ends what `up` started
and nothing else; both are safe to repeat.
"""

import argparse
import fcntl
import json
import os
import secrets
import shlex
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path

from shardline.cluster.ports import free_port
from shardline.cluster.serve_environment import serve_environment
from shardline.cluster.worker_environment import worker_environment
from shardline.errors import ShardlineError

LOOPBACK = "127.0.0.1"
START_TIMEOUT_S = 120.0
STOP_TIMEOUT_S = 15.0
POLL_S = 0.1


class NodeFailed(Exception):
    """A node did not come up; the message holds the end of its log."""


@dataclass(frozen=True, slots=True)
class NodeProcess:
    """One node, as a later call finds it again."""

    pid: int
    folder: str

    def is_alive(self) -> bool:
        """Whether the node's process lives: it holds a lock for as long as it does."""
        try:
            with (Path(self.folder) / "alive").open("r", encoding="utf-8") as lock:
                fcntl.flock(lock, fcntl.LOCK_SH | fcntl.LOCK_NB)
        except FileNotFoundError:
            return False
        except BlockingIOError:
            return True
        return False


@dataclass(frozen=True, slots=True)
class LocalCluster:
    """A cluster that `up` has started."""

    address: str
    """`host:port` of the control service."""
    dashboard: str
    """URL of the dashboard and the Jobs API."""
    token_file: str
    nodes: tuple[NodeProcess, ...]

    def is_up(self) -> bool:
        """Whether all of its nodes live."""
        return all(node.is_alive() for node in self.nodes)

    def exports(self) -> dict[str, str]:
        """Variables that let a shell use the cluster."""
        return {
            "RAY_ADDRESS": self.address,
            "RAY_API_SERVER_ADDRESS": self.dashboard,
            "RAY_AUTH_MODE": "token",
            "RAY_AUTH_TOKEN_PATH": self.token_file,
        }


def up(state: Path, *, num_nodes: int, cpus: int) -> LocalCluster:
    """Start the cluster, or return the one that is up already.

    Args:
        state: Folder that remembers the cluster; one cluster per folder.
        num_nodes: Nodes, the head included.
        cpus: Logical CPUs of each node.
    """
    with _locked(state):
        cluster = _load(state)
        if cluster is not None and cluster.is_up():
            return cluster
        _end(cluster)
        cluster = _start(_write_token(state), num_nodes=num_nodes, cpus=cpus)
        (state / "cluster.json").write_text(json.dumps(asdict(cluster)), encoding="utf-8")
        return cluster


def down(state: Path) -> LocalCluster | None:
    """End the cluster that `up` started; what was there to end."""
    with _locked(state):
        cluster = _load(state)
        _end(cluster)
        for name in ("cluster.json", "token"):
            (state / name).unlink(missing_ok=True)
        return cluster


def status(state: Path) -> LocalCluster | None:
    """The cluster, if it is up."""
    cluster = _load(state)
    return cluster if cluster is not None and cluster.is_up() else None


def _start(token_file: Path, *, num_nodes: int, cpus: int) -> LocalCluster:
    dashboard_port = free_port(LOOPBACK)
    with ExitStack() as on_failure:
        head, folder = _spawn(
            token_file, ["--dashboard-port", str(dashboard_port)], cpus=cpus, stack=on_failure
        )
        address = _wait_until_ready(head, folder)
        spawned = [(head, folder)]
        for _ in range(num_nodes - 1):
            spawned.append(_spawn(token_file, ["--join", address], cpus=cpus, stack=on_failure))
        for process, folder in spawned[1:]:
            _wait_until_ready(process, folder)
        on_failure.pop_all()
    return LocalCluster(
        address=address,
        dashboard=f"http://{LOOPBACK}:{dashboard_port}",
        token_file=str(token_file),
        nodes=tuple(NodeProcess(pid=p.pid, folder=str(folder)) for p, folder in spawned),
    )


def _spawn(
    token_file: Path, arguments: Sequence[str], *, cpus: int, stack: ExitStack
) -> tuple[subprocess.Popen[bytes], Path]:
    """Start a node; the stack ends it again."""
    folder = Path(tempfile.mkdtemp(prefix="shl-"))
    stack.callback(shutil.rmtree, folder, ignore_errors=True)
    with (folder / "node.log").open("wb") as log:
        process = subprocess.Popen(
            [
                sys.executable, str(Path(__file__).with_name("node.py")),
                "--folder", str(folder), "--cpus", str(cpus), *arguments,
            ],
            env=_environment(folder, token_file),
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=log,
            start_new_session=True,
        )  # fmt: skip
    stack.callback(process.wait)
    stack.callback(os.killpg, process.pid, signal.SIGKILL)
    return process, folder


def _environment(folder: Path, token_file: Path) -> dict[str, str]:
    inherited = {name: value for name, value in os.environ.items() if not name.startswith("RAY_")}
    return inherited | worker_environment() | serve_environment(folder) | {
        # A job's `python` is the one that runs the cluster.
        "PATH": os.pathsep.join((str(Path(sys.executable).parent), os.environ.get("PATH", ""))),
        "RAY_AUTH_MODE": "token",
        "RAY_AUTH_TOKEN_PATH": str(token_file),
        "RAY_USAGE_STATS_ENABLED": "0",
        # Lets Ray take 127.0.0.1 for what it is; see shardline/cluster/process_state.py.
        "RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER": "0",
        "RAY_GRACEFUL_SHUTDOWN_DRAIN_TIMEOUT_S": "0",
    }  # fmt: skip


def _wait_until_ready(process: subprocess.Popen[bytes], folder: Path) -> str:
    """The cluster's address, once the node is part of it."""
    deadline = time.monotonic() + START_TIMEOUT_S
    ready = folder / "ready.json"
    while not ready.exists():
        if process.poll() is not None or time.monotonic() > deadline:
            log = (folder / "node.log").read_text(encoding="utf-8", errors="replace")
            raise NodeFailed(f"a node did not come up: {log[-2000:]}")
        time.sleep(POLL_S)
    return str(json.loads(ready.read_text(encoding="utf-8"))["address"])


def _end(cluster: LocalCluster | None) -> None:
    if cluster is None:
        return
    for number in (signal.SIGTERM, signal.SIGKILL):
        for node in filter(NodeProcess.is_alive, cluster.nodes):
            os.killpg(node.pid, number)
        deadline = time.monotonic() + STOP_TIMEOUT_S
        while any(map(NodeProcess.is_alive, cluster.nodes)) and time.monotonic() < deadline:
            time.sleep(POLL_S)
    for node in cluster.nodes:
        shutil.rmtree(node.folder, ignore_errors=True)


@contextmanager
def _locked(state: Path) -> Iterator[None]:
    """One `up` or `down` at a time."""
    state.mkdir(mode=0o700, parents=True, exist_ok=True)
    with (state / "lock").open("w", encoding="utf-8") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield


def _write_token(state: Path) -> Path:
    path = state / "token"
    path.unlink(missing_ok=True)
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    with os.fdopen(descriptor, "w", encoding="utf-8") as file:
        file.write(secrets.token_hex(32))
    return path


def _load(state: Path) -> LocalCluster | None:
    try:
        facts = json.loads((state / "cluster.json").read_text(encoding="utf-8"))
    except FileNotFoundError:
        return None
    nodes = tuple(NodeProcess(**node) for node in facts.pop("nodes"))
    return LocalCluster(nodes=nodes, **facts)


def _report(cluster: LocalCluster) -> None:
    sys.stdout.writelines(
        f"export {name}={shlex.quote(value)}\n" for name, value in cluster.exports().items()
    )
    sys.stdout.write(f"# {len(cluster.nodes)} nodes; dashboard at {cluster.dashboard}\n")


def _default_state() -> Path:
    return Path(tempfile.gettempdir()) / f"shardline-cluster-{os.getuid()}"


def main() -> int:
    """The command line; 0 done, 1 not up."""
    parser = argparse.ArgumentParser(description="A local Ray cluster for trying things out.")
    parser.add_argument("action", choices=("up", "down", "status"))
    parser.add_argument("--nodes", type=int, default=2, help="nodes, the head included")
    parser.add_argument("--cpus", type=int, default=1, help="logical CPUs of each node")
    parser.add_argument("--state", type=Path, default=_default_state(), help="one cluster each")
    options = parser.parse_args()
    signal.signal(signal.SIGTERM, lambda number, _: sys.exit(128 + number))
    if options.action == "down":
        ended = down(options.state)
        sys.stdout.write("# down\n" if ended else "# nothing was up\n")
        return 0
    if options.action == "up":
        cluster: LocalCluster | None = up(options.state, num_nodes=options.nodes, cpus=options.cpus)
    else:
        cluster = status(options.state)
    if cluster is None:
        sys.stderr.write("no cluster is up; start one with `make cluster-up`\n")
        return 1
    _report(cluster)
    return 0


if __name__ == "__main__":
    try:
        sys.exit(main())
    except (NodeFailed, ShardlineError) as error:
        sys.stderr.write(f"{error}\n")
        sys.exit(1)
