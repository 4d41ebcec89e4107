"""The Jobs API of a cluster: a client that is let in, and jobs followed to their end."""

import asyncio
import logging
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from http.client import HTTPException
from typing import TYPE_CHECKING
from urllib.error import HTTPError
from urllib.parse import urlsplit
from urllib.request import urlopen

from shardline.cluster.process_state import environment, token_access
from shardline.errors import ResourceError, ShardlineError

if TYPE_CHECKING:  # pulls in Ray
    from ray.job_submission import JobSubmissionClient

CONNECT_TIMEOUT_S = 10.0
STOP_TIMEOUT_S = 30.0
LOST_TIMEOUT_S = 30.0
POLL_S = 0.3
STOPPED = 130

Write = Callable[[str], object]

# They set their own level, and report every upload and every socket they close.
_CHATTY_LOGGERS = (
    "ray.dashboard.modules.dashboard_sdk",
    "ray.dashboard.modules.job.sdk",
    "ray._private.runtime_env.packaging",
)


@contextmanager
def connected_client(address: str) -> Iterator["JobSubmissionClient"]:
    """A client of the cluster with this dashboard.

    Raises:
        ResourceError: Nothing answers there, or the token is refused.
    """
    url = address if "://" in address else f"http://{address}"
    _check_answers(url)
    from ray.exceptions import AuthenticationError
    from ray.job_submission import JobSubmissionClient

    for name in _CHATTY_LOGGERS:
        logging.getLogger(name).setLevel(logging.WARNING)
    with ExitStack() as stack:
        stack.enter_context(token_access())
        # Ray lets this variable overrule the address it is given.
        stack.enter_context(environment({"RAY_API_SERVER_ADDRESS": url}))
        try:
            client = JobSubmissionClient(url)
        except AuthenticationError as error:
            raise ResourceError(
                f"the Ray cluster at {url} refuses this process; set RAY_AUTH_TOKEN to its token."
            ) from error
        except (RuntimeError, ConnectionError) as error:
            raise ResourceError(
                f"what answers at {url} is no Ray dashboard ({error}); give the address that "
                "`ray start` prints for it."
            ) from error
        yield client


def follow(client: "JobSubmissionClient", job: str, *, write: Write) -> int:
    """Write a job's output as it comes until the job has ended; its exit code.

    Raises:
        ShardlineError: The cluster has not answered for a while; the job may still run.
    """
    output = _Output(write)
    lost_since: float | None = None
    while True:
        try:
            asyncio.run(_tail(client, job, output))
            info = client.get_job_info(job)
            if info.status.is_terminal():
                return exit_code(info.status.value, info.driver_exit_code)
            lost_since = None
        except (RuntimeError, OSError) as error:  # dropped, or nobody there
            lost_since = lost_since or time.monotonic()
            if time.monotonic() - lost_since > LOST_TIMEOUT_S:
                raise ShardlineError(
                    f"lost the cluster while following job {job}, which may still run; ask for it "
                    f"with `ray job status {job}`."
                ) from error
        time.sleep(POLL_S)


def stop(client: "JobSubmissionClient", job: str) -> bool:
    """Stop a job; whether it has ended within the time allowed."""
    client.stop_job(job)
    deadline = time.monotonic() + STOP_TIMEOUT_S
    while time.monotonic() < deadline:
        if client.get_job_status(job).is_terminal():
            return True
        time.sleep(POLL_S)
    return False


def exit_code(status: str, driver_exit_code: int | None) -> int:
    """The exit code of a job that has ended, as if its driver had run here."""
    if status == "SUCCEEDED":
        return 0
    if status == "STOPPED":
        return STOPPED
    # None: the driver never ran. Negative: a signal ended it.
    return driver_exit_code if driver_exit_code is not None and driver_exit_code > 0 else 1


@dataclass
class _Output:
    """What has been shown of a job's output, which every new stream tells from its beginning."""

    write: Write
    num_shown: int = 0

    def show(self, text: str, *, start: int) -> None:
        new = text[max(0, self.num_shown - start) :]
        self.write(new)
        self.num_shown += len(new)


async def _tail(client: "JobSubmissionClient", job: str, output: _Output) -> None:
    position = 0
    async for text in client.tail_job_logs(job):
        output.show(text, start=position)
        position += len(text)


def _check_answers(url: str) -> None:
    """Ray's client waits for an answer without end."""
    parts = urlsplit(url)
    if parts.scheme not in ("http", "https") or not parts.hostname:
        raise ResourceError(
            f"{url!r} is no dashboard address; write it as http://host:8265 (a control service's "
            "host:port goes to --address of the other verbs)."
        )
    try:
        with urlopen(f"{url}/api/version", timeout=CONNECT_TIMEOUT_S):
            pass
    except HTTPError:
        return  # it answers; whether it lets us in is asked with the token
    except (OSError, HTTPException) as error:
        raise ResourceError(
            f"no Ray dashboard answers at {url}; check the address and that the cluster is up."
        ) from error
