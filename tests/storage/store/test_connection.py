"""Where requests go and as whom, by the AWS conventions: for boto3 and Arrow alike."""

import datetime
import json
import os
import pickle
import threading
import traceback
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import botocore.utils
import pytest

from shardline.errors import StoreError
from shardline.store import Store, open_store, s3_connection

BUCKET = "conventions"


@pytest.fixture
def bare(s3_endpoint, monkeypatch, tmp_path):
    """No AWS_* variable but those that lead to files of the test's own."""
    for name in [name for name in os.environ if name.startswith("AWS_")]:
        monkeypatch.delenv(name)
    monkeypatch.setenv("AWS_CONFIG_FILE", str(tmp_path / "config"))
    monkeypatch.setenv("AWS_SHARED_CREDENTIALS_FILE", str(tmp_path / "credentials"))
    monkeypatch.setenv("AWS_EC2_METADATA_DISABLED", "true")
    (tmp_path / "credentials").write_text(
        "[lab]\naws_access_key_id = lab\naws_secret_access_key = lab-secret\n"
    )
    return tmp_path


def check_both_reach(endpoint):
    """boto3 writes and Arrow reads the same object at the endpoint."""
    assert s3_connection.endpoint() == endpoint
    client = s3_connection.client()
    client.create_bucket(Bucket=BUCKET)
    store = open_store(f"s3://{BUCKET}/root")
    store.write("k", b"content")
    filesystem, root = store.filesystem()
    with filesystem.open_input_file(f"{root}/k") as file:
        assert file.read() == b"content"
    store.delete("k")


@pytest.mark.parametrize("variable", ["AWS_ENDPOINT_URL", "AWS_ENDPOINT_URL_S3"])
def test_endpoint_of_the_environment_is_used(bare, s3_endpoint, monkeypatch, variable):
    monkeypatch.setenv("AWS_PROFILE", "lab")
    monkeypatch.setenv("AWS_ENDPOINT_URL", "http://127.0.0.1:9")
    monkeypatch.setenv(variable, s3_endpoint)
    check_both_reach(s3_endpoint)


def test_endpoint_of_a_profile_is_used(bare, s3_endpoint, monkeypatch):
    (bare / "config").write_text(
        f"[profile lab]\nregion = us-east-1\nendpoint_url = {s3_endpoint}\n"
    )
    monkeypatch.setenv("AWS_PROFILE", "lab")
    check_both_reach(s3_endpoint)


def test_endpoint_of_a_profiles_services_is_used(bare, s3_endpoint, monkeypatch):
    (bare / "config").write_text(
        f"[profile lab]\nregion = us-east-1\nservices = here\nendpoint_url = http://127.0.0.1:9\n"
        f"[services here]\ns3 =\n  endpoint_url = {s3_endpoint}\n"
    )
    monkeypatch.setenv("AWS_PROFILE", "lab")
    check_both_reach(s3_endpoint)


def test_no_credentials_are_a_sentence(bare, s3_endpoint, monkeypatch):
    monkeypatch.setenv("AWS_ENDPOINT_URL", s3_endpoint)
    with pytest.raises(StoreError, match=r"^no credentials for s3://b/k; set AWS_ACCESS_KEY_ID"):
        Store("s3://b").read("k")
    filesystem, root = Store("s3://b").filesystem()
    with pytest.raises(StoreError, match=r"^no credentials for http"):
        filesystem.open_input_file(f"{root}/k")


def test_profile_that_is_not_there_is_a_sentence(bare, monkeypatch):
    monkeypatch.setenv("AWS_PROFILE", "nobody")
    with pytest.raises(StoreError) as refused:
        Store("s3://b").read("k")
    assert refused.value.message == (
        "s3://b/k cannot be reached with these settings: The config profile (nobody) could not be "
        "found; check the AWS_* variables and the profile."
    )


@pytest.mark.parametrize("address", ["127.0.0.1:9000", "http://"])
def test_endpoint_that_is_no_address_is_a_sentence(bare, monkeypatch, address):
    monkeypatch.setenv("AWS_PROFILE", "lab")
    monkeypatch.setenv("AWS_ENDPOINT_URL", address)
    with pytest.raises(StoreError, match="set AWS_ENDPOINT_URL to one like http://host"):
        Store("s3://b").read("k")


def test_credentials_in_an_address_are_refused_and_not_repeated(bare, monkeypatch):
    monkeypatch.setenv("AWS_PROFILE", "lab")
    monkeypatch.setenv("AWS_ENDPOINT_URL", "http://me:seeded-secret@127.0.0.1:9")
    for store in (Store("s3://b"), Store("s3://me:seeded-secret@b/root")):
        with pytest.raises(StoreError) as refused:
            store.read("k")
        said = "".join(traceback.format_exception(refused.value))
        assert "set AWS_" in refused.value.message
        assert "seeded-secret" not in said


@pytest.fixture
def instance_role(monkeypatch):
    """The metadata service of a cloud machine, whose keys are about to end; gives those issued."""
    issued = []

    class Metadata(BaseHTTPRequestHandler):
        def do_PUT(self):
            self.answer(b"a-token")

        def do_GET(self):
            if self.path.endswith("/security-credentials/"):
                self.answer(b"the-role")
                return
            # Within the 15 minutes before its end a client asks for the next each time.
            ends = datetime.datetime.now(datetime.UTC) + datetime.timedelta(minutes=14)
            issued.append(f"ROLE{len(issued)}")
            keys = {"Code": "Success", "Type": "AWS-HMAC", "AccessKeyId": issued[-1],
                    "SecretAccessKey": "role-secret", "Token": f"token of {issued[-1]}",
                    "LastUpdated": "2026-01-01T00:00:00Z",
                    "Expiration": ends.strftime("%Y-%m-%dT%H:%M:%SZ")}  # fmt: skip
            self.answer(json.dumps(keys).encode())

        def answer(self, body):
            self.send_response(200)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *_):
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Metadata)
    threading.Thread(target=server.serve_forever, args=(0.05,), daemon=True).start()
    monkeypatch.delenv("AWS_EC2_METADATA_DISABLED")
    monkeypatch.setenv(
        "AWS_EC2_METADATA_SERVICE_ENDPOINT", f"http://127.0.0.1:{server.server_port}/"
    )
    yield issued
    server.shutdown()
    server.server_close()


def test_credentials_of_a_role_are_renewed_for_boto3_and_arrow(
    bare, s3_endpoint, monkeypatch, instance_role
):
    # botocore stretches what ends within 15 minutes and a random number of seconds.
    monkeypatch.setattr(botocore.utils.random, "randint", lambda *_: -600)
    (bare / "credentials").unlink()
    monkeypatch.setenv("AWS_ENDPOINT_URL", s3_endpoint)
    s3_connection.client().create_bucket(Bucket="roles")
    store = Store("s3://roles/root")
    store.write("k", b"content")
    filesystem, root = store.filesystem()
    made, used = s3_connection._arrow_filesystem_for, []

    def noting(settings, keys):
        used.append(tuple(keys))
        return made(settings, keys)

    monkeypatch.setattr(s3_connection, "_arrow_filesystem_for", noting)
    for _ in range(3):
        with filesystem.open_input_file(f"{root}/k") as file:
            assert file.read() == b"content"
        assert store.read("k") == b"content"
    assert len(set(used)) == 3, "each time keys that had just been issued"
    assert used[-1] == (key := used[-1][0], "role-secret", f"token of {key}")
    assert key in instance_role
    assert b"role-secret" not in pickle.dumps(filesystem)
