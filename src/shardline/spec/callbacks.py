"""`train.callbacks`: Keras's callbacks by class name, the user's own by `module:name`."""

import difflib
import re
from typing import Any, Self

from pydantic import ConfigDict, model_validator

from shardline.spec.base import Section

_OWN = re.compile(r"^[A-Za-z_]\w*(\.[A-Za-z_]\w*)*:[A-Za-z_]\w*$")

_NUMBER = (int, float)
_MONITORING = {"monitor": str, "min_delta": _NUMBER, "patience": int, "verbose": int, "mode": str}
OFFERED: dict[str, dict[str, Any]] = {
    "EarlyStopping": {**_MONITORING, "baseline": _NUMBER, "start_from_epoch": int},
    "ReduceLROnPlateau": {**_MONITORING, "factor": _NUMBER, "cooldown": int, "min_lr": _NUMBER},
    "SwapEMAWeights": {},
}
"""Arguments and their types. A table, since the driver does not load Keras to look."""

REFUSED = {
    "BackupAndRestore": "every run is continued by the same command; see train.checkpoint",
    "CSVLogger": "the run folder holds metrics.jsonl",
    "History": "the result of `train` holds the history",
    "LambdaCallback": "a spec holds no functions; write a callback and name it module:name",
    "LearningRateScheduler": "give the optimizer a schedule, or name a callback module:name",
    "ModelCheckpoint": "checkpoints are committed as train.checkpoint says",
    "OrbaxCheckpoint": "checkpoints are committed as train.checkpoint says",
    "ProgbarLogger": "`shardline train` shows progress on a terminal",
    "RemoteMonitor": "every worker would post; set MLFLOW_TRACKING_URI, or write a callback",
    "TensorBoard": "the run folder holds tensorboard/, which every run writes",
    "TerminateOnNaN": "it stops one worker alone; shardline watches for such losses itself",
}
"""Callbacks that would do badly what shardline does, and what it does instead."""

REFUSED_ARGUMENTS = {
    ("EarlyStopping", "restore_best_weights"): (
        "every epoch's weights are compared by train.checkpoint.monitor, which keeps the best for "
        "evaluation and export; set that instead"
    ),
    ("SwapEMAWeights", "swap_on_epoch"): "a checkpoint would hold the swapped weights",
}


class CallbackSpec(Section):
    """One callback; keys besides `name` are its constructor's arguments."""

    model_config = ConfigDict(
        frozen=True, extra="allow", strict=True, use_attribute_docstrings=True
    )

    name: str
    """Class in `keras.callbacks`, or `module:name` of a class beside the spec file."""

    @property
    def arguments(self) -> dict[str, Any]:
        """Keyword arguments of the constructor."""
        return dict(self.model_extra or {})

    @property
    def is_own(self) -> bool:
        """Whether it is the user's own rather than Keras's."""
        return ":" in self.name

    @model_validator(mode="after")
    def _can_be_made(self) -> Self:
        if self.is_own:
            if not _OWN.match(self.name):
                raise ValueError(f"name: expected module:name, got {self.name!r}")
            return self
        if self.name in REFUSED:
            raise ValueError(f"{self.name} is refused: {REFUSED[self.name]}")
        if self.name not in OFFERED:
            raise ValueError(
                f"there is no callback {self.name!r}{_nearest(self.name, OFFERED, REFUSED)}; "
                "name a Keras class, or one of your own as module:name"
            )
        for argument, value in self.arguments.items():
            self._check_argument(argument, value)
        return self

    def _check_argument(self, argument: str, value: Any) -> None:
        if (self.name, argument) in REFUSED_ARGUMENTS:
            raise ValueError(f"{argument}: {REFUSED_ARGUMENTS[self.name, argument]}")
        known = OFFERED[self.name]
        if argument not in known:
            near = _nearest(argument, known) or f"; it takes {', '.join(sorted(known)) or 'none'}"
            raise ValueError(f"{self.name} has no argument {argument!r}{near}")
        fits = isinstance(value, known[argument]) and not isinstance(value, bool)
        if not fits:
            kind = {str: "a text", int: "a whole number"}.get(known[argument], "a number")
            raise ValueError(f"{argument} of {self.name} must be {kind}, got {value!r}")


def _nearest(name: str, *known: Any) -> str:
    names = [other for group in known for other in group]
    near = difflib.get_close_matches(name, names, n=1, cutoff=0.5)
    return f", did you mean {near[0]!r}?" if near else ""
