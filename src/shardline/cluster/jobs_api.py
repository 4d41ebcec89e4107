"""The Jobs API of a cluster: a client that is known to be let in, and jobs followed to their end."""

import asyncio
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from typing import TYPE_CHECKING
from urllib.error import HTTPError
from urllib.parse import urlsplit
from urllib.request import urlopen

from shardline.cluster.process_state import environment, token_access
from shardline.errors import ResourceError

if TYPE_CHECKING:  # pulls in Ray
    from ray.job_submission import JobSubmissionClient

CONNECT_TIMEOUT_S = 10.0
FINISH_TIMEOUT_S = 30.0
POLL_S = 0.3
STOPPED = 130

Write = Callable[[str], object]


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
    """Write a job's output as it comes until the job has ended; its exit code."""
    written = 0
    while True:
        written = _tail(client, job, skip=written, write=write)
        info = client.get_job_info(job)
        if info.status.is_terminal():
            return exit_code(str(info.status), info.driver_exit_code)
        # The stream ends with the job, or with a dashboard that restarts: then it is taken up.
        time.sleep(POLL_S)


def stop(client: "JobSubmissionClient", job: str) -> bool:
    """Stop a job; whether it has ended within the time allowed."""
    client.stop_job(job)
    deadline = time.monotonic() + FINISH_TIMEOUT_S
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
