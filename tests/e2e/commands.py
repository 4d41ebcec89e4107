"""The command line as strangers use it: in a process of its own, watched from outside."""

import json
import os
import re
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

from shardline.store import Store

SHARDLINE = (sys.executable, "-m", "shardline")
ROOT = Path(__file__).parents[2]
EXAMPLES = ROOT / "examples"

# Taken at import: a session sets its token and settings in this process's environment.
_ENVIRONMENT = {
    name: value
    for name, value in os.environ.items()
    if not name.startswith(("RAY_", "SHARDLINE_", "AWS_"))
}


@dataclass(frozen=True)
class Done:
    """What a finished command left."""

    code: int
    out: str
    err: str

    @property
    def sentence(self):
        """The last line on stderr."""
        return self.err.splitlines()[-1] if self.err else ""

    @property
    def json(self):
        """The one JSON object on stdout."""
        (line,) = self.out.splitlines()
        return json.loads(line)


def environment(**variables):
    """A stranger's environment: nothing of the test session's own Ray in it."""
    return _ENVIRONMENT | variables


def run_process(*arguments, command=SHARDLINE, cwd=None, timeout_s=240, **variables):
    """One command in a process of its own, to its end; `variables` join its environment."""
    done = subprocess.run(
        [*command, *map(str, arguments)],
        capture_output=True,
        text=True,
        cwd=cwd,
        env=environment(**variables),
        timeout=timeout_s,
        check=False,
    )
    return Done(done.returncode, done.stdout, done.stderr)


def processes_with(variable):
    """Command lines, by process id, of living processes that inherited a `NAME=VALUE`."""
    found = {}
    for folder in Path("/proc").iterdir():
        if not folder.name.isdigit():
            continue
        try:
            if variable.encode() in (folder / "environ").read_bytes().split(b"\0"):
                command = (folder / "cmdline").read_bytes().replace(b"\0", b" ")
                found[int(folder.name)] = command.decode(errors="replace")
        except OSError:
            continue  # ended meanwhile
    return found


def refused(done, sentence):
    """The input was wrong: exit code 2, and this sentence is the last thing said."""
    assert done.code == 2, done.err
    assert done.out == ""
    assert "Traceback" not in done.err
    assert re.fullmatch(sentence, done.sentence), done.sentence


def artifacts(spec, kind):
    """Keys below one of the store's folders."""
    return [entry.key for entry in Store(f"file://{spec.parent}/store").scan(f"{kind}/")]
