"""The whole line with its store in a bucket: nothing but the URI and AWS_* variables differ.

The bucket takes no checkpoints for a while: the command ends with a sentence, the next goes on.
The secret that opens the bucket is in the environment, and nowhere else.
"""

import os
import secrets
import subprocess
import sys
import threading
from contextlib import contextmanager, suppress
from pathlib import Path

import orjson
import pyarrow.parquet as pq
import pytest
from tests.e2e.commands import environment
from tests.fault_proxy import Fault, FaultProxy
from tests.lines import classifier_line

from shardline.artifacts.checkpoint import list_checkpoints

DEADLINE_S = 280

# Ray's workers have the variables of the process that starts Ray, so it is one with no Ray yet.
LINE = """
import contextlib, json, os, pathlib, sys, urllib.request
import orjson
import ray
import shardline
from shardline import cli

mended, file, *overrides = sys.argv[1:]
spec = shardline.load_spec(file, overrides=overrides)
options = [word for override in overrides for word in ("--set", override)]
with shardline.session(num_cpus=3):
    with contextlib.redirect_stdout(sys.stderr):
        assert cli.main(["prepare", file, *options]) == 0
        code = cli.main(["train", file, *options, "--set", "train.max_failures=0"])
    pathlib.Path(mended).touch()
    made = shardline.run(spec)
    scored = shardline.score(spec)
    again = shardline.score(spec)
    with shardline.serve(spec) as endpoint:
        body = json.dumps({"instances": [{"a": 0.5, "b": -0.5}]}).encode()
        url = f"{endpoint.url}/v1/models/{endpoint.model}:predict"
        answer = json.load(urllib.request.urlopen(url, data=body))
        folder = pathlib.Path(ray._private.worker.global_worker.node.get_session_dir_path())
        notes = {str(p): p.read_bytes() for p in folder.rglob("*") if p.is_file()}
        notes["runtime_env"] = repr(ray.get_runtime_context().runtime_env).encode()
        secret = os.environ["AWS_SECRET_ACCESS_KEY"].encode()
        ray_told = [len(notes), [name for name, text in notes.items() if secret in text]]
sys.stdout.buffer.write(orjson.dumps([code, made, scored, again, answer, ray_told]))
"""


@contextmanager
def command_lines():
    """Those of all processes of this machine while the block runs."""
    seen, over = set(), threading.Event()

    def watch():
        while not over.wait(0.2):
            for path in Path("/proc").glob("[0-9]*/cmdline"):
                with suppress(OSError):  # it has ended
                    seen.add(path.read_bytes())

    thread = threading.Thread(target=watch)
    thread.start()
    try:
        yield seen
    finally:
        over.set()
        thread.join()


@pytest.mark.timeout(DEADLINE_S + 10)
def test_line_runs_on_a_bucket_from_raw_rows_to_an_answer(tmp_path, s3_store):
    classifier_line(tmp_path)
    mended = tmp_path / "mended"
    overrides = [
        f"store={s3_store.uri}", "train.workers=2", "export.alias=production", "serve.port=0",
        "train.checkpoint={every_steps: 5, keep: 100}",
    ]  # fmt: skip
    aws = {name: value for name, value in os.environ.items() if name.startswith("AWS_")}
    secret = aws["AWS_SECRET_ACCESS_KEY"] = f"seeded-{secrets.token_hex(16)}"

    def takes_one_checkpoint(request):
        is_later = "/step-" in request.path and "/step-00000005/" not in request.path
        is_down = request.method == "PUT" and is_later and not mended.exists()
        return Fault("error", 503) if is_down else None

    with FaultProxy(aws["AWS_ENDPOINT_URL"]).running() as proxy, command_lines() as lines:
        proxy.follow(takes_one_checkpoint)
        done = subprocess.run(
            [sys.executable, "-c", LINE, mended, tmp_path / "toy.yaml", *overrides],
            env=environment(**aws | {"AWS_ENDPOINT_URL": proxy.endpoint}),
            capture_output=True,
            timeout=DEADLINE_S,
            check=False,
        )
    assert done.returncode == 0, done.stderr.decode()
    code, made, scored, again, answer, ray_told = orjson.loads(done.stdout)

    said = done.stderr.decode()
    assert code == 1
    assert "run 'toy' failed 1 times, last with: " in said
    assert "answered 503" in said
    assert "its checkpoints are intact, the same command continues it." in said
    committed = [r.path for r in proxy.requests if r.path.endswith("/checkpoint.json")]
    commits = [path for path in committed if "/step-00000005/" in path]
    assert [c.step for c in list_checkpoints(s3_store, "toy")][:2] == [5, 10]
    assert sum(r.method == "PUT" and r.path in commits for r in proxy.requests) == 1, (
        "the second command went on from step 5"
    )
    assert made["prepare"]["rows_kept"] == 300
    assert [entry["epoch"] for entry in made["train"]["history"]] == [0, 1, 2]
    assert made["evaluate"]["rows"] == made["prepare"]["splits"]["test"]
    assert (scored["rows_read"], scored["rows_rejected"], scored["reused"]) == (300, 0, 0)
    assert again["reused"] > 0
    (prediction,) = answer["predictions"]
    assert sum(prediction["p"]) == pytest.approx(1, abs=1e-5)

    for result in (made["prepare"], made["train"], made["export"]):
        assert result["uri"].startswith(s3_store.uri)
    markers = {entry.key.rpartition("/")[2] for entry in s3_store.scan("")}
    assert markers >= {
        "dataset.json", "run.json", "checkpoint.json", "model.json", "production.json", "score.json"
    }  # fmt: skip
    filesystem, root = s3_store.filesystem()
    parts = scored["output"].removeprefix(f"{s3_store.uri}/")
    assert pq.read_table(f"{root}/{parts}", filesystem=filesystem).num_rows == 300
    assert sorted(path.name for path in tmp_path.iterdir() if path.is_dir()) == []

    assert secret.encode() not in done.stdout + done.stderr
    assert_told_nowhere(secret, lines, ray_told, tmp_path, s3_store)


def assert_told_nowhere(secret, lines, ray_told, folder, store):
    """Not in a command line, Ray's folder and runtime environment, a file or an artifact."""
    assert any(b"raylet" in line for line in lines)
    assert not [line for line in lines if secret.encode() in line]
    num_notes, told = ray_told
    assert num_notes > 20
    assert told == []
    files = [path for path in folder.rglob("*") if path.is_file()]
    assert files
    assert not [path for path in files if secret.encode() in path.read_bytes()]
    assert not [e.key for e in store.scan("") if secret.encode() in store.read(e.key)]
