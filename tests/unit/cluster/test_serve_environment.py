"""Where two endpoints on one machine get their ports and files from."""

import socket
import subprocess
import tempfile
from pathlib import Path

import pytest

from shardline.cluster.ports import free_port, is_port_free
from shardline.cluster.serve_environment import choose_ports, serve_environment
from shardline.errors import ResourceError

LOOPBACK = "127.0.0.1"


@pytest.fixture
def folder(tmp_path_factory):
    """Short, as Unix sockets need it."""
    with tempfile.TemporaryDirectory(prefix="sl-", dir="/tmp") as path:
        yield Path(path)


def test_serve_environment_selects_the_fast_form_inside_the_folder(folder):
    variables = serve_environment(folder, is_free=lambda host, port: True)
    assert variables["RAY_SERVE_ENABLE_HA_PROXY"] == "1"
    assert variables["RAY_SERVE_THROUGHPUT_OPTIMIZED"] == "1"
    paths = [value for value in variables.values() if "/" in value]
    assert len(paths) == 6
    assert all(Path(path).is_relative_to(folder) for path in paths)


def test_serve_environment_with_two_folders_shares_no_port():
    first = choose_ports("one")
    taken = set(first.fixed)
    second = choose_ports("one", is_free=lambda host, port: port not in taken)
    ranges = [{*ports.fixed, *range(ports.grpc[0], ports.http[1] + 1)} for ports in (first, second)]
    assert not ranges[0] & ranges[1]


def test_choose_ports_when_all_are_taken_is_an_input_error():
    with pytest.raises(ResourceError, match="no block of 4 ports is free between 20000 and 32287"):
        choose_ports("x", is_free=lambda host, port: False)


def test_serve_environment_in_a_deep_folder_is_an_input_error(tmp_path):
    deep = tmp_path / ("d" * 60)
    with pytest.raises(ResourceError, match="set TMPDIR to a shorter one"):
        serve_environment(deep)


def test_haproxy_wrapper_puts_only_rays_own_listeners_on_loopback(folder):
    variables = serve_environment(folder, is_free=lambda host, port: True)
    metrics = variables["RAY_SERVE_HAPROXY_METRICS_PORT"]
    stats = variables["RAY_SERVE_HAPROXY_STATS_PORT"]
    config = folder / "haproxy.cfg"
    config.write_text(f"    bind :{metrics}\n    bind *:8000\nlisten stats\n  bind *:{stats}\n")
    # -c only checks the file, which here has no frontends to speak of.
    subprocess.run(
        [variables["RAY_SERVE_HAPROXY_BINARY_PATH"], "-db", "-f", str(config), "-c"],
        check=False,
        capture_output=True,
    )
    assert config.read_text() == (
        f"    bind 127.0.0.1:{metrics}\n    bind *:8000\nlisten stats\n  bind 127.0.0.1:{stats}\n"
    )


def test_port_in_use_is_not_free_and_a_closed_one_is():
    port = free_port(LOOPBACK)
    assert is_port_free(LOOPBACK, port)
    with socket.create_server((LOOPBACK, port)):
        assert not is_port_free(LOOPBACK, port)
        assert not is_port_free("0.0.0.0", port)
    assert is_port_free(LOOPBACK, port)
