"""What is said about failed workers: one sentence, from whatever they or Ray raised."""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

from shardline.errors import (
    InputError,
    ModelError,
    NotFiniteError,
    ShardlineError,
    StalledError,
    TrainingError,
)
from shardline.training.exchange.peers import Exchange
from shardline.training.stopping.requests import StopRequested, has_stepped

MISTAKES = (
    ArithmeticError, AssertionError, AttributeError, ImportError, LookupError, NameError,
    NotImplementedError, TypeError, ValueError,
)  # fmt: skip
"""What programs raise for mistakes in them; machines and networks raise others."""


@contextmanager
def naming_the_step(exchange: Exchange, record: Any) -> Iterator[None]:
    """Have a failure inside the block say which rank failed at which step.

    Args:
        exchange: Connects the workers.
        record: Has the `global_step`.
    """
    try:
        yield
    except Exception as error:
        failure = getattr(exchange, "failure", None)
        told = explained(error, failure, step=record.global_step, stepped=has_stepped())
        if told is error:
            raise
        raise told from error


def restart_without_blame(reason: Exception) -> Exception:
    """The error after which Ray restarts a group without counting it among `train.max_failures`.

    Ray (2.60, `failure_handling/default.py`) counts an actor that was preempted apart.
    """
    from ray.exceptions import RayActorError

    error: Exception = RayActorError(error_msg=str(reason), preempted=True)
    return error


def explained(
    error: Exception, ring_failure: Exception | None, *, step: int, stepped: bool
) -> Exception:
    """The error to raise for one that ended `fit`.

    TensorFlow passes what a host call raised on as an error of its own, with a traceback for a
    message; the exchange keeps the original. And what Python code raises while the first step is
    traced it raises on every worker and every time: nothing to start again for.

    Args:
        error: What `fit` raised.
        ring_failure: The first failure of the exchange between ranks, which names them.
        step: Optimizer steps that were done.
        stepped: Whether one was done in this process.
    """
    if isinstance(error, InputError | NotFiniteError | StopRequested):
        return error
    if ring_failure is None:
        is_mistake = not stepped and isinstance(error, MISTAKES)
        return ModelError(_of_first_step(error)) if is_mistake else error
    kind = StalledError if isinstance(ring_failure, StalledError) else TrainingError
    return kind(f"at step {step}, {ring_failure}")


def _of_first_step(error: Exception) -> str:
    # Code that TensorFlow has rewritten raises with its own traceback in front of the message.
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    kind = type(error).__name__
    said = lines[-1].removeprefix(f"{kind}:").strip() if lines else "no message"
    return (
        f"the first training step raised {kind}: {said.rstrip('.')}; check the model's train_step, "
        "layers, loss and callbacks with a batch of the dataset."
    )


def sentence_of(error: BaseException) -> str:
    """What an error says, without traceback.

    Ray wraps what a worker's death was noticed by; the innermost says the most.
    """
    inner = getattr(error, "health_check_failure", None) or error.__cause__
    if isinstance(inner, BaseException) and not isinstance(error, ShardlineError):
        return sentence_of(inner)
    lines = [line.strip() for line in str(error).strip().splitlines() if line.strip()]
    return lines[0] if lines else type(error).__name__


def told_by_ranks(failures: Mapping[int, BaseException]) -> str:
    """What all failed ranks say, once where they say the same."""
    said: dict[str, list[str]] = {}
    for rank, error in failures.items():
        said.setdefault(sentence_of(error).rstrip("."), []).append(str(rank))
    if len(said) == 1 < len(failures):
        return next(iter(said))
    return "; ".join(f"rank {', '.join(ranks)}: {told}" for told, ranks in said.items())


def telling(failures: Mapping[int, BaseException]) -> BaseException:
    """The failure that says most about why a group ended.

    When a rank dies, the others lose their peer and say so; a peer that is silent and one that is
    gone say more than an exchange that was closed.
    """

    def weight(error: BaseException) -> int:
        if isinstance(error, StalledError):
            return 0
        return 2 if isinstance(error, TrainingError) else 1

    return min(failures.values(), key=weight)
