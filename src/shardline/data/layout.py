"""From the spec's `data` section and what a source holds to the columns of its rows."""

import numpy as np

from shardline.data.cleaning.fitting import takes_nulls
from shardline.data.column_names import check_names
from shardline.data.images import IMAGE_FEATURE, PATH_COLUMN, check_image_column
from shardline.data.padding import Padding
from shardline.data.rows import Role, RowLayout, require_columns
from shardline.data.schema import Column, Label, Schema
from shardline.data.survey import Survey, settled
from shardline.errors import DataError
from shardline.spec.data import DataSpec, FeatureSpec


def required_columns(data: DataSpec) -> list[tuple[str, Role]]:
    """Columns that the spec names, each once, with what they are for."""
    roles: dict[str, Role] = dict.fromkeys(data.features or {}, "feature")
    roles.setdefault(data.label.name, "label")
    if data.split and data.split.key:
        roles.setdefault(data.split.key, "key")
    decisive = data.split.columns if data.split else ()
    repeated = data.duplicates.key if data.duplicates else ()
    for name in (*decisive, *repeated, *data.keep):
        roles.setdefault(name, "kept column")
    for name in data.cleaning:
        roles.setdefault(name, "cleaned column")
    return list(roles.items())


def declared_image(data: DataSpec) -> Column | None:
    """The image feature that the spec declares, None if it is left to the first image.

    Raises:
        DataError: The spec declares something that images cannot become.
    """
    names = list(data.features or (IMAGE_FEATURE,))
    if len(names) > 1:
        raise DataError(f"images make one feature, data.features declares {', '.join(names)}.")
    taken = (names[0], data.label.name)
    if PATH_COLUMN in taken:
        raise DataError(f"{PATH_COLUMN!r} holds each image's path; rename the feature or label.")
    if names[0] == data.label.name:
        raise DataError(f"feature and label are both named {names[0]!r}; rename one.")
    available = (*taken, PATH_COLUMN)
    require_columns(available, required_columns(data), "an image source")
    if data.features is None:
        return None
    column = _declared(names[0], data.features[names[0]])
    check_image_column(column)
    return column


def labelled_image(data: DataSpec) -> Column | None:
    """The image feature beside those of a table of labels, None if it is left to the first image.

    Raises:
        DataError: No feature, or more than one, has the shape of an image.
    """
    if data.features is None:
        return None
    shaped = [name for name, feature in data.features.items() if len(feature.shape) == 3]
    if len(shaped) != 1:
        raise DataError(
            f"{len(shaped)} of the features have the shape of an image; declare one, as "
            f"data.features.{IMAGE_FEATURE} with shape [height, width, channels]."
        )
    column = _declared(shaped[0], data.features[shaped[0]])
    check_image_column(column)
    return column


def image_layout(data: DataSpec, column: Column) -> RowLayout:
    """The columns of a row that is an image in a class folder."""
    return RowLayout(
        features=(column,),
        label=_label(data, is_text=True),
        carried=(PATH_COLUMN,),
        key=data.split.key if data.split else None,
    )


def table_layout(data: DataSpec, survey: Survey) -> RowLayout:
    """The columns of a row of a table, types found where the spec does not say.

    Raises:
        DataError: A column is missing, has no usable type, or the label is null throughout.
    """
    required = required_columns(data)
    check_names("the source", survey.columns)
    require_columns(survey.columns, required, "the source")
    label = survey.columns[data.label.name]
    if not label.kinds:
        raise DataError(
            f"label column {data.label.name!r} is null in all {survey.num_rows} rows; "
            "name the column to learn in data.label.name."
        )
    tolerance = data.max_quarantined
    carried = [name for name, role in required if role in ("key", "kept column")]
    if data.features is None:
        others = [n for n in survey.columns if n not in {data.label.name, *carried}]
        features = tuple(survey.column(name, tolerance=tolerance) for name in others)
    else:
        features = tuple(_declared(name, spec) for name, spec in data.features.items())
    if not features:
        raise DataError("the source has no column left to be a feature; see data.keep.")
    text = settled(label, tolerance=tolerance)[0] == "string"
    key = data.split.key if data.split else None
    label_column = _label(data, is_text=text)
    return RowLayout(features, label_column, tuple(carried), key, takes_nulls(data))


def surveyed_columns(data: DataSpec) -> frozenset[str] | None:
    """Columns whose values say what the layout is; None for all."""
    return None if data.features is None else frozenset([data.label.name])


def dataset_schema(data: DataSpec, layout: RowLayout, vocabulary: tuple[str, ...]) -> Schema:
    """The columns of the shards.

    Args:
        data: The spec's section.
        layout: The columns of a row.
        vocabulary: Every label text that occurs, sorted; looked at only for a label of text.

    Raises:
        DataError: The label's dtype has no number for that many classes.
    """
    names = vocabulary if needs_vocabulary(data, layout) else None
    if names is not None and len(names) - 1 > np.iinfo(data.label.dtype).max:
        raise DataError(
            f"label {data.label.name!r} has {len(names)} classes, too many for "
            f"{data.label.dtype}; declare a wider dtype."
        )
    label = Label(name=data.label.name, dtype=data.label.dtype, vocabulary=names)
    return Schema(features=layout.features, label=label, carried=layout.carried)


def needs_vocabulary(data: DataSpec, layout: RowLayout) -> bool:
    """Whether the label is text that becomes an index."""
    is_text = layout.label is not None and layout.label.dtype == "string"
    return is_text and data.label.dtype != "string"


def _declared(name: str, spec: FeatureSpec) -> Column:
    padding = None if spec.pad is None else Padding(value=spec.pad, longer=spec.longer)
    return Column(
        name=name, dtype=spec.dtype, shape=spec.shape, padding=padding, encoded=spec.encoded
    )


def _label(data: DataSpec, *, is_text: bool) -> Column:
    indexed = is_text and "int" in data.label.dtype
    return Column(name=data.label.name, dtype="string" if indexed else data.label.dtype)
