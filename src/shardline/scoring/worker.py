"""One unit: read, predict, set bad rows aside, commit. Runs in any process, any number of times."""

import os
import tempfile
from collections.abc import Mapping
from functools import lru_cache
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import pyarrow as pa

from shardline.artifacts.predictor import Predictor, load_predictor
from shardline.data.casting import tensor_array
from shardline.data.quarantine import Rejected, dump_rejected
from shardline.data.reading import column_to_numpy
from shardline.data.schema import Column
from shardline.scoring.commit import PartCounts, commit_part
from shardline.scoring.job import VERSION_COLUMN, ScoreJob, output_type, rejects_key
from shardline.scoring.units import Unit
from shardline.store import Store

Arrays = Mapping[str, "np.ndarray[Any, Any]"]


class Predicts(Protocol):
    """What scoring needs of a `Predictor`."""

    def predict(self, columns: Arrays) -> Arrays:
        """Answer some rows."""


def score_unit_task(job: ScoreJob, unit: Unit) -> PartCounts:
    """Score a unit with the job's model, which stays loaded in this process."""
    return score_unit(job, unit, _loaded(job.registry, job.model.name, job.model.version))


def score_unit(job: ScoreJob, unit: Unit, predictor: Predicts) -> PartCounts:
    """Score a unit and commit its output, unless someone was faster.

    Raises:
        DataError: A raw file cannot be read.
        IntegrityError: A shard is damaged.
    """
    schema = job.output_schema
    parts, rejected = [schema.empty_table()], list[Rejected]()
    for batch in job.source.read(unit, job.wanted):
        rejected += batch.rejected
        parts.append(_scored(job, batch.table, predictor, schema))
    table = pa.concat_tables(parts)
    if rejected:
        # Before the part: whoever sees a part can read why rows are missing from it.
        job.output.write(rejects_key(unit.name), dump_rejected(rejected))
    counts = PartCounts(unit.name, rows_scored=table.num_rows, rows_rejected=len(rejected))
    return commit_part(job.output, table, counts)


def _scored(job: ScoreJob, table: Any, predictor: Predicts, schema: Any) -> Any:
    if table.num_rows == 0:
        return schema.empty_table()
    arrays = {
        column.name: column_to_numpy(table[column.name], column).reshape(
            -1, *(column.shape or (1,))
        )
        for column in job.wanted.features
    }
    answers = _predicted(arrays, table.num_rows, predictor, job.batch_rows)
    columns = {name: table[name] for name in job.wanted.keep}
    columns |= {c.name: _arrow_output(answers[c.name], c) for c in job.model.outputs}
    versions = pa.repeat(pa.scalar(job.model.version, pa.int64()), table.num_rows)
    return pa.table(columns | {VERSION_COLUMN: versions}, schema=schema)


def _predicted(arrays: Arrays, num_rows: int, predictor: Predicts, batch_rows: int) -> Arrays:
    answers = [
        predictor.predict({name: a[start : start + batch_rows] for name, a in arrays.items()})
        for start in range(0, num_rows, batch_rows)
    ]
    return {name: np.concatenate([answer[name] for answer in answers]) for name in answers[0]}


def _arrow_output(array: "np.ndarray[Any, Any]", column: Column) -> Any:
    arrow_type = output_type(column)
    if not isinstance(arrow_type, pa.FixedShapeTensorType):
        return pa.array(array.ravel(), arrow_type)
    return tensor_array(pa.array(array.ravel(), arrow_type.value_type), column)


@lru_cache(maxsize=1)
def _loaded(registry: Store, name: str, version: int) -> Predictor:
    return load_predictor(registry, name, version, cache_dir=_cache_dir())


def _cache_dir() -> Path:
    """A folder of this user's that all workers of the machine share."""
    folder = Path(tempfile.gettempdir(), f"shardline-models-{os.getuid()}")
    folder.mkdir(mode=0o700, exist_ok=True)
    if folder.stat().st_uid != os.getuid():
        return Path(tempfile.mkdtemp(prefix="shardline-models-"))
    return folder
