"""shardline: train plain Keras 3 models on many workers, freeze them, serve and batch-score them.

The verbs of the line as functions: `load_spec`, then `prepare`, `train`, `evaluate`, `export`,
`promote`, `rollback`, `score`, `serve`, `run`; `session` lets several share one Ray; `batches`
gives the rows of a dataset to a notebook; `check_model` looks through a model from elsewhere and
loads nothing.
"""

import importlib
from typing import Any

_HOMES = {
    "Spec": "shardline.spec",
    "load_spec": "shardline.spec",
    "batches": "shardline.notebook",
    "check_model": "shardline.artifacts.safety",
    "session": "shardline.cluster.session",
    **dict.fromkeys(
        (
            "evaluate", "export", "prepare", "promote", "rollback", "run", "score", "serve",
            "train", "validate",
        ),
        "shardline.line",
    ),
}  # fmt: skip

__all__ = sorted(_HOMES)


def __getattr__(name: str) -> Any:
    """Load a public name from its home, so that importing shardline alone stays instant."""
    if name not in _HOMES:
        raise AttributeError(f"module 'shardline' has no attribute {name!r}")
    return getattr(importlib.import_module(_HOMES[name]), name)
