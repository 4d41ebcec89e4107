"""What a builder is given: one `Feature` per column, with inputs and ready-fitted preprocessing."""

from collections.abc import Iterator, Mapping
from functools import cached_property
from typing import Any

from shardline.data.manifest import ColumnStatistics, DatasetManifest
from shardline.data.schema import Column
from shardline.errors import ModelError
from shardline.model.clock import PartName, PeriodName, cyclic_place, part_of, seconds_from


class Feature:
    """One model input. Its `keras.Input` is made once, on first use.

    Args:
        column: Name, dtype and shape.
        statistics: What the train split says about it.
    """

    def __init__(self, column: Column, statistics: ColumnStatistics | None) -> None:
        self.column = column
        self.statistics = statistics

    @cached_property
    def input(self) -> Any:
        """The raw `keras.Input`, shape `(batch, *shape)`; `(batch, 1)` for a scalar column.

        A timestamp is int64: microseconds since 1970, in UTC.
        """
        import keras

        return keras.Input(
            shape=self.column.shape or (1,), dtype=self.column.tensor_dtype, name=self.column.name
        )

    def cleaned(self) -> Any:
        """The input within the bounds of `data.cleaning`, and filled where it is NaN.

        Rows of a dataset and rows that shardline scores or serves are that already. In the graph it
        holds for whoever runs the exported model without shardline.
        """
        import keras

        treatment, values = self.column.treatment, self.input
        if treatment is None or self.column.dtype in ("string", "bool", "timestamp"):
            return values
        if treatment.beyond == "clip" and treatment.low is not None:
            values = keras.ops.maximum(values, treatment.low)
        if treatment.beyond == "clip" and treatment.high is not None:
            values = keras.ops.minimum(values, treatment.high)
        if treatment.fill is not None and self.column.dtype.startswith("float"):
            # Last, as when the dataset was made: a constant may lie beyond the bounds.
            values = keras.ops.where(keras.ops.isnan(self.input), treatment.fill, values)
        return values

    def normalized(self) -> Any:
        """The cleaned input with the train split's mean and deviation taken out, as float32.

        Raises:
            ModelError: The column holds text, or images that are encoded in the shards.
        """
        import keras

        statistics = self.statistics
        if statistics is None or statistics.mean is None or statistics.variance is None:
            found = "image files" if self.column.encoded else self.column.dtype
            other = "keras.layers.Rescaling" if self.column.encoded else ".indexed() for text"
            raise ModelError(f"feature {self.column.name!r} has no mean ({found}); use {other}.")
        if self.column.dtype == "timestamp":
            return (
                seconds_from(self.input, statistics.mean) / max(statistics.variance, 1e-12) ** 0.5
            )
        # mean and variance are given, so there is nothing to adapt: a constant affine map.
        layer = keras.layers.Normalization(
            axis=None, mean=statistics.mean, variance=max(statistics.variance, 1e-12)
        )
        return layer(keras.ops.cast(self.cleaned(), "float32"))

    def part(self, name: PartName) -> Any:
        """What a calendar and a clock in UTC show at a timestamp, as int64, shape `(batch, 1)`.

        Args:
            name: `second` or `minute` (0 to 59), `hour` (0 to 23) or `weekday` (0 is Monday, 6 is
                Sunday).

        Raises:
            ModelError: The column holds no timestamps, or there is no such part.
        """
        return part_of(self._timestamps(), name)

    def cyclic(self, period: PeriodName) -> Any:
        """Where a timestamp lies in the hour, day or week, as sine and cosine: `(batch, 2)`.

        Weeks begin on Monday, all in UTC; the end of a period lies beside its beginning.

        Args:
            period: `hour`, `day` or `week`.

        Raises:
            ModelError: The column holds no timestamps, or there is no such period.
        """
        return cyclic_place(self._timestamps(), period)

    def _timestamps(self) -> Any:
        if self.column.dtype != "timestamp":
            raise ModelError(
                f"feature {self.column.name!r} ({self.column.dtype}) holds no timestamps; declare "
                "it with dtype: timestamp."
            )
        return self.input

    def indexed(self) -> Any:
        """Text as int64 indices into the train split's vocabulary; 0 is for unseen texts.

        Raises:
            ModelError: The column does not hold text.
        """
        import keras

        if self.statistics is None or self.statistics.vocabulary is None:
            raise ModelError(
                f"feature {self.column.name!r} ({self.column.dtype}) has no vocabulary; "
                "use .normalized() for numbers."
            )
        layer = keras.layers.StringLookup(vocabulary=list(self.statistics.vocabulary))
        return layer(self.input)

    @property
    def vocabulary_size(self) -> int:
        """Number of indices that `indexed` can give, the one for unseen texts included."""
        vocabulary = self.statistics.vocabulary if self.statistics else None
        return len(vocabulary or ()) + 1


class Features(Mapping[str, Feature]):
    """All features of a dataset by name; the first argument of a builder.

    Args:
        dataset: The dataset that the model will be trained on.
    """

    def __init__(self, dataset: DatasetManifest) -> None:
        self._features = {
            column.name: Feature(column, dataset.statistics.get(column.name))
            for column in dataset.columns.features
        }
        self.label = dataset.columns.label

    def __getitem__(self, name: str) -> Feature:
        try:
            return self._features[name]
        except KeyError:
            raise ModelError(
                f"there is no feature {name!r}; the dataset has {', '.join(self._features)}."
            ) from None

    def __iter__(self) -> Iterator[str]:
        return iter(self._features)

    def __len__(self) -> int:
        return len(self._features)

    @property
    def inputs(self) -> dict[str, Any]:
        """Every feature's `keras.Input` by name, for `keras.Model(features.inputs, …)`."""
        return {name: feature.input for name, feature in self._features.items()}

    @property
    def num_classes(self) -> int:
        """Size of the label's vocabulary.

        Raises:
            ModelError: The label has no vocabulary.
        """
        if self.label.vocabulary is None:
            raise ModelError(f"label {self.label.name!r} holds numbers and has no classes.")
        return len(self.label.vocabulary)
