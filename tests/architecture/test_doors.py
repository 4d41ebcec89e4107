"""One door per heavy dependency, submodules included, which import-linter cannot see."""

import ast

import pytest
from tests.architecture.source_tree import PACKAGE, names_used, room, syntax_tree

DOORS = {
    "boto3": {"store"},
    "botocore": {"store"},
    "pyarrow.fs": {"store"},
    "ray.init": {"cluster"},
    "ray.shutdown": {"cluster"},
    "ray.job_submission": {"cluster"},
    "ray.train": {"training"},
    "ray.serve": {"serving"},
    "ray.data": set(),
    "ray.tune": set(),
    "ray.air": set(),
    "pickle": set(),
    "tensorflow": {"model", "artifacts", "training", "evaluation"},
    "keras": {"model", "artifacts", "training", "evaluation"},
}


def users(door: str) -> set[str]:
    return {
        room(path)
        for path in sorted(PACKAGE.rglob("*.py"))
        for name in names_used(syntax_tree(path))
        if name == door or name.startswith(f"{door}.")
    }


@pytest.mark.parametrize("door", DOORS)
def test_dependency_is_reached_through_its_door_only(door: str) -> None:
    assert users(door) <= DOORS[door]


@pytest.mark.parametrize("door", ["boto3", "pyarrow.fs", "ray.init", "ray.train", "ray.serve"])
def test_door_is_where_the_rule_says(door: str) -> None:
    """A rule about a name that nobody uses any more guards nothing."""
    assert users(door) == DOORS[door]


@pytest.mark.parametrize(
    ("source", "name"),
    [
        ("import ray\nray.init()", "ray.init"),
        ("def f():\n    from ray import serve as s\n    s.run()", "ray.serve.run"),
        ("import pyarrow as pa\npa.fs.S3FileSystem()", "pyarrow.fs.S3FileSystem"),
        ("import pyarrow.fs", "pyarrow.fs"),
        ("from pyarrow.fs import S3FileSystem", "pyarrow.fs.S3FileSystem"),
    ],
)
def test_names_used_sees_every_way_to_reach_a_submodule(source: str, name: str) -> None:
    assert name in set(names_used(ast.parse(source)))
