"""Journal lines as TensorBoard event files, with the tags that Keras's own callback uses.

Written record by record instead of through `tf.summary`, which knows no time but now: after a
resume the earlier epochs are written again, with the times at which they ended.
"""

import tempfile
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from shardline.artifacts.journal import JournalLine

TRAIN, VALIDATION = "train", "validation"

Scalar = tuple[str, str, float]
"""Folder, tag and value."""


def event_files(lines: Sequence[JournalLine], *, begins: bool) -> dict[str, bytes]:
    """Event files by folder; TensorBoard draws the same tag of several folders as one chart.

    Args:
        lines: What to write.
        begins: Whether a viewer must drop what it has read from earlier files.
    """
    events: dict[str, list[Any]] = {}
    for line in lines:
        for folder, tag, value in scalars(line):
            events.setdefault(folder, []).append(_event(line, tag, value))
    return {folder: _file(found, begins=begins) for folder, found in events.items()}


def scalars(line: JournalLine) -> Iterator[Scalar]:
    """What a line says, tag by tag."""
    for name, value in line.logs.items():
        if value is None:
            continue
        if line.kind == "step":
            yield TRAIN, f"batch_{name}", value
        elif name.startswith("val_"):
            yield VALIDATION, f"epoch_{name.removeprefix('val_')}", value
        elif name != "learning_rate":
            yield TRAIN, f"epoch_{name}", value
    for name in ("learning_rate", "rows_per_s", "data_wait"):
        if getattr(line, name) is not None:
            yield (
                TRAIN,
                f"{'batch' if line.kind == 'step' else 'epoch'}_{name}",
                getattr(line, name),
            )


def _event(line: JournalLine, tag: str, value: float) -> Any:
    from tensorflow.compat.v1 import Event, Summary

    return Event(
        wall_time=line.unix_s or 0.0,
        step=line.step if line.kind == "step" else line.epoch,
        summary=Summary(value=[Summary.Value(tag=tag, simple_value=value)]),
    )


def _file(events: Sequence[Any], *, begins: bool) -> bytes:
    import tensorflow as tf
    from tensorflow.compat.v1 import Event, SessionLog

    head = [Event(wall_time=events[0].wall_time, file_version="brain.Event:2")]
    if begins:
        start = SessionLog(status=SessionLog.START)
        head.append(Event(wall_time=events[0].wall_time, step=0, session_log=start))
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder, "events")
        with tf.io.TFRecordWriter(str(path)) as writer:
            for event in (*head, *events):
                writer.write(event.SerializeToString())
        return path.read_bytes()
