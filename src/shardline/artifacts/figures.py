"""What Keras logs, as plain numbers by name."""

from collections.abc import Mapping
from typing import Any

import numpy as np


def figures(logs: Mapping[str, Any]) -> dict[str, float]:
    """Logs whose values are numbers.

    A metric that answers with several numbers by name gives those names, as in Keras's own logs;
    one that answers with a vector, such as `F1Score` for each class, gives `NAME_0`, `NAME_1`, ….
    """
    found: dict[str, float] = {}
    for name, value in logs.items():
        if isinstance(value, Mapping):
            found |= figures(value)
        elif np.ndim(value) == 0:
            found[name] = float(value)
        else:
            found |= {f"{name}_{i}": float(v) for i, v in enumerate(np.ravel(value))}
    return found
