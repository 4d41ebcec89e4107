"""The git commit that source files belong to, also where they are copies outside of git."""

import os
import subprocess
from collections.abc import Sequence
from pathlib import Path

from pydantic import BaseModel, ConfigDict, ValidationError

TIMEOUT_S = 10.0
NOTE = ".shardline-revision.json"
"""Lies beside copies of source files and tells where they come from."""


class CodeRevision(BaseModel):
    """Where the code can be found again."""

    model_config = ConfigDict(frozen=True, extra="forbid", use_attribute_docstrings=True)

    commit: str
    """Hash of the commit that was checked out."""
    dirty: bool
    """Whether a file differed from that commit, or was not in it."""


def code_revision(folder: Path, files: Sequence[str]) -> CodeRevision | None:
    """The commit that a folder's files were checked out from.

    Args:
        folder: Where the files are.
        files: Their paths below it.

    Returns:
        What `leave_revision` left there, if it did. None where there is no git, no repository, no
        commit in it, or none that git may read.
    """
    if not files:
        return None
    left = _left(folder)
    if left is not None:
        return left
    commit = _git(folder, "rev-parse", "--verify", "--quiet", "HEAD")
    if not commit:
        return None
    # Files that git ignores are in no commit either.
    options = ("--porcelain", "--untracked-files=all", "--ignored=matching")
    changed = _git(folder, "status", *options, "--", *files)
    return None if changed is None else CodeRevision(commit=commit.strip(), dirty=bool(changed))


def leave_revision(folder: Path, revision: CodeRevision | None) -> None:
    """Note beside copies of source files which commit they come from, if it is known."""
    if revision is not None:
        (folder / NOTE).write_text(revision.model_dump_json(), encoding="utf-8")


def _left(folder: Path) -> CodeRevision | None:
    try:
        return CodeRevision.model_validate_json((folder / NOTE).read_bytes())
    except (OSError, ValidationError):
        return None


def _git(folder: Path, *arguments: str) -> str | None:
    # A repository's own settings may name programs for git to run: here they stay unused.
    command = ["git", "--no-optional-locks", "-c", "core.fsmonitor=false", "-C", str(folder)]
    # Git sets such variables for its hooks, where they would lead to the hook's own repository.
    environment = {name: v for name, v in os.environ.items() if not name.startswith("GIT_")}
    try:
        done = subprocess.run(
            [*command, *arguments],
            env=environment,
            capture_output=True,
            text=True,
            timeout=TIMEOUT_S,
            check=True,
        )
    except (OSError, subprocess.SubprocessError, UnicodeDecodeError):
        return None
    return done.stdout
