"""What was made from what: plain records in, a graph out, walked both ways."""

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from shardline.errors import NotFoundError
from shardline.lineage.graph import (
    DatasetRecord,
    Edge,
    Graph,
    ModelRecord,
    Node,
    RunRecord,
    ScoresRecord,
    build_graph,
)
from shardline.lineage.page import BOX, lineage_page, positions
from shardline.lineage.references import (
    DatasetReference,
    ModelReference,
    RunReference,
    ScoresReference,
    parse_reference,
)
from shardline.lineage.tree import tree_lines

SOURCE = {
    "format": "csv",
    "path": "file:///raw",
    "num_files": 2,
    "fingerprint": "f" * 64,
    "files": {"a.csv": "a" * 64, "b.csv": "b" * 64},
}
DATASET = DatasetRecord("houses", "d1", 100, SOURCE)
RUN = RunRecord(
    "houses", "houses/d1", "c" * 64, "s" * 64, "model:build", ("model.py",), "r" * 64, seed=1
)
LINEAGE = {
    "dataset": "houses",
    "dataset_version": "d1",
    "run": "houses",
    "step": 40,
    "code_digest": "c" * 64,
    "spec_digest": "s" * 64,
    "recipe_digest": "r" * 64,
}
MODEL = ModelRecord("houses", 3, LINEAGE, {"metrics": {"mae": 0.25}}, ("production",), seed=1)
SCORES = ScoresRecord("houses", "v3-abc", "houses", 3, {"rows_scored": 7})
LINE = [DATASET, RUN, MODEL, SCORES]
ALL = {
    "source/ffffffffffff", "datasets/houses/d1", "code/cccccccccccc", "spec/ssssssssssss",
    "runs/houses", "models/houses/3", "models/houses@production", "scores/houses/v3-abc",
}  # fmt: skip


def ends(edges):
    return {(edge.used, edge.made) for edge in edges}


def test_graph_leads_from_scores_back_to_source_spec_code_and_run():
    graph = build_graph(LINE)
    assert graph.nodes.keys() == ALL
    assert ends(graph.edges) == {
        ("source/ffffffffffff", "datasets/houses/d1"),
        ("datasets/houses/d1", "runs/houses"),
        ("code/cccccccccccc", "runs/houses"),
        ("spec/ssssssssssss", "runs/houses"),
        ("runs/houses", "models/houses/3"),
        ("models/houses/3", "models/houses@production"),
        ("models/houses/3", "scores/houses/v3-abc"),
    }
    assert graph.around(["scores/houses/v3-abc"]).nodes.keys() == ALL - {"models/houses@production"}
    assert all(node.stored for node in graph.nodes.values())
    assert graph.nodes["source/ffffffffffff"].facts["files"] == SOURCE["files"]
    code = {"sha256": "c" * 64, "files": ["model.py"], "kept in": "runs/houses/run.json"}
    assert graph.nodes["code/cccccccccccc"].facts == code


def test_graph_leads_from_a_dataset_to_every_model_trained_on_it():
    other = replace(MODEL, name="flats", aliases=())
    elsewhere = replace(MODEL, name="barns", lineage=LINEAGE | {"dataset_version": "d2"})
    graph = build_graph([*LINE, other, elsewhere, replace(DATASET, version="d2")])
    around = graph.around(["datasets/houses/d1"]).nodes
    models = {node.id for node in around.values() if node.kind == "model"}
    assert models == {"models/houses/3", "models/flats/3"}


def test_run_that_was_begun_anew_is_not_taken_for_the_one_that_made_the_model():
    for changed in ({"code_digest": "x" * 64}, {"dataset_version": "d0"}):
        graph = build_graph([DATASET, RUN, replace(MODEL, lineage=LINEAGE | changed)])
        (edge,) = [e for e in graph.made_from("models/houses/3") if e.how == "exported at step 40"]
        assert edge.used.startswith("runs/houses#")
        assert not graph.nodes[edge.used].stored
        used = {e.used for e in graph.made_from(edge.used)}
        assert used == {
            f"datasets/houses/{changed.get('dataset_version', 'd1')}",
            f"code/{changed.get('code_digest', 'c' * 64)[:12]}",
        }


@pytest.mark.parametrize(
    "begun_anew", [{"recipe_digest": "x" * 64}, {"seed": 2}], ids=["params", "seed"]
)
def test_run_that_was_begun_anew_with_other_parameters_is_another(begun_anew):
    graph = build_graph([DATASET, replace(RUN, **begun_anew), MODEL])
    (edge,) = [e for e in graph.made_from("models/houses/3") if e.how == "exported at step 40"]
    assert edge.used.startswith("runs/houses#")


def test_run_of_a_deleted_model_is_found_without_its_seed():
    graph = build_graph([DATASET, RUN, replace(MODEL, seed=None, stored=False)])
    assert ("runs/houses", "models/houses/3") in ends(graph.edges)


def test_lost_runs_of_one_name_are_told_apart_by_their_parameters():
    other = replace(MODEL, version=4, lineage=LINEAGE | {"recipe_digest": "x" * 64})
    graph = build_graph([MODEL, other])
    assert len([node for node in graph.nodes.values() if node.kind == "run"]) == 2


def test_spec_of_an_export_that_differs_from_the_runs_is_one_of_its_own():
    model = replace(MODEL, lineage=LINEAGE | {"spec_digest": "t" * 64}, keeps_spec=True)
    graph = build_graph([DATASET, RUN, model])
    assert ("spec/tttttttttttt", "models/houses/3") in ends(graph.edges)
    assert graph.nodes["spec/tttttttttttt"].facts["kept in"] == "models/houses/3/model.json"
    assert graph.nodes["spec/ssssssssssss"].facts["kept in"] == "runs/houses/run.json"


def test_what_only_others_tell_of_is_there_and_marked():
    graph = build_graph([MODEL, SCORES])
    lost = {node.kind for node in graph.nodes.values() if not node.stored}
    assert lost == {"dataset", "run", "code", "spec"}
    graph = build_graph([SCORES])
    assert [node.stored for node in graph.nodes.values()] == [True, False]


@given(st.permutations([*LINE, replace(MODEL, version=4), replace(RUN, name="other")]))
def test_graph_does_not_depend_on_the_order_of_records(records):
    first, again = build_graph(LINE), build_graph(records)
    assert first.nodes.items() <= again.nodes.items()
    assert set(first.edges) <= set(again.edges)


def test_tree_tells_both_ways():
    graph = build_graph(LINE)
    assert tree_lines(graph, "models/houses/3") == [
        "model houses/3 (mae=0.25)",
        "├─ made from",
        "│  └─ run houses, exported at step 40",
        "│     ├─ dataset houses/d1 (100 rows)",
        "│     │  └─ source file:///raw (2 files, sha256 ffffffffffff)",
        "│     │     · a.csv aaaaaaaaaaaa",
        "│     │     · b.csv bbbbbbbbbbbb",
        "│     ├─ code model:build cccccccccccc",
        "│     │  · model.py",
        "│     └─ spec ssssssssssss",
        "└─ used for",
        "   ├─ alias houses@production",
        "   └─ scores houses/v3-abc",
    ]
    assert tree_lines(graph, "source/ffffffffffff")[:2] == [
        "source file:///raw (2 files, sha256 ffffffffffff)",
        "└─ used for",
    ]


@given(st.lists(st.tuples(st.integers(0, 8), st.integers(0, 8)), max_size=20))
def test_tree_of_any_graph_ends_and_names_every_node_around(pairs):
    edges = tuple(Edge(str(a), str(b), "x") for a, b in pairs if a < b)
    graph = Graph({str(n): Node(str(n), "run", f"<{n}>") for n in range(9)}, edges)
    for root in graph.nodes:
        said = "\n".join(tree_lines(graph, root))
        assert all(f"<{node}>" in said for node in graph.around([root]).nodes)


def test_page_draws_every_node_and_edge_once_and_escapes_names():
    hostile = replace(DATASET, source=SOURCE | {"path": "<script>alert(1)</script>"})
    graph = build_graph([hostile, RUN, MODEL, SCORES])
    page = lineage_page(graph, ["models/houses/3"])
    assert page.count("<rect") == len(graph.nodes) == len(positions(list(graph.nodes.values())))
    assert page.count("<path") == len(graph.edges)
    assert page.count('class="root"') == 1
    assert "<script" not in page
    assert "http" not in page.replace("http-equiv", "")


def test_boxes_do_not_overlap():
    records = [*LINE, *(replace(MODEL, version=n) for n in range(4, 9))]
    places = list(positions(list(build_graph(records).nodes.values())).values())
    for number, (x, y) in enumerate(places):
        for other_x, other_y in places[:number]:
            assert abs(x - other_x) >= BOX[0] or abs(y - other_y) >= BOX[1]


@pytest.mark.parametrize(
    ("text", "reference"),
    [
        ("models/houses", ModelReference("houses")),
        ("models/houses/3", ModelReference("houses", 3)),
        ("models/houses@production", ModelReference("houses", alias="production")),
        ("datasets/houses", DatasetReference("houses")),
        ("datasets/houses/0a1b", DatasetReference("houses", "0a1b")),
        ("runs/houses/", RunReference("houses")),
        ("scores/houses", ScoresReference("houses")),
        ("scores/houses/v3-abc", ScoresReference("houses", "v3-abc")),
        ("scores/houses/v3-abc/predictions/part-0.parquet", ScoresReference("houses", "v3-abc")),
    ],
)
def test_reference_is_read(text, reference):
    assert parse_reference(text) == reference


@pytest.mark.parametrize(
    "text",
    [
        "houses", "models", "models/", "models/houses/three", "models/houses/3@x", "models/../x",
        "models/houses@", "runs/houses@40", "datasets/houses/a/b", "weights/houses", "",
    ],
)  # fmt: skip
def test_reference_that_names_nothing_is_refused(text):
    with pytest.raises(NotFoundError, match=r"names no artifact; write models/NAME, models/NAME/V"):
        parse_reference(text)
