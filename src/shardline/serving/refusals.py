"""Refusals: why a request gets no prediction, and the HTTP status that says so."""

from typing import ClassVar

from shardline.errors import InputError, ShardlineError


class Refusal(ShardlineError):
    """A request that is answered with an error; its message goes to the client as it is."""

    status: ClassVar[int] = 500
    headers: ClassVar[tuple[tuple[bytes, bytes], ...]] = ()


class MalformedRequestError(Refusal, InputError):
    """The body is not what the model's schema asks for."""

    status = 400


class UnknownPathError(Refusal, InputError):
    """No such model, version or path."""

    status = 404


class WrongMethodError(Refusal, InputError):
    """The path exists, but not for this HTTP method."""

    status = 405


class SlowBodyError(Refusal, InputError):
    """The body did not arrive before the request's deadline."""

    status = 408


class BodyTooLargeError(Refusal, InputError):
    """The body is larger than the largest valid request could be."""

    status = 413


class OverloadError(Refusal):
    """The queue is full; the same request may succeed a second later."""

    status = 503
    headers = ((b"retry-after", b"1"),)
    retryable = True


class NotReadyError(Refusal):
    """The model is still loading or the replica is going away."""

    status = 503
    headers = ((b"retry-after", b"1"),)
    retryable = True


class DeadlineError(Refusal):
    """The deadline passed before the model answered."""

    status = 504
    retryable = True


class ModelFailureError(Refusal):
    """The model itself failed on this request, alone in its batch."""

    status = 500
