"""A verb as a job on a remote cluster: sent through the Jobs API, followed, its exit code ours.

The cluster has shardline installed and access of its own to the store. Only the spec and the
Python files beside it travel; no credentials do.
"""

import json
import secrets
import shlex
import sys
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from itertools import pairwise
from pathlib import Path

from shardline.cluster.jobs_api import STOPPED, connected_client, follow, stop
from shardline.cluster.packing import copy_files, files_to_pack
from shardline.cluster.worker_environment import worker_environment
from shardline.spec import Spec, is_dataset_reference, load_spec
from shardline.spec.revision import code_revision, leave_revision


def submit(
    verb: str, spec_path: str | Path, *, address: str, extra_args: Sequence[str] = ()
) -> int:
    """Run a verb as a job and follow it to its end.

    The job's output appears on stdout as it comes. Ctrl-C stops the job.

    Args:
        verb: A verb of the command line.
        spec_path: The spec file; locations in it are made absolute before it travels.
        address: The cluster's dashboard, such as `http://10.0.0.1:8265`.
        extra_args: Further arguments of the verb, `--set` pairs among them.

    Returns:
        The job's exit code; 130 if it was stopped.

    Raises:
        SpecError: The spec is wrong; nothing was sent.
        ResourceError: The cluster does not answer or refuses the token, or too much would travel.
        ShardlineError: The cluster was lost on the way; the job may still run.
    """
    file = Path(spec_path)
    spec = load_spec(file, overrides=_overrides(extra_args))
    command = ["python", "-m", "shardline", verb, file.name, *extra_args, *_locations(spec)]
    with _packed(file) as folder, connected_client(address) as client:
        job: str = client.submit_job(
            entrypoint=shlex.join(command),
            submission_id=f"shardline-{verb}-{spec.name}-{secrets.token_hex(4)}",
            runtime_env={"working_dir": str(folder), "env_vars": worker_environment()},
        )
        _tell(f"job {job} at {address}; Ctrl-C stops it")
        try:
            return follow(client, job, write=_show)
        except KeyboardInterrupt:
            _tell(f"stopping job {job}")
            ended = stop(client, job)
            _tell(f"job {job} {'is stopped' if ended else 'does not stop; it may still run'}")
            return STOPPED


def _overrides(arguments: Sequence[str]) -> list[str]:
    """The values of `--set` among the arguments, so that the spec is checked as the job sees it."""
    separate = [value for option, value in pairwise(arguments) if option == "--set"]
    return separate + [a.removeprefix("--set=") for a in arguments if a.startswith("--set=")]


def _locations(spec: Spec) -> list[str]:
    """Arguments that name every location absolutely: on the cluster, relative ones lead astray.

    A `file://` location must lie on a file system that the cluster's nodes share.
    """
    places = {"store": spec.store, "data.source.path": spec.data.source.path}
    if not is_dataset_reference(spec.score.input):
        places["score.input"] = spec.score.input
    if spec.score.output is not None:
        places["score.output"] = spec.score.output
    # JSON strings are YAML strings, whatever characters a path holds.
    return [part for key, uri in places.items() for part in ("--set", f"{key}={json.dumps(uri)}")]


@contextmanager
def _packed(spec_file: Path) -> Iterator[Path]:
    """A folder with what travels."""
    files = files_to_pack(spec_file)
    with tempfile.TemporaryDirectory(prefix="shl-job-") as folder:
        copy_files(files, source=spec_file.parent, target=Path(folder))
        code = [file.path.as_posix() for file in files if file.path.suffix == ".py"]
        leave_revision(Path(folder), code_revision(spec_file.parent, code))
        yield Path(folder)


def _show(text: str) -> None:
    sys.stdout.write(text)
    sys.stdout.flush()


def _tell(text: str) -> None:
    sys.stderr.write(f"{text}\n")
    sys.stderr.flush()
