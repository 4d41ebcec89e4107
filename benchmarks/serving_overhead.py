"""Requests per second and latency of one small model behind three HTTP stacks, interleaved.

`shardline` is our endpoint, `ray serve` is Ray Serve as it comes out of the box, `fastapi` is
FastAPI on uvicorn. All answer 784 floats as JSON with the same SavedModel, one row per request,
over 16 kept-alive connections. All are up all the time and measured in turns.

Run: python benchmarks/serving_overhead.py [seconds per turn] [turns]
"""

import asyncio
import hashlib
import json
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

NUM_FEATURES = 784
NUM_CLASSES = 10
NUM_CONNECTIONS = 16
STACKS = ("shardline", "ray serve", "fastapi")


def main() -> None:
    turn_s = float(sys.argv[1]) if len(sys.argv) > 1 else 4.0
    num_turns = int(sys.argv[2]) if len(sys.argv) > 2 else 5
    with tempfile.TemporaryDirectory(prefix="bench-", dir="/tmp") as folder:
        subprocess.run([sys.executable, __file__, "--export", folder], check=True)
        servers = [_start(stack, folder) for stack in STACKS]
        try:
            ports = [int(server.stdout.readline()) for server in servers if server.stdout]
            _report(_measure(ports, turn_s, num_turns))
        finally:
            for server in servers:
                server.communicate()  # closing its standard input asks it to end


def _start(stack: str, folder: str) -> "subprocess.Popen[str]":
    return subprocess.Popen(
        [sys.executable, __file__, "--serve", folder, stack],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )


def _measure(ports: list[int], turn_s: float, num_turns: int) -> dict[str, list[list[float]]]:
    latencies: dict[str, list[list[float]]] = {stack: [] for stack in STACKS}
    for turn in range(num_turns + 1):
        for stack, port in zip(STACKS, ports, strict=True):
            found = asyncio.run(_load(port, turn_s))
            if turn > 0:  # the first turn warms up
                latencies[stack].append(found)
    return latencies


def _report(latencies: dict[str, list[list[float]]]) -> None:
    print(f"{'stack':<12}{'req/s':>9}{'p50 ms':>9}{'p99 ms':>9}   medians of the turns")
    for stack, turns in latencies.items():
        rates = [len(turn) * NUM_CONNECTIONS / sum(turn) for turn in turns]
        p50 = statistics.median(sorted(turn)[len(turn) // 2] for turn in turns) * 1000
        p99 = statistics.median(sorted(turn)[len(turn) * 99 // 100] for turn in turns) * 1000
        spread = f"{min(rates):.0f}-{max(rates):.0f}"
        print(f"{stack:<12}{statistics.median(rates):9.0f}{p50:9.1f}{p99:9.1f}   {spread} req/s")


async def _load(port: int, seconds: float) -> list[float]:
    """Seconds that each request took, from all connections."""
    pixels = [round(i / NUM_FEATURES, 6) for i in range(NUM_FEATURES)]
    body = json.dumps({"instances": [pixels]}).encode()
    head = (
        f"POST /v1/models/m:predict HTTP/1.1\r\nHost: localhost:{port}\r\n"
        f"Content-Type: application/json\r\nContent-Length: {len(body)}\r\n\r\n"
    )
    request = head.encode() + body
    end_s = time.perf_counter() + seconds
    lists = await asyncio.gather(*(_ask(port, request, end_s) for _ in range(NUM_CONNECTIONS)))
    return [latency for found in lists for latency in found]


async def _ask(port: int, request: bytes, end_s: float) -> list[float]:
    # Streams instead of an HTTP client: on 2 cores the client must stay cheap.
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    latencies = []
    while (start_s := time.perf_counter()) < end_s:
        writer.write(request)
        head = (await reader.readuntil(b"\r\n\r\n")).lower()
        if b"content-length:" in head:
            length = int(head.split(b"content-length:")[1].split(b"\r\n")[0])
            answer = await reader.readexactly(length)
        else:
            answer = await reader.readuntil(b"\r\n0\r\n\r\n")
        if not head.startswith(b"http/1.1 200"):
            raise RuntimeError(f"port {port} answered {head!r} {answer[:200]!r}")
        latencies.append(time.perf_counter() - start_s)
        if b"connection: close" in head:
            writer.close()
            reader, writer = await asyncio.open_connection("127.0.0.1", port)
    writer.close()
    return latencies


def export(folder: str) -> None:
    """A two-layer network as version 1 of model `m` in a store."""
    import tensorflow as tf

    from shardline.artifacts.manifest import Lineage, ModelManifest
    from shardline.artifacts.registry import publish
    from shardline.data.schema import Column, Label
    from shardline.store import open_store

    class Network(tf.Module):
        def __init__(self) -> None:
            super().__init__()
            self.hidden = tf.Variable(tf.random.normal([NUM_FEATURES, 128], stddev=0.05))
            self.head = tf.Variable(tf.random.normal([128, NUM_CLASSES], stddev=0.05))

        @tf.function(input_signature=[tf.TensorSpec([None, NUM_FEATURES], tf.float32, "x")])
        def answer(self, x: tf.Tensor) -> dict[str, tf.Tensor]:
            return {"p": tf.nn.softmax(tf.nn.relu(x @ self.hidden) @ self.head)}

    network = Network()
    saved = Path(folder) / "saved_model"
    tf.saved_model.save(network, str(saved), signatures={"serving_default": network.answer})
    files = [path for path in saved.rglob("*") if path.is_file()]
    digests = {name: "0" * 64 for name in Lineage.model_fields if name.endswith("_digest")}
    manifest = ModelManifest(
        name="m",
        version=1,
        created_unix_s=time.time(),
        inputs=(Column(name="x", dtype="float32", shape=(NUM_FEATURES,)),),
        outputs=(Column(name="p", dtype="float32", shape=(NUM_CLASSES,)),),
        label=Label(name="p", dtype="int64"),
        metrics={},
        parity_max_abs_error=0.0,
        lineage=Lineage(
            dataset="none", dataset_version="0", run="none", step=0, libraries={}, **digests
        ),
        files={
            str(path.relative_to(saved)): hashlib.sha256(path.read_bytes()).hexdigest()
            for path in files
        },
    )
    publish(open_store(f"file://{folder}/store"), manifest, saved)


def serve_shardline(folder: str) -> None:
    from shardline.cluster.session import session
    from shardline.serving.endpoint import start_endpoint
    from shardline.spec.output import ServeSpec
    from shardline.store import open_store

    store = open_store(f"file://{folder}/store")
    serve = ServeSpec(port=0, timeout_ms=10_000)
    with session(num_cpus=2), start_endpoint(store, serve, model="m", version=1) as endpoint:
        print(endpoint.url.rsplit(":", 1)[1], flush=True)
        sys.stdin.read()


def serve_ray(folder: str) -> None:
    import ray
    from ray import serve
    from starlette.requests import Request

    from shardline.cluster.ports import free_port

    @serve.deployment(max_ongoing_requests=100)
    class Model:
        def __init__(self) -> None:
            import tensorflow as tf

            self.loaded = tf.saved_model.load(f"{folder}/saved_model")
            self.signature = self.loaded.signatures["serving_default"]

        async def __call__(self, request: Request) -> dict[str, object]:
            import tensorflow as tf

            rows = (await request.json())["instances"]
            answer = self.signature(x=tf.constant(rows, tf.float32))["p"]
            return {"predictions": answer.numpy().tolist()}

    port = free_port("127.0.0.1")
    with tempfile.TemporaryDirectory(prefix="bench-", dir="/tmp") as ray_folder:
        ray.init(
            address="local",
            num_cpus=2,
            include_dashboard=False,
            log_to_driver=False,
            object_store_memory=150 << 20,
            _node_ip_address="127.0.0.1",
            _temp_dir=ray_folder,
        )
        serve.start(http_options={"host": "127.0.0.1", "port": port})
        serve.run(Model.bind())
        print(port, flush=True)
        sys.stdin.read()
        ray.shutdown(wait_for_processes=True)


def serve_fastapi(folder: str) -> None:
    import tensorflow as tf
    import uvicorn
    from fastapi import FastAPI, Request

    from shardline.cluster.ports import free_port

    loaded = tf.saved_model.load(f"{folder}/saved_model")
    signature = loaded.signatures["serving_default"]
    app = FastAPI()

    @app.post("/v1/models/m:predict")
    async def predict(request: Request) -> dict[str, object]:
        rows = (await request.json())["instances"]
        answer = signature(x=tf.constant(rows, tf.float32))["p"]
        return {"predictions": answer.numpy().tolist()}

    port = free_port("127.0.0.1")
    server = uvicorn.Server(uvicorn.Config(app, port=port, log_level="error", access_log=False))

    async def serve_until_told() -> None:
        serving = asyncio.create_task(server.serve())
        while not server.started:
            await asyncio.sleep(0.05)
        print(port, flush=True)
        await asyncio.to_thread(sys.stdin.read)
        server.should_exit = True
        await serving

    asyncio.run(serve_until_told())


if __name__ == "__main__":
    if sys.argv[1:2] == ["--export"]:
        export(sys.argv[2])
    elif sys.argv[1:2] == ["--serve"]:
        by_name = dict(zip(STACKS, (serve_shardline, serve_ray, serve_fastapi), strict=True))
        by_name[sys.argv[3]](sys.argv[2])
    else:
        main()
