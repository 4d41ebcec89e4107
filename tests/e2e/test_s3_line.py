"""The whole line with its store in a bucket: nothing but the URI and AWS_* variables differ."""

import os
import subprocess
import sys

import orjson
import pyarrow.parquet as pq
import pytest
from tests.e2e.commands import environment
from tests.lines import classifier_line

DEADLINE_S = 280

# Ray's workers have the variables of the process that starts Ray, so it is one with no Ray yet.
LINE = """
import dataclasses, json, sys, urllib.request
import orjson
import shardline

spec = shardline.load_spec(sys.argv[1], overrides=sys.argv[2:])
with shardline.session(num_cpus=3):
    made = shardline.run(spec)
    scored = shardline.score(spec)
    again = shardline.score(spec)
    with shardline.serve(spec) as endpoint:
        body = json.dumps({"instances": [{"a": 0.5, "b": -0.5}]}).encode()
        url = f"{endpoint.url}/v1/models/{endpoint.model}:predict"
        answer = json.load(urllib.request.urlopen(url, data=body))
sys.stdout.buffer.write(orjson.dumps([made, scored, again, answer]))
"""


@pytest.mark.timeout(DEADLINE_S + 10)
def test_line_runs_on_a_bucket_from_raw_rows_to_an_answer(tmp_path, s3_store):
    classifier_line(tmp_path)
    overrides = [
        f"store={s3_store.uri}", "train.workers=2", "export.alias=production", "serve.port=0",
    ]  # fmt: skip
    aws = {name: value for name, value in os.environ.items() if name.startswith("AWS_")}
    done = subprocess.run(
        [sys.executable, "-c", LINE, str(tmp_path / "toy.yaml"), *overrides],
        env=environment(**aws),
        capture_output=True,
        timeout=DEADLINE_S,
        check=False,
    )
    assert done.returncode == 0, done.stderr.decode()
    made, scored, again, answer = orjson.loads(done.stdout)

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
