"""The whole line with its store in a bucket: nothing but the URI and AWS_* variables differ.

The bucket takes no checkpoints for a while: the command ends with a sentence, the next goes on.
"""

import os
import subprocess
import sys

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
import contextlib, json, pathlib, sys, urllib.request
import orjson
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
sys.stdout.buffer.write(orjson.dumps([code, made, scored, again, answer]))
"""


@pytest.mark.timeout(DEADLINE_S + 10)
def test_line_runs_on_a_bucket_from_raw_rows_to_an_answer(tmp_path, s3_store):
    classifier_line(tmp_path)
    mended = tmp_path / "mended"
    overrides = [
        f"store={s3_store.uri}", "train.workers=2", "export.alias=production", "serve.port=0",
        "train.checkpoint={every_steps: 5, keep: 100}",
    ]  # fmt: skip
    aws = {name: value for name, value in os.environ.items() if name.startswith("AWS_")}

    def takes_one_checkpoint(request):
        is_later = "/step-" in request.path and "/step-00000005/" not in request.path
        is_down = request.method == "PUT" and is_later and not mended.exists()
        return Fault("error", 503) if is_down else None

    with FaultProxy(aws["AWS_ENDPOINT_URL"]).running() as proxy:
        proxy.follow(takes_one_checkpoint)
        done = subprocess.run(
            [sys.executable, "-c", LINE, mended, tmp_path / "toy.yaml", *overrides],
            env=environment(**aws | {"AWS_ENDPOINT_URL": proxy.endpoint}),
            capture_output=True,
            timeout=DEADLINE_S,
            check=False,
        )
    assert done.returncode == 0, done.stderr.decode()
    code, made, scored, again, answer = orjson.loads(done.stdout)

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
