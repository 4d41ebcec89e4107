"""What the records of a store say of lineage beyond who was made from whom."""

import pytest
from tests.sample_registry import publish_versions

from shardline.lineage.reading import read_graph
from shardline.store import Store

COMMIT = "1f" * 20


@pytest.mark.parametrize(
    ("revision", "said"),
    [
        ({"commit": COMMIT, "dirty": False}, {"code revision": COMMIT}),
        ({"commit": COMMIT, "dirty": True}, {"code revision": f"{COMMIT}, with changes"}),
        (None, {}),
    ],
)
def test_model_tells_the_commit_of_its_builders_code(tmp_path, revision, said):
    store = Store(f"file://{tmp_path}/store")
    publish_versions(store, 1, code_revision=revision)
    facts = read_graph(store).nodes["models/tiny/1"].facts
    assert {name: value for name, value in facts.items() if name == "code revision"} == said
