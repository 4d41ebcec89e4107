"""A real endpoint: Ray Serve, HAProxy, a SavedModel that the registry holds, and HTTP clients."""

import hashlib
import json
import os
import re
import socket
import subprocess
import sys
import textwrap
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import httpx
import numpy as np
import pytest

from shardline.artifacts.manifest import Lineage, ModelManifest
from shardline.artifacts.registry import publish
from shardline.data.schema import Column, Label
from shardline.errors import InputError, ResourceError, ServingError
from shardline.serving import endpoint as endpoint_module
from shardline.serving.endpoint import check_endpoint, start_endpoint
from shardline.serving.ray_internals import shut_serve_down
from shardline.spec.output import ServeSpec
from shardline.store import open_store

DEADLINE_S = 120.0
MAX_QUEUE = 4
PREDICT = "/v1/models/probe:predict"
# Iterations of a graph loop that keep one core busy for about a second.
LONG_SPIN = 300_000


@pytest.fixture(scope="module")
def store(tmp_path_factory):
    store = open_store(f"file://{tmp_path_factory.mktemp('store')}")
    publish_probe(store, tmp_path_factory.mktemp("saved_model"))
    return store


@pytest.fixture(scope="module")
def endpoint(ray_session, store):
    serve = ServeSpec(port=0, max_batch=8, timeout_ms=20_000, max_queue=MAX_QUEUE)
    with start_endpoint(store, serve, model="probe", version=1) as endpoint:
        yield endpoint


@pytest.fixture(scope="module")
def client(endpoint):
    with httpx.Client(base_url=endpoint.url, timeout=DEADLINE_S) as client:
        yield client


def publish_probe(store, folder):
    """A model that adds up its pixels, shouts its city, fails on negatives and spins on request."""
    import tensorflow as tf

    class Probe(tf.Module):
        @tf.function(
            input_signature=[
                tf.TensorSpec([None, 2], tf.float32, "x"),
                tf.TensorSpec([None, 1], tf.string, "city"),
                tf.TensorSpec([None, 1], tf.int32, "spin"),
            ]
        )
        def serve(self, x, city, spin):
            spun = tf.while_loop(
                lambda i: i < tf.reduce_max(spin), lambda i: (i + 1,), (tf.constant(0),)
            )
            check = tf.debugging.Assert(tf.reduce_all(x >= 0), ["a negative pixel"])
            with tf.control_dependencies([check, *spun]):
                total = tf.reduce_sum(x, axis=1, keepdims=True)
            return {"total": total, "loud": tf.strings.upper(city, encoding="utf-8")}

    probe = Probe()
    tf.saved_model.save(probe, str(folder), signatures={"serving_default": probe.serve})
    paths = [path for path in folder.rglob("*") if path.is_file()]
    digest = {name: "0" * 64 for name in Lineage.model_fields if name.endswith("_digest")}
    manifest = ModelManifest(
        name="probe",
        version=1,
        created_unix_s=0.0,
        inputs=(
            Column(name="x", dtype="float32", shape=(2,)),
            Column(name="city", dtype="string"),
            Column(name="spin", dtype="int32"),
        ),
        outputs=(Column(name="total", dtype="float32"), Column(name="loud", dtype="string")),
        label=Label(name="total", dtype="float32"),
        metrics={},
        parity_max_abs_error=0.0,
        lineage=Lineage(
            dataset="none", dataset_version="0", run="none", step=0, libraries={}, **digest
        ),
        files={
            str(path.relative_to(folder)): hashlib.sha256(path.read_bytes()).hexdigest()
            for path in paths
        },
    )
    publish(store, manifest, folder)


def row(x=(1, 2), city="Köln", spin=0):
    return {"x": list(x), "city": city, "spin": spin}


def test_more_replicas_than_free_cpus_is_refused_before_serve_starts(ray_session, store):
    with pytest.raises(ResourceError) as caught:
        start_endpoint(store, ServeSpec(port=0, replicas=50), model="probe", version=1)
    assert re.fullmatch(
        r"serve\.replicas is 50, which needs 50 free CPUs; the cluster has [1-4]\. "
        r"Lower serve\.replicas or add CPUs\.",
        caught.value.message,
    )


def test_model_that_cannot_be_loaded_is_an_error_and_leaves_nothing(ray_session, store):
    serve = check_endpoint(ServeSpec(port=0))
    with pytest.raises(ServingError, match=r"^model 'probe' did not come up: .*NotFoundError"):
        start_endpoint(store, serve, model="probe", version=9)
    assert check_endpoint(serve) == serve


@pytest.fixture
def someone_elses_application(ray_session):
    """Starts an application that is not shardline's in the same session."""
    from ray import serve as ray_serve

    @ray_serve.deployment(ray_actor_options={"num_cpus": 0})
    class Theirs:
        pass

    yield lambda: ray_serve.run(Theirs.bind(), name="theirs", route_prefix="/theirs")
    shut_serve_down()


def test_endpoint_failed_or_closed_leaves_other_applications(
    someone_elses_application, store, monkeypatch
):
    def running():
        from ray import serve as ray_serve

        return set(ray_serve.status().applications)

    with start_endpoint(store, ServeSpec(port=0), model="probe", version=1) as endpoint:
        someone_elses_application()
        # What a start finds that another one overtakes between its check and its deployment.
        monkeypatch.setattr(endpoint_module, "_check_cluster", lambda _: None)
        with pytest.raises(InputError, match="this Ray session already serves a model"):
            start_endpoint(store, ServeSpec(port=0), model="probe", version=1)
        assert running() == {endpoint.application, "theirs"}
        # The proxy takes up the other application's route while this is asked.
        deadline_s = time.monotonic() + DEADLINE_S
        while httpx.get(endpoint.url + "/readyz", timeout=DEADLINE_S).status_code != 200:
            assert time.monotonic() < deadline_s
    assert running() == {"theirs"}


def test_predict_answers_every_row_with_its_own_result(client):
    response = client.post(PREDICT, json={"instances": [row(), row((0.5, 0), "b")]})
    assert response.status_code == 200, response.text
    assert response.headers["content-type"] == "application/json"
    assert response.json() == {
        "predictions": [{"total": 3.0, "loud": "KÖLN"}, {"total": 0.5, "loud": "B"}]
    }


def test_predict_takes_columns_bytes_and_the_version_path(client):
    response = client.post(
        "/v1/models/probe/versions/1:predict",
        json={"inputs": {"x": [[1, 2]], "city": [{"b64": "YQ=="}], "spin": [[0]]}},
    )
    assert response.json() == {"outputs": {"total": [3.0], "loud": ["A"]}}


def test_many_clients_at_once_each_get_their_own_rows(endpoint):
    def ask(number):
        with httpx.Client(base_url=endpoint.url, timeout=DEADLINE_S) as client:
            deadline_s = time.monotonic() + DEADLINE_S
            while time.monotonic() < deadline_s:
                response = client.post(PREDICT, json={"instances": [row((number, 1), str(number))]})
                if response.status_code != 503:
                    return response.json()
        return None

    with ThreadPoolExecutor(12) as pool:
        answers = list(pool.map(ask, range(60)))
    assert answers == [
        {"predictions": [{"total": number + 1.0, "loud": str(number)}]} for number in range(60)
    ]


@pytest.mark.parametrize(
    ("method", "path", "body", "status", "sentence"),
    [
        ("POST", PREDICT, b"{", 400, "the body is not valid JSON: "),
        (
            "POST",
            PREDICT,
            json.dumps({"instances": [row(x=(1, 2, 3))]}).encode(),
            400,
            "column 'x', row 0: got shape [3], expected shape [2].",
        ),
        (
            "POST",
            PREDICT,
            json.dumps({"instances": [row()] * 9}).encode(),
            400,
            "the request has 9 rows; this endpoint takes at most 8 at a time.",
        ),
        ("POST", PREDICT, b" " * 10_000_000, 413, "the body has at least 10000000 bytes; "),
        ("GET", PREDICT, b"", 405, f"{PREDICT} takes POST, not GET."),
        ("POST", "/v1/models/other:predict", b"{}", 404, "no model 'other' here; "),
        ("GET", "/v1/models/probe/versions/7", b"", 404, "no version '7' here; "),
        (
            "POST",
            PREDICT,
            json.dumps({"instances": [row(x=(-1, 2))]}).encode(),
            500,
            "the model failed on this request: InvalidArgumentError: ",
        ),
    ],
)
def test_faulty_request_gets_its_status_and_sentence(client, method, path, body, status, sentence):
    response = client.request(method, path, content=body)
    assert response.status_code == status
    assert response.json()["error"].startswith(sentence)


def test_status_metadata_health_and_readiness_are_answered(client):
    status = client.get("/v1/models/probe").json()["model_version_status"]
    assert [(entry["version"], entry["state"]) for entry in status] == [("1", "AVAILABLE")]
    metadata = client.get("/v1/models/probe/metadata").json()
    assert metadata["model_spec"]["version"] == "1"
    assert client.get("/healthz").status_code == 200
    assert client.get("/readyz").status_code == 200


def test_overload_is_503_with_retry_after_and_the_endpoint_recovers(endpoint, client):
    body = json.dumps({"instances": [row(spin=LONG_SPIN)]}).encode()

    def ask(_):
        return httpx.post(endpoint.url + PREDICT, content=body, timeout=DEADLINE_S)

    with ThreadPoolExecutor(3 * MAX_QUEUE) as pool:
        responses = list(pool.map(ask, range(3 * MAX_QUEUE)))
    refused = [response for response in responses if response.status_code == 503]
    assert {response.status_code for response in responses} == {200, 503}
    assert len(responses) - len(refused) >= MAX_QUEUE
    assert refused[0].headers["retry-after"] == "1"
    assert refused[0].json() == {
        "error": f"the endpoint already holds {MAX_QUEUE} requests; try again in a second."
    }
    assert client.post(PREDICT, json={"instances": [row()]}).status_code == 200


def test_second_endpoint_in_the_same_session_is_refused(endpoint, store):
    with pytest.raises(InputError, match="this Ray session already serves a model"):
        start_endpoint(store, ServeSpec(port=0), model="probe", version=1)


def test_everything_of_the_session_listens_on_loopback(endpoint):
    listening = listening_addresses(session_processes())
    ports = {port for _, port in listening}
    assert int(endpoint.url.rsplit(":", 1)[1]) in ports
    assert int(os.environ["RAY_SERVE_HAPROXY_STATS_PORT"]) in ports
    assert int(os.environ["RAY_SERVE_HAPROXY_METRICS_PORT"]) in ports
    assert {address for address, _ in listening} <= {"127.0.0.1", "::1", "::ffff:127.0.0.1"}


SECOND_ENDPOINT = """
    import sys
    from shardline.cluster.session import session
    from shardline.serving.endpoint import start_endpoint
    from shardline.spec.output import ServeSpec
    from shardline.store import open_store

    with session(num_cpus=2), start_endpoint(
        open_store(sys.argv[1]), ServeSpec(port=0), model="probe", version=1
    ) as endpoint:
        print(endpoint.url, flush=True)
        sys.stdin.read()
"""


def test_two_endpoints_in_two_sessions_answer_side_by_side(endpoint, client, store):
    with subprocess.Popen(
        [sys.executable, "-c", textwrap.dedent(SECOND_ENDPOINT), store.uri],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    ) as second:
        url = second.stdout.readline().strip()
        assert url not in ("", endpoint.url)
        for base in (url, endpoint.url):
            response = httpx.post(base + PREDICT, json={"instances": [row()]}, timeout=DEADLINE_S)
            assert response.json() == {"predictions": [{"total": 3.0, "loud": "KÖLN"}]}
        second.stdin.close()
        assert second.wait(DEADLINE_S) == 0
    assert client.post(PREDICT, json={"instances": [row()]}).status_code == 200
    with pytest.raises(httpx.ConnectError):
        httpx.get(url + "/readyz")


def test_occupied_port_is_refused_before_anything_starts():
    with socket.create_server(("127.0.0.1", 0)) as occupied:
        port = occupied.getsockname()[1]
        with pytest.raises(InputError) as caught:
            check_endpoint(ServeSpec(port=port))
    assert caught.value.exit_code == 2
    assert caught.value.message == (
        f"port {port} of 127.0.0.1 is already in use; stop what listens there, set another "
        "serve.port, or serve.port=0 for a free one."
    )


def test_host_of_another_machine_is_refused():
    with pytest.raises(InputError, match=r"'192\.0\.2\.1', which is no address of this machine"):
        check_endpoint(ServeSpec(host="192.0.2.1"))


def session_processes():
    """Processes that inherited this session's unique settings, this one left out."""
    mark = f"RAY_SERVE_HAPROXY_SOCKET_PATH={os.environ['RAY_SERVE_HAPROXY_SOCKET_PATH']}".encode()
    found = []
    for folder in Path("/proc").iterdir():
        try:
            if folder.name.isdigit() and mark in (folder / "environ").read_bytes():
                found.append(int(folder.name))
        except OSError:
            continue
    return [pid for pid in found if pid != os.getpid()]


def listening_addresses(pids):
    """(address, port) of every TCP socket that one of the processes listens on."""
    inodes = set()
    for pid in pids:
        for link in Path(f"/proc/{pid}/fd").iterdir():
            try:
                target = str(link.readlink())
            except OSError:
                continue
            if target.startswith("socket:["):
                inodes.add(target[len("socket:[") : -1])
    found = set()
    for table, family in (("tcp", socket.AF_INET), ("tcp6", socket.AF_INET6)):
        for line in Path(f"/proc/net/{table}").read_text().splitlines()[1:]:
            fields = line.split()
            if fields[3] == "0A" and fields[9] in inodes:
                address, port = fields[1].split(":")
                # The kernel prints 32-bit words in host order.
                packed = np.frombuffer(bytes.fromhex(address), ">u4").astype("<u4").tobytes()
                found.add((socket.inet_ntop(family, packed), int(port, 16)))
    return found
