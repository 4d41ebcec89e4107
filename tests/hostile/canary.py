"""What a hostile model would do here if it ran: make a file, show a secret, or take memory."""

from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

SECRET = "the-secret-of-this-machine"


@dataclass(frozen=True)
class Canary:
    """Traces of one hostile model."""

    folder: Path

    @classmethod
    def in_folder(cls, folder):
        folder.mkdir(parents=True)
        canary = cls(folder)
        canary.secret.write_text(f"{SECRET}\n")
        return canary

    @property
    def ran(self):
        """The file that its code, or its graph, would make."""
        return self.folder / "ran"

    @property
    def secret(self):
        """A file that it would read."""
        return self.folder / "secret.txt"

    @property
    def sang(self):
        """Whether anything but the secret lies in the folder."""
        return [path.name for path in self.folder.iterdir()] != [self.secret.name]

    def is_heard(self, answer):
        """Whether it sang, or the model tells the secret or where it lies."""
        return self.sang or SECRET in answer or str(self.secret) in answer


@contextmanager
def bounded_memory(max_bytes):
    """Fail if this process's resident memory rises by more inside the block, at its peak."""
    Path("/proc/self/clear_refs").write_text("5")  # the peak counts from now on
    before = _peak_bytes()
    yield
    assert _peak_bytes() - before < max_bytes


def _peak_bytes():
    lines = Path("/proc/self/status").read_text().splitlines()
    (peak,) = (line.split()[1] for line in lines if line.startswith("VmHWM"))
    return int(peak) * 1024
