"""From the command to the first optimizer step, and from a killed worker to the next one.

    python benchmarks/start_up.py [--rounds 3]

`shardline train` against a script with Ray's stock `TensorflowTrainer` (tf_keras and
`MultiWorkerMirroredStrategy`), both from nothing: a fresh process, a fresh Ray, two workers. Then a
worker of ours is killed with SIGKILL and the time until the restarted group's first step is set
against that cold start. Ray closes a failed group and starts another; a cold start starts Ray too.
"""

import argparse
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import yaml
from peers import peer_environment, peer_python
from rig import HERE, image_line, interleaved, read_stamps, show, show_ratio, stamped

DEADLINE_S = 180.0


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=3)
    rounds = parser.parse_args().rounds
    python = peer_python()
    with tempfile.TemporaryDirectory() as scratch:
        folder = Path(scratch)
        values = image_line(folder)
        shutil.copy(HERE / "models.py", folder)
        recoveries: list[float] = []
        runs = iter(range(1_000))

        def ours() -> float:
            run = f"ours-{next(runs)}"
            train = {
                "run": run,
                "workers": 2,
                "global_batch": 128,
                "epochs": 100_000,
                "checkpoint": {"every_steps": 200},
                "callbacks": stamped(folder / run),
            }
            spec = folder / f"{run}.yaml"
            spec.write_text(yaml.safe_dump(values | {"train": train}))
            command = [sys.executable, "-m", "shardline", "train", str(spec)]
            began_s = time.time()
            with _running(command, dict(os.environ)) as process:
                first_s = _wait_for(process, lambda: _first_step(folder / run, after_s=0.0))
                time.sleep(3)  # let a checkpoint be written
                killed_s = time.time()
                os.kill(int(next((folder / run).glob("*.stamps")).stem), signal.SIGKILL)
                next_s = _wait_for(process, lambda: _first_step(folder / run, after_s=killed_s))
            recoveries.append(next_s - killed_s)
            return first_s - began_s

        def peer() -> float:
            stamps = folder / f"peer-{next(runs)}"
            stamps.mkdir()
            script = HERE / "peer_start_up.py"
            command = [str(python), str(script), str(folder / "rows.parquet"), str(stamps)]
            began_s = time.time()
            with _running(command, peer_environment()) as process:
                return _wait_for(process, lambda: _first_step(stamps, after_s=0.0)) - began_s

        found = interleaved(rounds, {"shardline train": ours, "TensorflowTrainer": peer})
    show("shardline train to first step", found["shardline train"], "s")
    show("TensorflowTrainer to first step (peer)", found["TensorflowTrainer"], "s")
    show_ratio("ours / peer", found["shardline train"], found["TensorflowTrainer"])
    show("kill -9 to next step", recoveries, "s")
    show_ratio("kill -9 to next step / cold start", recoveries, found["shardline train"])


@contextmanager
def _running(command: list[str], environment: dict[str, str]) -> Iterator[subprocess.Popen[bytes]]:
    """A command for the length of the block; it and what it started are ended after it."""
    with tempfile.TemporaryFile() as log:
        process = subprocess.Popen(
            command, env=environment, stdout=log, stderr=log, start_new_session=True
        )
        try:
            yield process
        except RuntimeError:
            log.seek(0)
            sys.stderr.write(log.read().decode(errors="replace"))
            raise
        finally:
            process.send_signal(signal.SIGINT)
            try:
                process.wait(30)
            except subprocess.TimeoutExpired:
                os.killpg(process.pid, signal.SIGKILL)


def _first_step(folder: Path, *, after_s: float) -> float | None:
    """When the last of both processes finished its first step."""
    firsts = [times[0] for times in read_stamps(folder) if len(times) and times[0] > after_s]
    return max(firsts) if len(firsts) == 2 else None


def _wait_for(process: subprocess.Popen[bytes], condition: Callable[[], float | None]) -> float:
    deadline_s = time.monotonic() + DEADLINE_S
    while time.monotonic() < deadline_s and process.poll() is None:
        found = condition()
        if found is not None:
            return found
        time.sleep(0.05)
    raise RuntimeError("no step, or none in time")


if __name__ == "__main__":
    main()
