"""Paths, methods, statuses and sentences of the HTTP side, over a fake model: no Ray, no server."""

import asyncio
import threading
from types import SimpleNamespace

import httpx
import numpy as np
import pytest

from shardline.data.decoding import UndecodableError
from shardline.data.schema import Column
from shardline.serving.asgi import Limits, ModelApp, largest_body_bytes
from shardline.serving.batcher import Batcher

pytestmark = pytest.mark.anyio

FAR_S = 30.0
MANIFEST = SimpleNamespace(
    name="digits",
    version=3,
    inputs=(Column(name="x", dtype="float32", shape=(2,)),),
    outputs=(
        Column(name="total", dtype="float32"),
        Column(name="class", dtype="string"),
    ),
)
PREDICT = "/v1/models/digits:predict"


class Model:
    def __init__(self):
        self.gate = threading.Event()
        self.gate.set()
        self.busy = threading.Event()

    def __call__(self, columns):
        self.busy.set()
        assert self.gate.wait(FAR_S)
        x = columns["x"]
        if (x < 0).any():
            raise ValueError("negative pixel")
        total = x.sum(axis=1, keepdims=True)
        return {"total": total, "class": np.where(total > 1, "big", "small").astype(object)}


@pytest.fixture
def model():
    return Model()


@pytest.fixture
async def batcher(model):
    batcher = Batcher(model, max_batch=4, max_queue=2)
    yield batcher
    model.gate.set()
    await batcher.close()


@pytest.fixture
async def client(batcher):
    limits = Limits(
        max_rows=4,
        timeout_s=FAR_S,
        max_body_bytes=largest_body_bytes(MANIFEST.inputs, max_rows=4),
    )
    transport = httpx.ASGITransport(ModelApp(MANIFEST, batcher, limits))
    async with httpx.AsyncClient(transport=transport, base_url="http://test") as client:
        yield client


async def test_predict_answers_rows_in_both_forms_on_both_paths(client):
    for path in (PREDICT, "/v1/models/digits/versions/3:predict"):
        rows = await client.post(path, json={"instances": [[1, 2], [0, 0.5]]})
        assert rows.status_code == 200
        assert rows.headers["content-type"] == "application/json"
        assert rows.json() == {
            "predictions": [{"total": 3.0, "class": "big"}, {"total": 0.5, "class": "small"}]
        }
        columns = await client.post(path, json={"inputs": {"x": [[1, 2]]}})
        assert columns.json() == {"outputs": {"total": [3.0], "class": ["big"]}}


async def test_status_document_has_tensorflow_servings_form(client):
    for path in ("/v1/models/digits", "/v1/models/digits/versions/3"):
        assert (await client.get(path)).json() == {
            "model_version_status": [
                {
                    "version": "3",
                    "state": "AVAILABLE",
                    "status": {"error_code": "OK", "error_message": ""},
                }
            ]
        }


async def test_metadata_document_describes_the_signature(client):
    document = (await client.get("/v1/models/digits/metadata")).json()
    assert document["model_spec"] == {"name": "digits", "signature_name": "", "version": "3"}
    signature = document["metadata"]["signature_def"]["signature_def"]["serving_default"]
    assert signature["inputs"]["x"]["dtype"] == "DT_FLOAT"
    assert [d["size"] for d in signature["inputs"]["x"]["tensor_shape"]["dim"]] == ["-1", "2"]
    assert signature["outputs"]["class"]["dtype"] == "DT_STRING"
    assert signature["method_name"] == "tensorflow/serving/predict"


@pytest.mark.parametrize(
    ("method", "path", "status", "sentence"),
    [
        ("GET", "/healthz", 200, None),
        ("GET", "/readyz", 200, None),
        ("GET", PREDICT, 405, f"{PREDICT} takes POST, not GET."),
        (
            "POST",
            "/v1/models/digits",
            405,
            "/v1/models/digits takes GET or HEAD, not POST.",
        ),
        (
            "POST",
            "/v1/models/faces:predict",
            404,
            "no model 'faces' here; this endpoint has model 'digits', version 3.",
        ),
        (
            "GET",
            "/v1/models/digits/versions/2",
            404,
            "no version '2' here; this endpoint has model 'digits', version 3.",
        ),
        ("GET", "/v2", 404, "no path '/v2'; try /v1/models/digits:predict."),
        (
            "POST",
            "/v1/models/digits:explain",
            404,
            "no path '/v1/models/digits:explain'; try /v1/models/digits:predict.",
        ),
    ],
)
async def test_path_and_method_decide_the_status(client, method, path, status, sentence):
    response = await client.request(method, path)
    assert response.status_code == status
    if sentence is not None:
        assert response.json() == {"error": sentence}


async def test_malformed_body_is_400_with_its_sentence(client):
    response = await client.post(PREDICT, json={"instances": [[1, 2], [1]]})
    assert response.status_code == 400
    assert response.json() == {"error": "column 'x', row 1: got shape [1], expected shape [2]."}


async def test_model_failure_is_500_with_its_reason(client):
    response = await client.post(PREDICT, json={"instances": [[-1, 2]]})
    assert response.status_code == 500
    assert response.json() == {
        "error": "the model failed on this request: ValueError: negative pixel"
    }


async def test_full_queue_is_503_with_retry_after(client, model):
    model.gate.clear()
    held = [asyncio.create_task(client.post(PREDICT, json={"instances": [[1, 2]]}))]
    assert await asyncio.to_thread(model.busy.wait, FAR_S)
    statuses = []
    while 503 not in statuses:
        held.append(asyncio.create_task(client.post(PREDICT, json={"instances": [[1, 2]]})))
        await asyncio.wait(held, timeout=0.01)
        statuses = [task.result().status_code for task in held if task.done()]
    refused = next(task.result() for task in held if task.done())
    assert refused.headers["retry-after"] == "1"
    assert refused.json() == {
        "error": "the endpoint already holds 2 requests; try again in a second."
    }
    model.gate.set()
    assert sorted({task.status_code for task in await asyncio.gather(*held)}) == [200, 503]


async def test_body_larger_than_any_valid_one_is_413_before_it_is_read(client):
    async def endless():
        while True:
            yield b" " * 65536

    announced = await client.post(PREDICT, content=b" " * 1_000_000)
    streamed = await client.post(PREDICT, content=endless())
    for response in (announced, streamed):
        assert response.status_code == 413
        assert "4 rows of this model need at most " in response.json()["error"]


async def call(app, *messages, path=PREDICT, headers=()):
    """One request whose body arrives as these messages, then nothing."""
    sent = []
    queue = list(messages)

    async def receive():
        return queue.pop(0) if queue else await asyncio.Event().wait()

    async def send(message):
        sent.append(message)

    scope = {"type": "http", "method": "POST", "path": path, "headers": list(headers)}
    await app(scope, receive, send)
    return sent


def quick_app(batcher, timeout_s):
    return ModelApp(
        MANIFEST, batcher, Limits(max_rows=4, timeout_s=timeout_s, max_body_bytes=10_000)
    )


async def test_body_that_does_not_arrive_is_408(batcher):
    part = {"type": "http.request", "body": b"{", "more_body": True}
    start, body = await call(quick_app(batcher, 0.01), part)
    assert start["status"] == 408
    assert b"only 1 bytes of the body arrived within 10 ms" in body["body"]


async def test_busy_model_is_504_at_the_deadline(batcher, model):
    model.gate.clear()
    body = {"type": "http.request", "body": b'{"instances": [[1, 2]]}'}
    start, answer = await call(quick_app(batcher, 0.01), body)
    assert start["status"] == 504
    assert b"the request's deadline; send fewer rows or raise serve.timeout_ms." in answer["body"]


async def test_client_that_leaves_before_its_body_gets_no_answer(batcher):
    assert await call(quick_app(batcher, FAR_S), {"type": "http.disconnect"}) == []


async def test_closed_replica_is_not_ready(client, batcher):
    await batcher.close()
    assert (await client.get("/readyz")).status_code == 503
    assert (await client.get("/healthz")).status_code == 200
    response = await client.post(PREDICT, json={"instances": [[1, 2]]})
    assert response.status_code == 503


def test_largest_body_holds_any_valid_request():
    from shardline.serving.wire import parse_predict

    columns = (
        Column(name="image", dtype="float64", shape=(5, 1, 1)),
        Column(name="n", dtype="int64"),
    )
    number = "-1.2345678901234567e-300"
    row = f'{{"image": [{", ".join([f"[[{number}]]"] * 5)}], "n": [-9223372036854775808]}}'
    body = f'{{"signature_name": "serving_default", "instances": [{", ".join([row] * 8)}]}}'
    assert parse_predict(body.encode(), columns, max_rows=8).num_rows == 8
    assert len(body) < largest_body_bytes(columns, max_rows=8)


async def test_decoding_images_holds_up_no_other_request(batcher, monkeypatch):
    column = Column(name="x", dtype="uint8", shape=(2, 2, 1), encoded=True)
    images = SimpleNamespace(**vars(MANIFEST) | {"inputs": (column,)})
    decoding, answered = threading.Event(), threading.Event()

    def decode(data, column):
        decoding.set()
        assert answered.wait(FAR_S)
        raise UndecodableError("is slow")

    monkeypatch.setattr("shardline.serving.values.decoded_image", decode)
    size = largest_body_bytes(images.inputs, max_rows=4)
    assert size > 4 * (8 << 20)
    app = ModelApp(images, batcher, Limits(max_rows=4, timeout_s=FAR_S, max_body_bytes=size))
    transport = httpx.ASGITransport(app)
    async with httpx.AsyncClient(transport=transport, base_url="http://test") as client:
        body = {"instances": [{"b64": "AAAA"}]}
        request = asyncio.create_task(client.post(PREDICT, json=body))
        assert await asyncio.to_thread(decoding.wait, FAR_S)
        assert (await client.get("/healthz")).status_code == 200
        answered.set()
        refused = await request
    assert refused.status_code == 400
    assert refused.json() == {"error": "column 'x', row 0: image is slow."}
