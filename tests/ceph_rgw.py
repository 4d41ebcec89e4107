"""A Ceph object gateway of this process alone: Debian's packages, loopback, a folder of its own.

One monitor, one OSD that keeps objects in memory, one gateway. Nothing is configured or written
outside the folder. The packages are unpacked by `tests/fetch_ceph.sh`, or installed.
"""

import ctypes
import os
import shutil
import signal
import socket
import subprocess
import tempfile
import time
import uuid
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path

CEPH_FOLDER = Path(__file__).parents[1] / ".ceph"
"""Where `tests/fetch_ceph.sh` unpacks the packages; the environment's CEPH_FOLDER goes before."""
START_TIMEOUT_S = 60
PR_SET_PDEATHSIG = 1

SETTINGS = """\
[global]
fsid = {fsid}
mon_host = [v2:127.0.0.1:{mon_v2},v1:127.0.0.1:{mon_v1}]
public_addr = 127.0.0.1
cluster_addr = 127.0.0.1
auth_cluster_required = cephx
auth_service_required = cephx
auth_client_required = cephx
keyring = {folder}/keyring
log_file = {folder}/$name.log
admin_socket = {folder}/$name.asok
pid_file =
run_dir = {folder}
crash_dir = {folder}/crash
osd_pool_default_size = 1
osd_pool_default_min_size = 1
osd_pool_default_pg_num = 4
osd_pool_default_pgp_num = 4
osd_pool_default_pg_autoscale_mode = off
osd_crush_chooseleaf_type = 0
mon_allow_pool_size_one = true
mon_max_pg_per_osd = 1000
mon_data_avail_crit = 1
osd_class_load_list = *
osd_class_default_list = *
{plugins}
[mon]
mon_data = {folder}/mon
mon_cluster_log_file = {folder}/cluster.log
[osd]
osd_data = {folder}/osd
osd_objectstore = memstore
memstore_device_bytes = 2147483648
osd_memory_target = 1073741824
"""

KEYRING = (
    ("mon.", ("mon", "allow *")),
    ("client.admin", ("mon", "allow *"), ("osd", "allow *"), ("mgr", "allow *")),
    ("client.rgw.a", ("mon", "allow rwx"), ("osd", "allow rwx")),
    ("osd.0", ("mon", "allow profile osd"), ("osd", "allow *")),
)


class CephMissingError(Exception):
    """Neither unpacked nor installed."""


@contextmanager
def running_gateway(access_key: str, secret_key: str) -> Iterator[str]:
    """The endpoint of a gateway that knows one user, until the block ends.

    Raises:
        CephMissingError: There are no packages.
    """
    # Admin sockets have paths, and those may not be longer than 107 characters.
    folder = Path(tempfile.mkdtemp(prefix="rgw-", dir="/tmp"))
    with ExitStack() as stack:
        stack.callback(shutil.rmtree, folder, ignore_errors=True)
        ceph = _Ceph(folder, stack)
        ceph.start_cluster()
        yield ceph.start_gateway(access_key, secret_key)


class _Ceph:
    def __init__(self, folder: Path, stack: ExitStack) -> None:
        self._folder = folder
        self._stack = stack
        self._unpacked = Path(os.environ.get("CEPH_FOLDER", CEPH_FOLDER)).resolve()
        self._environment = _environment(self._unpacked, folder / "ceph.conf")
        if shutil.which("radosgw", path=self._environment["PATH"]) is None:
            raise CephMissingError(
                f"there is no radosgw in {self._unpacked} or on PATH; run tests/fetch_ceph.sh, or "
                "on Debian: apt-get install radosgw ceph-mon ceph-osd"
            )

    def start_cluster(self) -> None:
        folder, fsid = self._folder, str(uuid.uuid4())
        mon_v2, mon_v1 = free_port(), free_port()
        settings = SETTINGS.format(
            fsid=fsid,
            folder=folder,
            mon_v2=mon_v2,
            mon_v1=mon_v1,
            plugins=_plugin_settings(self._unpacked),
        )
        (folder / "ceph.conf").write_text(settings)
        self._make_keyring()

        addresses = f"[v2:127.0.0.1:{mon_v2},v1:127.0.0.1:{mon_v1}]"
        self._run("monmaptool", "--create", "--fsid", fsid, "--addv", "a", addresses,
                  f"{folder}/monmap")  # fmt: skip
        self._run("ceph-mon", "--mkfs", "-i", "a", "--monmap", f"{folder}/monmap",
                  "--keyring", f"{folder}/keyring")  # fmt: skip
        self._start("ceph-mon", "-f", "-i", "a")

        osd = str(uuid.uuid4())
        (folder / "osd").mkdir()
        self._run("ceph", "osd", "new", osd, "0")
        self._run("ceph-osd", "-i", "0", "--mkfs", "--osd-uuid", osd)
        self._start("ceph-osd", "-f", "-i", "0")

    def start_gateway(self, access_key: str, secret_key: str) -> str:
        port = free_port()
        gateway = self._start(
            "radosgw", "-f", "-n", "client.rgw.a", "--client_mount_timeout=20",
            f"--rgw_frontends=beast endpoint=127.0.0.1:{port}",
        )  # fmt: skip
        if not listens(port, gateway):
            raise RuntimeError(f"radosgw does not listen on {port}:\n{self._logs()}")
        self._run(
            "radosgw-admin", "user", "create", "--uid=tests", "--display-name=tests",
            f"--access-key={access_key}", f"--secret-key={secret_key}",
        )  # fmt: skip
        return f"http://127.0.0.1:{port}"

    def _make_keyring(self) -> None:
        for number, (name, *rights) in enumerate(KEYRING):
            create = ["--create-keyring"] if number == 0 else []
            caps = [word for kind, right in rights for word in ("--cap", kind, right)]
            self._run("ceph-authtool", *create, f"{self._folder}/keyring", "--gen-key",
                      "-n", name, *caps)  # fmt: skip

    def _run(self, *command: str) -> None:
        done = subprocess.run(
            self._resolved(command),
            env=self._environment,
            capture_output=True,
            text=True,
            timeout=START_TIMEOUT_S,
            check=False,
        )
        if done.returncode != 0:
            raise RuntimeError(f"{' '.join(command[:3])} ended with {done.returncode}: "
                               f"{done.stderr[-2000:]}\n{self._logs()}")  # fmt: skip

    def _start(self, *command: str) -> "subprocess.Popen[bytes]":
        output = self._stack.enter_context((self._folder / f"{command[0]}.out").open("wb"))
        process = subprocess.Popen(
            self._resolved(command),
            env=self._environment,
            stdout=output,
            stderr=output,
            preexec_fn=die_with_parent,
        )
        self._stack.callback(end, process)
        return process

    def _resolved(self, command: Sequence[str]) -> list[str]:
        program = shutil.which(command[0], path=self._environment["PATH"])
        assert program is not None, f"{command[0]} is missing"
        # `ceph` is a script for the Python that Debian built its bindings for.
        return [*(["/usr/bin/python3"] if command[0] == "ceph" else []), program, *command[1:]]

    def _logs(self) -> str:
        logs = sorted([*self._folder.glob("*.out"), *self._folder.glob("*.log")])
        return "\n".join(f"{p.name}: {p.read_text(errors='replace')[-1500:]}" for p in logs)


def free_port() -> int:
    """A port on loopback that nobody listens on."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def listens(port: int, process: "subprocess.Popen[bytes]") -> bool:
    """Wait until a server takes connections; False if it ended, or takes too long."""
    deadline = time.monotonic() + START_TIMEOUT_S
    while time.monotonic() < deadline and process.poll() is None:
        with socket.socket() as probe:
            if probe.connect_ex(("127.0.0.1", port)) == 0:
                return True
        time.sleep(0.05)
    return False


def _environment(unpacked: Path, settings: Path) -> dict[str, str]:
    kept: Mapping[str, str] = os.environ
    libraries = [*_libraries(unpacked), *unpacked.glob("lib/*-linux-gnu")]
    return {
        "HOME": kept.get("HOME", "/tmp"),
        "PATH": f"{unpacked}/usr/bin:{unpacked}/usr/sbin:/usr/bin:/bin:/usr/sbin:/sbin",
        "LD_LIBRARY_PATH": ":".join(f"{each}:{each}/ceph" for each in libraries),
        "PYTHONPATH": f"{unpacked}/usr/lib/python3/dist-packages",
        "CEPH_CONF": str(settings),
    }


def _plugin_settings(unpacked: Path) -> str:
    return "".join(
        f"osd_class_dir = {libraries}/rados-classes\n"
        f"erasure_code_dir = {libraries}/ceph/erasure-code\n"
        f"plugin_dir = {libraries}/ceph\n"
        for libraries in _libraries(unpacked)
    )


def _libraries(unpacked: Path) -> list[Path]:
    """The folder of Ceph's libraries, unless they are installed."""
    return [folder.parent for folder in unpacked.glob("usr/lib/*-linux-gnu/rados-classes")]


def die_with_parent() -> None:
    """A test process that is killed leaves no servers behind."""
    ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGKILL)


def end(process: "subprocess.Popen[bytes]") -> None:
    """Kill a server and wait until it is gone."""
    process.kill()
    process.wait(timeout=30)
