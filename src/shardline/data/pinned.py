"""The columns that were found, as a spec declares them: pasted in, later data has to agree."""

from typing import Any

import yaml

from shardline.data.schema import Column, Schema


def pinned_columns(schema: Schema) -> str:
    """The `data.features` and `data.label` of a spec that names every column, in YAML."""
    features = {c.name: _declared(c) for c in schema.features if c.indicates is None}
    label = {"name": schema.label.name, "dtype": schema.label.dtype}
    data = {"features": features, "label": label}
    text: str = yaml.safe_dump({"data": data}, sort_keys=False, allow_unicode=True)
    return text


def _declared(column: Column) -> dict[str, Any]:
    shape = {"shape": list(column.shape)} if column.shape else {}
    encoded = {"encoded": True} if column.encoded else {}
    return {"dtype": column.dtype, **shape, **encoded}
