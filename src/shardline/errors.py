"""The one exception tree.

Every message says what was received, what was expected and what to do. The class says what follows:
an `InputError` is the caller's to fix (exit code 2), every other `ShardlineError` is failed work
(exit code 1), and `retryable` says whether the same call may succeed later.
"""


class ShardlineError(Exception):
    """Base of all errors raised on purpose. Its message is one sentence for the user."""

    exit_code = 1
    retryable = False

    def __init__(self, message: str) -> None:
        super().__init__(message)
        self.message = message

    def __reduce__(self) -> tuple[type["ShardlineError"], tuple[str]]:
        # Errors cross process borders inside Ray; the default reduce breaks once a subclass
        # grows constructor arguments of its own.
        return (type(self), (self.message,))


class InputError(ShardlineError):
    """The spec, the data or the arguments are wrong; nothing expensive has started."""

    exit_code = 2


class SpecError(InputError):
    """The spec does not say what shardline can do."""


class DataError(InputError):
    """The source data cannot become a dataset, or a dataset does not fit the request."""


class ModelError(InputError):
    """The user's builder or model does not keep its side of the contract."""


class ResourceError(InputError):
    """The cluster cannot hold what was asked of it."""


class NotFoundError(InputError):
    """A named artifact (dataset, run, checkpoint, model, version, alias) does not exist."""

    @classmethod
    def at(cls, location: str) -> "NotFoundError":
        """The error for an object that a store does not have."""
        return cls(f"there is no {location}; check `store` and the name.")


class FormatError(InputError):
    """A document is of a layout that this version of shardline does not know; nobody touches it."""


class InUseError(InputError):
    """An artifact stays because something refers to it."""


class ConflictError(ShardlineError):
    """Somebody else changed meanwhile what was to be changed; look again before you repeat it."""


class GateError(ShardlineError):
    """A model version did not pass the gate its spec declares, so no alias moved."""


class ParityError(ShardlineError):
    """An exported model does not answer as the model in memory does, so no version was made."""


class IntegrityError(ShardlineError):
    """Stored bytes are not the bytes that were committed."""


class UnsafeModelError(IntegrityError):
    """A model names code, files or sizes that answering needs none of, so it was not loaded."""


class StoreError(InputError):
    """The store cannot be used as configured: address, permission or missing conditional writes."""


class ConditionError(StoreError):
    """The store refused a conditional write, or what else was in that request."""


class StoreUnavailableError(ShardlineError):
    """The store did not answer, or answered with a passing fault."""

    retryable = True


class TrainingError(ShardlineError):
    """Training did not finish; the last committed checkpoint is intact."""


class StalledError(TrainingError):
    """A worker is connected but has said nothing for longer than `train.stall_timeout_s`."""


class NotFiniteError(TrainingError):
    """Loss, gradients or weights became NaN or infinite; trying again would end the same way."""


class ServingError(ShardlineError):
    """The endpoint could not be brought up or did not stay up."""
