"""Small committed datasets and checkpoints for tests, made without reading any source."""

import numpy as np
import pyarrow as pa

from shardline.artifacts.candidate import Candidate
from shardline.artifacts.checkpoint import (
    CheckpointManifest,
    Cursor,
    list_checkpoints,
    write_checkpoint,
)
from shardline.artifacts.variables import model_tensors
from shardline.data.manifest import (
    MARKER_NAME,
    ColumnStatistics,
    Counts,
    DatasetManifest,
    SourceRecord,
    Split,
    make_current,
)
from shardline.data.schema import Schema
from shardline.data.shards import encode_shard
from shardline.model.code import collect_code
from shardline.spec import check_spec
from shardline.store import commit_marker


def arrow_column(values, column):
    """Values (rows, *shape) as a shard has them."""
    if not column.shape:
        return pa.array(list(values) if column.dtype == "string" else values, column.arrow_type)
    dtype = object if column.dtype == "string" else column.dtype
    flat = pa.array(np.asarray(values, dtype).ravel())
    storage = pa.FixedSizeListArray.from_arrays(flat, int(np.prod(column.shape)))
    return pa.ExtensionArray.from_storage(column.arrow_type, storage)


def write_dataset(
    store, features, label, splits, *, carried=(), rows_per_group=8, groups_per_shard=2, name="tiny"
):
    """Commit a dataset.

    Args:
        features: Columns.
        label: Label column.
        splits: Split name to {column name: values (rows, *shape)}.
        carried: Names of further text columns.
    """
    columns = {column.name: column for column in (*features, label)}
    written = {
        split: _write_split(
            store, f"datasets/{name}/v1", split, columns, values, (rows_per_group, groups_per_shard)
        )
        for split, values in splits.items()
    }
    rows = sum(split.rows for split in written.values())
    manifest = DatasetManifest(
        name=name,
        version="v1",
        created_unix_s=1.0,
        columns=Schema(features=tuple(features), label=label, carried=tuple(carried)),
        splits=written,
        split_rule=None,
        statistics={c.name: _statistics(splits["train"][c.name], c) for c in features},
        source=SourceRecord(format="parquet", path="file:///raw", num_files=1, fingerprint="f"),
        counts=Counts(rows_read=rows, rows_kept=rows, rows_quarantined=0),
    )
    commit_marker(store, f"{manifest.folder}/{MARKER_NAME}", manifest)
    make_current(store, name, manifest.version)
    return manifest


def candidate_of(store, dataset, builder, *, step=3, prepare=None, **sections):
    """A committed checkpoint of the builder's model, changed by `prepare(model)` if given."""
    from shardline.model.builder import build_model

    spec = spec_for(store, dataset, builder, **sections)
    code = collect_code(spec)
    model = build_model(code, spec, dataset)
    if prepare is not None:
        prepare(model)
    manifest = CheckpointManifest(
        run=spec.run_name,
        step=step,
        cursor=Cursor(epoch=1, step=0),
        world_size=1,
        spec_digest=spec.digest,
        dataset=dataset.name,
        dataset_version=dataset.version,
        history=({"loss": 1.0},),
    )
    write_checkpoint(store, manifest, model_tensors(model))
    checkpoint = next(c for c in list_checkpoints(store, spec.run_name) if c.step == step)
    return Candidate(store=store, spec=spec, code=code, dataset=dataset, checkpoint=checkpoint)


def spec_for(store, dataset, builder, **sections):
    """A spec whose dataset is already there."""
    return check_spec(
        {
            "name": dataset.name,
            "store": store.uri,
            "data": {
                "source": {"format": "parquet", "path": "file:///raw"},
                "label": {"name": dataset.columns.label.name},
            },
            "model": {"builder": builder},
            **sections,
        },
        where="test",
    )


def _write_split(store, folder, split, columns, values, sizes):
    rows_per_group, groups_per_shard = sizes
    arrays = {
        name: arrow_column(v, columns[name]) if name in columns else pa.array(v, pa.string())
        for name, v in values.items()
    }
    table = pa.table(arrays)
    step = rows_per_group * groups_per_shard
    shards = []
    for number, start in enumerate(range(0, table.num_rows, step)):
        key = f"{split}/part-{number:05d}.parquet"
        rows = table.slice(start, step)
        encoded = encode_shard(rows, key=key, rows_per_group=rows_per_group)
        store.write(f"{folder}/{key}", encoded.data)
        shards.append(encoded.shard)
    return Split(rows=table.num_rows, shards=tuple(shards))


def _statistics(values, column):
    if column.dtype == "string":
        distinct = tuple(sorted(set(np.ravel(values))))
        return ColumnStatistics(count=len(values), nulls=0, vocabulary=distinct)
    numbers = np.asarray(values, np.float64)
    return ColumnStatistics(
        count=numbers.size,
        nulls=0,
        mean=float(numbers.mean()),
        variance=float(numbers.var()),
        min=float(numbers.min()),
        max=float(numbers.max()),
    )
