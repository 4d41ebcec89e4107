"""The smallest example through the ordinary commands: 100 degrees Celsius are 212 Fahrenheit."""

import json
import shutil
import signal
import subprocess

import httpx
import pyarrow.parquet as pq
import pytest
from tests.e2e.commands import EXAMPLES, SHARDLINE, environment

DEADLINE_S = 180
TOLERANCE = 1.0


@pytest.fixture(scope="module")
def celsius(tmp_path_factory):
    """The spec file in a copy of the example."""
    folder = tmp_path_factory.mktemp("examples") / "celsius"
    shutil.copytree(EXAMPLES / "celsius", folder, ignore=shutil.ignore_patterns("store", "__*"))
    return folder / "celsius.yaml"


@pytest.fixture(scope="module")
def celsius_line(celsius, ray_session):
    """The example after `shardline run`."""
    from shardline.cli import main

    assert main(["run", str(celsius)]) == 0
    return celsius


def test_celsius_scores_are_fahrenheit(shardline, celsius_line):
    done = shardline("score", celsius_line, "--set", "score.keep=[celsius]", "--json")
    assert done.code == 0, done.err
    assert (done.json["rows_read"], done.json["rows_scored"]) == (14, 14)
    rows = pq.read_table(done.json["output"].removeprefix("file://")).to_pylist()
    for row in rows:
        assert row["fahrenheit"] == pytest.approx(1.8 * row["celsius"] + 32, abs=TOLERANCE)


def test_celsius_endpoint_answers_212_and_ends_on_sigterm(celsius_line):
    serve = [*SHARDLINE, "serve", str(celsius_line), "--set", "serve.port=0", "--json"]
    with subprocess.Popen(
        serve, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=environment()
    ) as process:
        try:
            report = json.loads(process.stdout.readline())
            assert (report["model"], report["version"]) == ("celsius", 1)
            url = f"{report['url']}/v1/models/celsius:predict"
            for instance in ({"celsius": 100}, {"celsius": [100.0]}):
                answer = httpx.post(url, json={"instances": [instance]}, timeout=DEADLINE_S).json()
                (fahrenheit,) = answer["predictions"][0]
                assert fahrenheit == pytest.approx(212, abs=TOLERANCE)
            process.send_signal(signal.SIGTERM)
            rest, said = process.communicate(timeout=DEADLINE_S)
            assert (process.returncode, rest) == (0, ""), said
            with pytest.raises(httpx.ConnectError):
                httpx.get(report["url"])
        finally:
            process.kill()
