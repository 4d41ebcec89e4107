"""The spec: one YAML file that describes one line, checked before anything starts."""

from shardline.spec.loading import check_spec, load_spec
from shardline.spec.spec import Spec, digest_of, is_dataset_reference, json_schema

__all__ = ["Spec", "check_spec", "digest_of", "is_dataset_reference", "json_schema", "load_spec"]
