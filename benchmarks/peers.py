"""The virtual environments that peers run in: the project's packages, and others in front of them.

Ray's `TensorflowTrainer` trains with Keras 2 (`tf_keras`), which shardline must never import, so it
lies apart in `.peers`. Other input pipelines have environments of their own in folders there.
"""

import os
import subprocess
import sys
import sysconfig
import venv
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
PEERS = ROOT / ".peers"


def peer_python(name: str | None = None) -> Path:
    """The interpreter of an environment, made on first use.

    Args:
        name: Whose requirements are in `peers-NAME.txt`; left out, that of `peers.txt`.
    """
    folder = PEERS / name if name else PEERS
    requirements = Path(__file__).with_name(f"peers-{name}.txt" if name else "peers.txt")
    python = folder / "bin" / "python"
    stamp = folder / requirements.name
    wanted = requirements.read_text()
    if not stamp.exists() or stamp.read_text() != wanted:
        venv.create(folder, with_pip=True, clear=True)
        pip = [python, "-m", "pip", "install", "-qq", "--disable-pip-version-check", "--no-deps"]
        subprocess.run([*pip, "--require-hashes", "-r", requirements], check=True)
        _see_packages_of_this_interpreter(python)
        stamp.write_text(wanted)
    return python


def peer_environment() -> dict[str, str]:
    """Environment variables for a peer's process and what Ray starts from it."""
    own = {name: value for name, value in os.environ.items() if not name.startswith("RAY_")}
    return own | {
        "TF_USE_LEGACY_KERAS": "1",
        "TF_CPP_MIN_LOG_LEVEL": "3",
        "RAY_TRAIN_WORKER_GROUP_START_TIMEOUT_S": "120",
        # Ray's workers give way to other processes, which would count against the peer here.
        "RAY_worker_niceness": "0",
    }


def _see_packages_of_this_interpreter(python: Path) -> None:
    folder = subprocess.run(
        [python, "-c", "import sysconfig; print(sysconfig.get_path('purelib'))"],
        check=True,
        capture_output=True,
        text=True,
    ).stdout.strip()
    (Path(folder) / "project.pth").write_text(sysconfig.get_path("purelib") + "\n")


if __name__ == "__main__":
    sys.stdout.write(f"{peer_python()}\n")
