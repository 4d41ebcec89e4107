"""The command line as strangers use it: in a process of its own, watched from outside."""

import json
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

SHARDLINE = (sys.executable, "-m", "shardline")
EXAMPLES = Path(__file__).parents[2] / "examples"


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


def run_process(*arguments, timeout_s=240, **options):
    """One command in a process of its own, to its end."""
    done = subprocess.run(
        [*SHARDLINE, *map(str, arguments)],
        capture_output=True,
        text=True,
        timeout=timeout_s,
        **options,
    )
    return Done(done.returncode, done.stdout, done.stderr)


def processes_naming(text):
    """Ids of living processes with `text` in their command line."""
    found = []
    for folder in Path("/proc").iterdir():
        try:
            if folder.name.isdigit() and text.encode() in (folder / "cmdline").read_bytes():
                found.append(int(folder.name))
        except OSError:
            continue  # ended meanwhile
    return found
