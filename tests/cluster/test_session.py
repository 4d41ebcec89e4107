"""Sessions: private when started here, reused when there is one, gone without a trace."""

import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
import ray

from shardline.cluster.answering import check_answers, running_address
from shardline.cluster.session import Session, session
from shardline.errors import ResourceError

START_TIMEOUT_S = 120


@pytest.fixture
def short_tmp() -> Iterator[Path]:
    """A temporary folder whose path leaves room for the names of sockets."""
    folder = Path(f"/tmp/shl-test-{os.getpid()}")
    folder.mkdir()
    yield folder
    assert list(folder.iterdir()) == []
    folder.rmdir()


def test_session_inside_a_session_is_the_same_ray(ray_session: Session) -> None:
    with session() as inner:
        assert (inner.address, inner.local) == (ray_session.address, False)
    assert ray.is_initialized()


@pytest.mark.usefixtures("ray_session")
def test_session_of_another_address_inside_a_session_is_refused() -> None:
    sentence = r"connected to the Ray at 127\.0\.0\.1:\d+, not to 127\.0\.0\.1:1; leave"
    with pytest.raises(ResourceError, match=sentence), session(address="127.0.0.1:1"):
        pass


def test_session_workers_find_their_environment(ray_session: Session) -> None:
    @ray.remote
    def environment() -> dict[str, str]:
        return dict(os.environ)

    found = ray.get(environment.remote())
    assert found["KERAS_BACKEND"] == "tensorflow"
    assert found["MALLOC_TRIM_THRESHOLD_"] == str(4 << 30)
    assert found["RAY_AUTH_TOKEN"] == os.environ["RAY_AUTH_TOKEN"]


def test_session_listens_on_loopback_only(ray_session: Session) -> None:
    import psutil

    def listening(process: psutil.Process) -> set[str]:
        try:
            if "ray" not in " ".join(process.cmdline()):
                return set()
            found = process.net_connections(kind="inet")
        except psutil.NoSuchProcess:
            return set()  # one that an earlier test had, just ending
        return {c.laddr.ip.removeprefix("::ffff:") for c in found if c.status == "LISTEN"}

    processes = [psutil.Process(), *psutil.Process().children(recursive=True)]
    addresses = set().union(*(listening(process) for process in processes))
    assert addresses == {"127.0.0.1"}


def test_sessions_in_turn_restore_the_process_and_write_no_token(
    short_tmp: Path, tmp_path: Path
) -> None:
    code = """
import os, signal
from shardline.cluster.session import session

before = {k: v for k, v in os.environ.items()}, signal.getsignal(signal.SIGTERM)
tokens = set()
for _ in range(2):
    with session(num_cpus=1) as started:
        tokens.add(os.environ["RAY_AUTH_TOKEN"])
        assert started.local
os.environ.pop("RAY_CLIENT_MODE", None)  # Ray's own doing
assert ({k: v for k, v in os.environ.items()}, signal.getsignal(signal.SIGTERM)) == before
assert len(tokens) == 2
"""
    environment = {k: v for k, v in os.environ.items() if not k.startswith("RAY_")}
    done = subprocess.run(
        [sys.executable, "-c", code],
        env=environment | {"TMPDIR": str(short_tmp), "HOME": str(tmp_path)},
        capture_output=True, text=True, timeout=START_TIMEOUT_S, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert not (tmp_path / ".ray").exists()


@pytest.mark.parametrize(
    ("moment", "number", "code"),
    [
        ("starting", signal.SIGINT, -signal.SIGINT),
        ("started", signal.SIGINT, -signal.SIGINT),
        ("started", signal.SIGTERM, 128 + signal.SIGTERM),
    ],
)
def test_session_ended_by_a_signal_leaves_nothing(
    moment: str, number: signal.Signals, code: int, short_tmp: Path
) -> None:
    import psutil

    program = (
        "import time\n"
        "from shardline.cluster.session import session\n"
        "with session(num_cpus=1): print('started', flush=True); time.sleep(300)\n"
    )
    environment = {k: v for k, v in os.environ.items() if not k.startswith("RAY_")}
    driver = subprocess.Popen(
        [sys.executable, "-c", program],
        env=environment | {"TMPDIR": str(short_tmp)},
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
    )
    if moment == "started":
        assert driver.stdout.readline() == b"started\n"
    else:
        deadline = time.monotonic() + START_TIMEOUT_S
        while not list(short_tmp.glob("*/session_latest/logs/gcs_server.out")):
            assert time.monotonic() < deadline
            time.sleep(0.02)
    processes = psutil.Process(driver.pid).children(recursive=True)
    assert processes != []
    driver.send_signal(number)
    assert driver.wait(timeout=60) == code
    _, running = psutil.wait_procs(processes, timeout=10)
    assert running == []


@pytest.mark.parametrize("address", ["nonsense", "ray://host:10001", "http://host:8265", ":6379"])
def test_running_address_of_another_kind_is_refused(address: str) -> None:
    with pytest.raises(ResourceError) as refused:
        running_address(address)
    assert refused.value.message == (
        f"{address!r} is no address of a Ray cluster; write host:port of its control service, "
        "such as 10.0.0.1:6379, and use `shardline submit` for http:// addresses."
    )


def test_check_answers_when_the_listener_stays_silent_gives_up_in_time() -> None:
    import socket

    with socket.socket() as silent:
        silent.bind(("127.0.0.1", 0))
        silent.listen()
        address = f"127.0.0.1:{silent.getsockname()[1]}"
        begun = time.monotonic()
        with pytest.raises(ResourceError, match=f"^no Ray cluster answers at {address}; "):
            check_answers(address, timeout_s=0.5)
        assert time.monotonic() - begun < 10
