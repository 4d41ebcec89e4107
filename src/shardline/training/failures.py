"""What is said about failed workers: one sentence, from whatever they or Ray raised."""

from collections.abc import Mapping

from shardline.errors import ShardlineError, StalledError, TrainingError


def explained(
    error: Exception, ring_failure: Exception | None, *, rank: int, step: int
) -> Exception:
    """The error to raise for one that ended `fit`.

    TensorFlow passes what a host call raised on as an error of its own, with a traceback for a
    message; the exchange keeps the original.

    Args:
        error: What `fit` raised.
        ring_failure: The first failure of the exchange between ranks.
        rank: This worker's number.
        step: Optimizer steps that were done.
    """
    if ring_failure is None or isinstance(error, ShardlineError):
        return error
    kind = StalledError if isinstance(ring_failure, StalledError) else TrainingError
    return kind(f"rank {rank}, at step {step}: {ring_failure}")


def sentence_of(error: BaseException) -> str:
    """What an error says, without traceback.

    Ray wraps what a worker's death was noticed by; the innermost says the most.
    """
    inner = getattr(error, "health_check_failure", None) or error.__cause__
    if isinstance(inner, BaseException) and not isinstance(error, ShardlineError):
        return sentence_of(inner)
    lines = [line.strip() for line in str(error).strip().splitlines() if line.strip()]
    return lines[0] if lines else type(error).__name__


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
