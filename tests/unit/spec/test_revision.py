"""The commit of source files, with a real git."""

import subprocess

import pytest

from shardline.model.code import collect_code
from shardline.spec import check_spec
from shardline.spec.revision import NOTE, CodeRevision, code_revision, leave_revision


@pytest.fixture
def repository(tmp_path):
    def git(*arguments):
        identity = ["-c", "user.name=a", "-c", "user.email=a@example.com"]
        command = ["git", "-C", str(tmp_path), *identity, *arguments]
        return subprocess.run(command, check=True, capture_output=True, text=True).stdout.strip()

    git("init", "--quiet")
    (tmp_path / "model.py").write_text("def build(features): return 1")
    (tmp_path / "other.py").write_text("")
    (tmp_path / ".gitignore").write_text("secret.py")
    git("add", ".")
    git("commit", "--quiet", "-m", "first")
    return tmp_path, git("rev-parse", "HEAD")


def test_revision_of_committed_files_is_clean_whatever_lies_beside_them(repository):
    folder, commit = repository
    (folder / "notes.txt").write_text("new")
    (folder / "other.py").write_text("changed")
    assert code_revision(folder, ["model.py"]) == CodeRevision(commit=commit, dirty=False)


@pytest.mark.parametrize("file", ["model.py", "new.py", "secret.py"])
def test_revision_of_changed_new_and_ignored_files_is_dirty(repository, file):
    folder, commit = repository
    (folder / file).write_text("x = 2")
    found = code_revision(folder, [".gitignore", file])
    assert found == CodeRevision(commit=commit, dirty=True)


def test_revision_runs_no_program_that_the_repository_names(repository):
    folder, commit = repository
    trap = folder / "trap.sh"
    trap.write_text(f"#!/bin/sh\ntouch {folder}/sprung\n")
    trap.chmod(0o755)
    with (folder / ".git/config").open("a") as config:
        config.write(f"[core]\n\tfsmonitor = {trap}\n")
    assert code_revision(folder, ["model.py"]).commit == commit
    assert not (folder / "sprung").exists()


def test_revision_outside_of_git_without_commit_and_without_git_is_none(tmp_path, monkeypatch):
    assert code_revision(tmp_path, ["model.py"]) is None
    subprocess.run(["git", "init", "--quiet", str(tmp_path)], check=True)
    assert code_revision(tmp_path, ["model.py"]) is None
    monkeypatch.setenv("PATH", str(tmp_path))
    assert code_revision(tmp_path, ["model.py"]) is None


def test_revision_that_was_left_beside_copies_is_theirs(repository):
    folder, commit = repository
    (folder / "other.py").write_text("changed")
    copies = folder / "copies"  # in the same repository, as a temporary folder may be
    copies.mkdir()
    (copies / "model.py").write_text((folder / "model.py").read_text())
    leave_revision(copies, code_revision(folder, ["model.py", "other.py"]))
    assert code_revision(copies, ["model.py"]) == CodeRevision(commit=commit, dirty=True)
    (copies / NOTE).write_text("torn")
    leave_revision(copies, None)
    assert code_revision(copies, ["model.py"]) == CodeRevision(commit=commit, dirty=True)
    assert code_revision(copies, []) is None


def test_collected_code_knows_its_revision_and_its_digest_does_not(repository):
    folder, commit = repository
    values = {
        "name": "toy",
        "store": "store",
        "data": {"source": {"format": "csv", "path": "x.csv"}, "label": {"name": "y"}},
        "model": {"builder": "model:build"},
    }
    code = collect_code(check_spec(values, where="test").located_at(folder))
    assert code.revision == CodeRevision(commit=commit, dirty=False)
    outside = folder / ".git/outside"  # git takes no part of its own folder for a work tree
    outside.mkdir()
    (outside / "model.py").write_text((folder / "model.py").read_text())
    other = collect_code(check_spec(values, where="test").located_at(outside))
    assert (other.revision, other.digest) == (None, code.digest)
