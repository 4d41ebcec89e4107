"""What is said of servers that only pretend, wrong identities and places that are not there."""

import datetime
import os
import subprocess
import sys
import traceback
from concurrent.futures import ThreadPoolExecutor

import botocore.auth
import pytest
from tests.ceph_rgw import free_port
from tests.s3_servers import S3Server

from shardline.errors import StoreError, StoreUnavailableError
from shardline.store import Store, open_store, retrying


def test_rclone_is_refused_by_name_and_nothing_is_left(rclone, leading_to):
    leading_to(rclone)
    with pytest.raises(StoreError) as refused:
        open_store(f"s3://{rclone.bucket}/root")
    assert refused.value.message == (
        f"store s3://shardline/root cannot be used: the S3 server at {rclone.endpoint} replaced an "
        "object on the condition that there is none; choose a server with conditional writes."
    )
    assert list(Store(f"s3://{rclone.bucket}/root").scan("")) == []


def test_proof_of_one_server_is_none_of_another(any_s3, rclone, leading_to):
    """Same bucket name, same prefix, one process."""
    open_store(f"s3://{any_s3.bucket}/root")
    leading_to(rclone)
    with pytest.raises(StoreError, match=rclone.endpoint):
        open_store(f"s3://{rclone.bucket}/root")


PROBES = """
import sys
from shardline.store import Store
for _ in range(3):
    from shardline.store import probe
    probe._proven.clear()
    Store(sys.argv[1]).probe()
"""


def test_probes_of_several_processes_do_not_disturb_each_other(any_s3):
    uri = f"s3://{any_s3.bucket}/shared"
    command = [sys.executable, "-c", PROBES, uri]

    def run(_):
        return subprocess.run(command, capture_output=True, text=True, timeout=120, check=False)

    with ThreadPoolExecutor(2) as pool:
        for ended in pool.map(run, range(2)):
            assert (ended.returncode, ended.stderr) == (0, "")
    assert list(Store(uri).scan("")) == []


@pytest.mark.parametrize("change", [{"secret_key": "not-the-secret"}, {"access_key": "nobody"}])
def test_wrong_credentials_are_a_sentence_without_the_secret(rgw, leading_to, change):
    wrong = S3Server(**{"name": "rgw", "endpoint": rgw.endpoint} | change)
    leading_to(wrong)
    with pytest.raises(StoreError) as refused:
        open_store("s3://shardline/root")
    said = refused.value.message
    assert said.startswith("s3://shardline/root/.shardline/probes/")
    assert "refused this identity (" in said
    assert said.endswith("check the credentials and that they may read and write this prefix.")
    assert wrong.secret_key not in said + variables_of(refused.value)
    filesystem, root = Store("s3://shardline/root").filesystem()
    with pytest.raises(OSError, match=r"ACCESS_DENIED|403") as refused:
        filesystem.open_input_file(f"{root}/k")
    assert wrong.secret_key not in str(refused.value) + variables_of(refused.value)


def variables_of(error):
    """Of shardline's frames, as tracebacks show them that print variables."""
    frames = traceback.TracebackException.from_exception(error, capture_locals=True).stack
    ours = [frame for frame in frames if "shardline/store/" in frame.filename]
    assert ours
    return repr([frame.locals for frame in ours])


def test_missing_bucket_is_a_sentence(any_s3):
    with pytest.raises(StoreError) as refused:
        open_store("s3://no-such-bucket/root")
    assert refused.value.message.startswith(
        f"bucket 'no-such-bucket' does not exist at {any_s3.endpoint}; create it or fix `store` ("
    )


def test_nobody_at_the_address_is_a_sentence(monkeypatch, leading_to):
    leading_to(S3Server("nobody", f"http://127.0.0.1:{free_port()}"))
    monkeypatch.setattr(retrying, "MAX_ATTEMPTS", 2)
    with pytest.raises(StoreUnavailableError) as failed:
        open_store("s3://b/root")
    said = failed.value.message
    assert f" did not answer at {os.environ['AWS_ENDPOINT_URL']}: " in said
    assert said.endswith("check that the address is right and the server is up, and run it again.")


def test_clock_that_is_wrong_is_a_sentence(rgw, leading_to, monkeypatch):
    leading_to(rgw)
    late = datetime.datetime.now(datetime.UTC) - datetime.timedelta(hours=1)
    monkeypatch.setattr(botocore.auth, "get_current_datetime", lambda: late.replace(tzinfo=None))
    with pytest.raises(StoreError) as refused:
        open_store("s3://shardline/late")
    assert "was refused because this machine's clock is wrong (the server says " in str(
        refused.value
    )
