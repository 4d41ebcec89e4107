"""The columns that were found, as a spec declares them: pasted in, later data has to agree."""

from typing import Any

import yaml

from shardline.data.schema import Column, Schema


def pinned_columns(schema: Schema) -> str:
    """The `data.features` and `data.label` of a spec that names every column, in YAML."""
    features = {c.name: declared(c) for c in schema.features if c.indicates is None}
    label = {"name": schema.label.name, "dtype": schema.label.dtype}
    data = {"features": features, "label": label}
    text: str = yaml.safe_dump({"data": data}, sort_keys=False, allow_unicode=True)
    return text


def declared(column: Column) -> dict[str, Any]:
    """A feature as `data.features` has it."""
    found: dict[str, Any] = {"dtype": column.dtype}
    if column.shape:
        found["shape"] = list(column.shape)
    if column.padding is not None:
        found |= {"pad": column.padding.value, "longer": column.padding.longer}
    if column.encoded:
        found["encoded"] = True
    return found
