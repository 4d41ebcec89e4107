"""The callbacks that the spec names: made on every rank, their state kept across restarts.

They run after the metrics were made global and before the checkpoint is taken, so that all ranks
decide alike and a checkpoint holds what they decided.
"""

import math
from collections.abc import Sequence
from typing import Any

import keras

from shardline.errors import ModelError, SpecError
from shardline.model.code import ModelCode, load_attribute
from shardline.spec.callbacks import CallbackSpec
from shardline.training.exchange.peers import Exchange

State = dict[str, Any]

_KERAS_OWN = frozenset(vars(keras.callbacks.Callback())) | {
    # Its sign is turned when the first epoch ends, once in each process (keras 3.15,
    # `callbacks/monitor_callback.py`); a restored one would be turned back.
    "min_delta",
}


def make_callbacks(specs: Sequence[CallbackSpec], code: ModelCode) -> list[Any]:
    """The callbacks in the order of the spec.

    Raises:
        SpecError: One cannot be made with its arguments.
        ModelError: The user's module does not import.
    """
    return [_made(spec, code) for spec in specs]


class CheckMonitors(keras.callbacks.Callback):  # type: ignore[misc]  # keras ships no types
    """Refuses callbacks that watch nothing, which Keras only warns of; must come before them.

    Args:
        callbacks: The user's.
    """

    def __init__(self, callbacks: Sequence[Any]) -> None:
        super().__init__()
        self._callbacks = callbacks

    def on_epoch_end(self, epoch: int, logs: dict[str, Any] | None = None) -> None:
        """Look at what an epoch's logs hold.

        Raises:
            SpecError: A callback monitors something else.
        """
        for callback in self._callbacks:
            watched = getattr(callback, "monitor", None)
            if isinstance(watched, str) and watched not in (logs or {}):
                raise SpecError(
                    f"train.callbacks: {type(callback).__name__} monitors {watched!r}, which is "
                    f"not among the logs of an epoch; use one of {', '.join(sorted(logs or {}))}."
                )


class UserCallbacks(keras.callbacks.Callback):  # type: ignore[misc]  # keras ships no types
    """Watches the user's callbacks; must come right after them and before `Record`.

    Args:
        callbacks: The user's, in order.
        exchange: Connects the workers.
        states: Plain-data attributes from the checkpoint that training continues from.
        resumes_in_epoch: Whether that checkpoint lies inside an epoch.
    """

    def __init__(
        self,
        callbacks: Sequence[Any],
        *,
        exchange: Exchange,
        states: Sequence[State] = (),
        resumes_in_epoch: bool = False,
    ) -> None:
        super().__init__()
        self._resumes_in_epoch = resumes_in_epoch
        self.stopped = False
        """Whether a callback has ended training."""
        self._callbacks = callbacks
        self._exchange = exchange
        self._initial = [plain_attributes(callback) for callback in callbacks]
        self._restored = list(states)
        base = keras.callbacks.Callback
        self._may_stop_in_epoch = any(
            getattr(type(callback), name) is not getattr(base, name)
            for callback in callbacks
            for when in ("begin", "end")
            for name in (f"on_train_batch_{when}", f"on_batch_{when}")
        )

    def states(self) -> tuple[State, ...]:
        """What of each callback has changed since it was made."""
        return tuple(
            {name: v for name, v in plain_attributes(callback).items() if initial.get(name) != v}
            for callback, initial in zip(self._callbacks, self._initial, strict=True)
        )

    def on_train_begin(self, logs: dict[str, Any] | None = None) -> None:
        """Continue where the callbacks were; Keras's own reset themselves when `fit` begins."""
        self._put_back()
        self._rate = _learning_rate(self.model.optimizer)

    def on_epoch_begin(self, epoch: int, logs: dict[str, Any] | None = None) -> None:
        """Undo what a callback does at the beginning of an epoch that was begun before."""
        if self._resumes_in_epoch:
            self._put_back()
            if self._rate is not None:
                self.model.optimizer.learning_rate = self._rate
        self._resumes_in_epoch = False

    def _put_back(self) -> None:
        for callback, state in zip(self._callbacks, self._restored, strict=False):
            for name, value in state.items():
                setattr(callback, name, value)

    def on_train_batch_end(self, batch: int, logs: dict[str, Any] | None = None) -> None:
        """Make sure that all ranks go on, where a callback of the user's could stop one."""
        if self._may_stop_in_epoch:
            self._agree()

    def on_epoch_end(self, epoch: int, logs: dict[str, Any] | None = None) -> None:
        """See whether training is to end."""
        if self._callbacks:
            self._agree()
        self.stopped = bool(self.model.stop_training)
        self._restored = list(self.states())  # for the next `fit` of this process

    def _agree(self) -> None:
        votes = self._exchange.all_gather(bytes([bool(self.model.stop_training)]))
        stopping = [rank for rank, vote in enumerate(votes) if vote != b"\0"]
        if stopping and len(stopping) < len(votes):
            names = ", ".join(type(callback).__name__ for callback in self._callbacks)
            raise ModelError(
                f"a callback ({names}) stopped training on ranks {stopping} of {len(votes)} only; "
                "decide from the epoch's logs, which are the same on all workers."
            )


def _learning_rate(optimizer: Any) -> float | None:
    """The rate when callbacks may set it; None when it follows a schedule."""
    inner = getattr(optimizer, "inner_optimizer", optimizer)
    return float(inner.learning_rate) if isinstance(inner._learning_rate, keras.Variable) else None


def plain_attributes(callback: Any) -> State:
    """Attributes that JSON can hold: what a callback remembers, weights and functions aside."""
    return {
        name: value
        for name, value in ((name, _plain(v)) for name, v in vars(callback).items())
        if name not in _KERAS_OWN and value is not _NOT_PLAIN
    }


_NOT_PLAIN = object()


def _plain(value: Any) -> Any:
    if value is None or isinstance(value, bool | int | str):
        return value
    if hasattr(value, "item") and getattr(value, "ndim", None) == 0:
        value = value.item()  # a numpy scalar, such as a best loss
    if isinstance(value, bool | int):
        return value
    if isinstance(value, float):
        # Not finite is how Keras begins, and JSON cannot say it.
        return value if math.isfinite(value) else _NOT_PLAIN
    if isinstance(value, list):
        items = [_plain(item) for item in value]
        return _NOT_PLAIN if any(item is _NOT_PLAIN for item in items) else items
    return _NOT_PLAIN


def _made(spec: CallbackSpec, code: ModelCode) -> Any:
    if spec.is_own:
        kind = load_attribute(code, spec.name, key="train.callbacks")
    else:
        kind = getattr(keras.callbacks, spec.name)
    try:
        callback = kind(**spec.arguments)
    except Exception as error:  # the user's class may raise anything
        raise SpecError(
            f"train.callbacks: {spec.name} cannot be made with {spec.arguments}: "
            f"{type(error).__name__}: {error}."
        ) from error
    if not isinstance(callback, keras.callbacks.Callback):
        raise SpecError(
            f"train.callbacks: {spec.name} is a {type(callback).__name__}, expected a subclass of "
            "keras.callbacks.Callback."
        )
    return callback
