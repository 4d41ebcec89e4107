"""What a submitted job knows of the code that it runs."""

import subprocess
from contextlib import contextmanager
from pathlib import Path

from tests.lines import classifier_line

from shardline.cluster import submit as submit_module
from shardline.spec.revision import CodeRevision, code_revision


def test_job_knows_the_commit_of_the_code_that_travels(tmp_path, monkeypatch):
    classifier_line(tmp_path, num_rows=6)
    identity = ("-c", "user.name=a", "-c", "user.email=a@example.com")
    for arguments in (["init", "--quiet"], ["add", "model.py"], ["commit", "--quiet", "-m", "one"]):
        subprocess.run(["git", "-C", str(tmp_path), *identity, *arguments], check=True)
    sent = []

    class Client:
        def submit_job(self, *, runtime_env, **_):
            folder = Path(runtime_env["working_dir"])
            sent.append(code_revision(folder, ["model.py"]))
            return "job"

    @contextmanager
    def connected(_):
        yield Client()

    monkeypatch.setattr(submit_module, "connected_client", connected)
    monkeypatch.setattr(submit_module, "follow", lambda *_, **__: 0)
    assert submit_module.submit("train", tmp_path / "toy.yaml", address="http://127.0.0.1:9") == 0
    committed = code_revision(tmp_path, ["model.py"])
    assert sent == [committed]
    assert committed == CodeRevision(commit=committed.commit, dirty=False)
