"""The whole spec: one line from raw examples to served predictions."""

import hashlib
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Self

from pydantic import PrivateAttr, ValidationError, model_validator

from shardline.errors import SpecError
from shardline.spec.base import Name, Section
from shardline.spec.data import DataSpec, located_source
from shardline.spec.locations import absolute
from shardline.spec.model import ModelSpec
from shardline.spec.output import ExportSpec, ScoreSpec, ServeSpec
from shardline.spec.problems import problems_of
from shardline.spec.train import TrainSpec
from shardline.spec.warm_start import located_weight_source


class Spec(Section):
    """What the YAML file says, checked, with defaults filled in and every location absolute."""

    name: Name
    """Names the dataset and, unless said otherwise, the run and the model."""
    store: str
    """Root of all artifacts: `file:///folder` or `s3://bucket/prefix`."""
    data: DataSpec
    model: ModelSpec
    train: TrainSpec = TrainSpec()
    export: ExportSpec = ExportSpec()
    score: ScoreSpec = ScoreSpec()
    serve: ServeSpec = ServeSpec()
    _base: Path = PrivateAttr(default_factory=Path.cwd)

    def __init__(self, **values: Any) -> None:
        """Check the values.

        Raises:
            SpecError: One sentence per problem.
        """
        try:
            super().__init__(**values)
        except ValidationError as error:
            raise SpecError(problems_of(error, Spec)) from error

    @model_validator(mode="before")
    @classmethod
    def _builder_given_as_function(cls, values: Any) -> Any:
        if isinstance(values, dict) and callable(values.get("model")):
            return {**values, "model": {"builder": values["model"]}}
        return values

    @property
    def base(self) -> Path:
        """Folder that relative locations and the builder's module are looked up in."""
        return self._base

    @property
    def run_name(self) -> str:
        """Name of the training run."""
        return self.train.run or self.name

    @property
    def model_name(self) -> str:
        """Name of the model in the registry."""
        return self.export.model or self.name

    @property
    def digest(self) -> str:
        """Sha256 of the resolved spec."""
        return digest_of(self.model_dump(mode="json"))

    def located(self) -> Self:
        """The same spec with absolute locations; one made in Python counts from where it was made.

        Raises:
            SpecError: A location has an unknown scheme.
        """
        return self.located_at(self._base)

    def located_at(self, base: Path) -> Self:
        """The same spec with every relative location made absolute against `base`."""
        source = located_source(self.data.source, base=base)
        located: Self = self.model_copy(
            update={
                "store": absolute(self.store, base=base),
                "data": self.data.model_copy(update={"source": source}),
                "train": self._located_train(base),
                "score": self._located_score(base),
            }
        )
        located._base = base.absolute()
        return located

    def _located_train(self, base: Path) -> TrainSpec:
        updates: dict[str, Any] = {}
        source, folder = self.train.warm_start, self.train.cache.dir
        if source is not None:
            updates["warm_start"] = located_weight_source(source, base=base)
        if folder is not None:
            located = {"dir": absolute(folder, base=base)}
            updates["cache"] = self.train.cache.model_copy(update=located)
        return self.train.model_copy(update=updates)

    def _located_score(self, base: Path) -> ScoreSpec:
        updates: dict[str, str] = {}
        if not is_dataset_reference(self.score.input):
            updates["input"] = absolute(self.score.input, base=base)
        if self.score.output is not None:
            updates["output"] = absolute(self.score.output, base=base)
        return self.score.model_copy(update=updates)


def is_dataset_reference(location: str) -> bool:
    """Whether a scoring input means the spec's own dataset rather than files."""
    return location == "dataset" or location.startswith("dataset/")


def digest_of(resolved: Mapping[str, object]) -> str:
    """Sha256 of a resolved spec as artifacts keep it."""
    return hashlib.sha256(json.dumps(resolved, sort_keys=True).encode()).hexdigest()


def json_schema() -> dict[str, Any]:
    """JSON Schema of a spec file, for editors."""
    return {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        **Spec.model_json_schema(),
        "title": "shardline spec",
    }


__all__ = ["Spec", "digest_of", "is_dataset_reference", "json_schema"]
