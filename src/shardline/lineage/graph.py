"""What was made from what, as a graph: pure functions of the records that a store holds.

Edges run from what was used to what was made of it. Sources, specs and code are known by digests;
runs, dataset versions, model versions and scores by their keys in the store.
"""

import hashlib
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

Kind = Literal["source", "dataset", "spec", "code", "run", "model", "alias", "scores"]
SHOWN_DIGITS = 12


@dataclass(frozen=True)
class Node:
    """An artifact, or something that one was made from."""

    id: str
    kind: Kind
    label: str
    facts: Mapping[str, Any] = field(default_factory=dict)
    stored: bool = True
    """Whether the store still has it; of what it has not, others tell."""


@dataclass(frozen=True)
class Edge:
    """One thing was used to make another."""

    used: str
    made: str
    how: str


@dataclass(frozen=True)
class Graph:
    """Nodes by id, and edges between them."""

    nodes: Mapping[str, Node]
    edges: tuple[Edge, ...]

    def used_by(self, node: str) -> list[Edge]:
        """Edges to what was made of a node."""
        return [edge for edge in self.edges if edge.used == node]

    def made_from(self, node: str) -> list[Edge]:
        """Edges from what a node was made of."""
        return [edge for edge in self.edges if edge.made == node]

    def around(self, roots: Sequence[str]) -> "Graph":
        """All that the roots come from, and all that came of them."""
        kept = _reached(roots, lambda node: [edge.used for edge in self.made_from(node)])
        kept |= _reached(roots, lambda node: [edge.made for edge in self.used_by(node)])
        edges = tuple(edge for edge in self.edges if {edge.used, edge.made} <= kept)
        return Graph({key: node for key, node in self.nodes.items() if key in kept}, edges)


@dataclass(frozen=True)
class DatasetRecord:
    """What `dataset.json` says of one version."""

    name: str
    version: str
    rows: int
    source: Mapping[str, Any]
    """Format, path, number of files, fingerprint and the files' digests."""


@dataclass(frozen=True)
class RunRecord:
    """What `run.json` says: what a run of this name was begun with last."""

    name: str
    dataset: str
    """`NAME/VERSION`."""
    code_digest: str
    spec_digest: str
    builder: str
    code_files: tuple[str, ...]
    recipe_digest: str
    """Sha256 of the spec's `model` section."""
    seed: int | None


@dataclass(frozen=True)
class ModelRecord:
    """What `model.json`, or a tombstone, says of one version."""

    name: str
    version: int
    lineage: Mapping[str, Any]
    facts: Mapping[str, Any]
    aliases: tuple[str, ...] = ()
    keeps_spec: bool = False
    seed: int | None = None
    """Of the spec that it keeps."""
    stored: bool = True


@dataclass(frozen=True)
class ScoresRecord:
    """What `score.json` says of one job."""

    name: str
    job: str
    model: str
    version: int
    facts: Mapping[str, Any]


Record = DatasetRecord | RunRecord | ModelRecord | ScoresRecord


def build_graph(records: Iterable[Record]) -> Graph:
    """The graph of everything in a store."""
    parts = _Parts()
    known = sorted(records, key=_place)
    for record in known:
        if isinstance(record, DatasetRecord):
            _add_dataset(parts, record)
        elif isinstance(record, RunRecord):
            _add_run(parts, record)
        elif isinstance(record, ModelRecord):
            runs = [each for each in known if isinstance(each, RunRecord)]
            _add_model(parts, record, runs)
        else:
            _add_scores(parts, record)
    return Graph(parts.nodes, tuple(parts.edges))


def dataset_id(name: str, version: str) -> str:
    """Of a dataset version; its key in the store."""
    return f"datasets/{name}/{version}"


def model_id(name: str, version: int) -> str:
    """Of a model version; its key in the store."""
    return f"models/{name}/{version}"


def run_id(name: str) -> str:
    """Of a run; its key in the store."""
    return f"runs/{name}"


def scores_id(name: str, job: str) -> str:
    """Of a scoring job; its key in the store."""
    return f"scores/{name}/{job}"


def _place(record: Record) -> tuple[int, str, str]:
    """Where a record comes, so that the graph does not depend on how they were read."""
    kind = (DatasetRecord, RunRecord, ModelRecord, ScoresRecord).index(type(record))
    part = record.job if isinstance(record, ScoresRecord) else getattr(record, "version", "")
    return kind, record.name, f"{part:>12}"


@dataclass
class _Parts:
    """A graph that is being built."""

    nodes: dict[str, Node] = field(default_factory=dict)
    edges: list[Edge] = field(default_factory=list)

    def node(self, node: Node) -> str:
        """Add a node; one that the store has takes the place of one that was only mentioned."""
        before = self.nodes.get(node.id)
        if before is None or (node.stored and not before.stored):
            self.nodes[node.id] = node
        return node.id

    def edge(self, used: str, made: str, how: str) -> None:
        """Add an edge once."""
        edge = Edge(used, made, how)
        if edge not in self.edges:
            self.edges.append(edge)


def _add_dataset(parts: _Parts, record: DatasetRecord) -> None:
    source = record.source
    made = parts.node(
        Node(
            dataset_id(record.name, record.version),
            "dataset",
            f"{record.name}/{record.version}",
            {"rows": record.rows},
        )
    )
    facts = {key: source[key] for key in ("format", "num_files", "fingerprint", "files")}
    node = Node(f"source/{source['fingerprint'][:SHOWN_DIGITS]}", "source", source["path"], facts)
    parts.edge(parts.node(node), made, "prepared from")


def _add_run(parts: _Parts, record: RunRecord) -> None:
    made = parts.node(Node(run_id(record.name), "run", record.name))
    parts.edge(_mentioned_dataset(parts, record.dataset), made, "trained on")
    facts: dict[str, Any] = {"sha256": record.code_digest, "files": list(record.code_files)}
    if record.code_files:  # a Python function has none
        facts["kept in"] = f"runs/{record.name}/run.json"
    label = f"{record.builder} {record.code_digest[:SHOWN_DIGITS]}"
    parts.edge(
        parts.node(Node(_code_id(record.code_digest), "code", label, facts)), made, "built by"
    )
    spec = parts.node(_spec_node(record.spec_digest, f"runs/{record.name}/run.json"))
    parts.edge(spec, made, "described by")


def _add_model(parts: _Parts, record: ModelRecord, runs: Sequence[RunRecord]) -> None:
    made_from = record.lineage
    label = f"{record.name}/{record.version}"
    made = parts.node(
        Node(model_id(record.name, record.version), "model", label, record.facts, record.stored)
    )
    dataset = f"{made_from['dataset']}/{made_from['dataset_version']}"
    trained = next((each for each in runs if each.name == made_from["run"]), None)
    if trained and _may_have_made(trained, record, dataset):
        run, spec_of_run = run_id(trained.name), trained.spec_digest
    else:
        # The name was given to another run since, or the run was removed: what is known is here.
        run, spec_of_run = _lost_run(parts, record, dataset), None
    parts.edge(run, made, f"exported at step {made_from['step']}")
    if made_from["spec_digest"] != spec_of_run:
        where = f"models/{label}/model.json" if record.keeps_spec else None
        spec = parts.node(_spec_node(made_from["spec_digest"], where))
        parts.edge(spec, made, "exported by")
    for alias in record.aliases:
        pointer = Node(f"models/{record.name}@{alias}", "alias", f"{record.name}@{alias}")
        parts.edge(made, parts.node(pointer), "is")


def _may_have_made(run: RunRecord, model: ModelRecord, dataset: str) -> bool:
    """Whether the run of today was begun with what the model was made from."""
    made_from = model.lineage
    begun_with = (run.dataset, run.code_digest, run.recipe_digest)
    same_seed = model.seed is None or model.seed == run.seed
    return same_seed and begun_with == (
        dataset,
        made_from["code_digest"],
        made_from["recipe_digest"],
    )


def _lost_run(parts: _Parts, model: ModelRecord, dataset: str) -> str:
    made_from = model.lineage
    digest = made_from["code_digest"]
    begun_with = f"{dataset} {digest} {made_from['recipe_digest']} {model.seed}"
    identity = hashlib.sha256(begun_with.encode()).hexdigest()[:8]
    run = Node(f"runs/{made_from['run']}#{identity}", "run", made_from["run"], {}, stored=False)
    parts.node(run)
    parts.edge(_mentioned_dataset(parts, dataset), run.id, "trained on")
    label = f"code {digest[:SHOWN_DIGITS]}"
    code = Node(_code_id(digest), "code", label, {"sha256": digest}, stored=False)
    parts.edge(parts.node(code), run.id, "built by")
    return run.id


def _add_scores(parts: _Parts, record: ScoresRecord) -> None:
    label = f"{record.name}/{record.job}"
    made = parts.node(Node(scores_id(record.name, record.job), "scores", label, record.facts))
    model = f"{record.model}/{record.version}"
    used = Node(model_id(record.model, record.version), "model", model, stored=False)
    parts.edge(parts.node(used), made, "predicted by")


def _mentioned_dataset(parts: _Parts, name_and_version: str) -> str:
    node = Node(f"datasets/{name_and_version}", "dataset", name_and_version, stored=False)
    return parts.node(node)


def _spec_node(digest: str, where: str | None) -> Node:
    facts = {"sha256": digest} | ({"kept in": where} if where else {})
    return Node(f"spec/{digest[:SHOWN_DIGITS]}", "spec", digest[:SHOWN_DIGITS], facts, bool(where))


def _code_id(digest: str) -> str:
    return f"code/{digest[:SHOWN_DIGITS]}"


def _reached(roots: Iterable[str], following: Any) -> set[str]:
    found, pending = set[str](), list(roots)
    while pending:
        node = pending.pop()
        if node not in found:
            found.add(node)
            pending += following(node)
    return found
