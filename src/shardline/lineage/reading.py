"""The records that a store's lineage is made of: every marker, read once, several at a time."""

from collections.abc import Callable, Iterable, Mapping
from concurrent.futures import ThreadPoolExecutor
from typing import Any, TypeVar

from shardline.artifacts.aliases import list_aliases, read_alias
from shardline.artifacts.author import when_in_words
from shardline.artifacts.candidate import recipe_digest_of
from shardline.artifacts.manifest import MODELS_FOLDER
from shardline.artifacts.registry import VersionEntry, list_versions
from shardline.data.manifest import dataset_versions, load_dataset
from shardline.errors import NotFoundError
from shardline.lineage.graph import (
    DatasetRecord,
    Graph,
    ModelRecord,
    Record,
    RunRecord,
    ScoresRecord,
    build_graph,
    dataset_id,
    model_id,
    run_id,
    scores_id,
)
from shardline.lineage.references import (
    DatasetReference,
    ModelReference,
    Reference,
    ScoresReference,
)
from shardline.scoring.job import ScoreManifest
from shardline.spec import digest_of
from shardline.store import Store, read_marker
from shardline.training.run import RunManifest

READERS = 16

Read = TypeVar("Read")
Key = TypeVar("Key")


def read_graph(store: Store) -> Graph:
    """All that a store says of what was made from what."""
    return build_graph([*_datasets(store), *_runs(store), *_models(store), *_scores(store)])


def roots_of(store: Store, graph: Graph, reference: Reference) -> list[str]:
    """The nodes that a reference means; a name without a version means all of them.

    Raises:
        NotFoundError: The store knows nothing of the kind.
    """
    wanted = _prefix_or_id(store, reference)
    exact = [node for node in graph.nodes if node == wanted]
    # Runs that only models tell of have "#" and a digest after their name.
    found = exact or [node for node in graph.nodes if node.startswith((f"{wanted}/", f"{wanted}#"))]
    if not found:
        raise NotFoundError(
            f"store {store.uri} has no {wanted}; `shardline datasets`, `runs` and `models` list "
            "what there is."
        )
    return found


def _prefix_or_id(store: Store, reference: Reference) -> str:
    if isinstance(reference, ModelReference):
        version = reference.version
        if reference.alias is not None:
            version = read_alias(store, reference.name, reference.alias).version
        name = reference.name
        return f"{MODELS_FOLDER}/{name}" if version is None else model_id(name, version)
    if isinstance(reference, DatasetReference):
        return dataset_id(reference.name, reference.version or "").rstrip("/")
    if isinstance(reference, ScoresReference):
        return scores_id(reference.name, reference.job or "").rstrip("/")
    return run_id(reference.name)


def _datasets(store: Store) -> Iterable[Record]:
    names = [
        (name, version)
        for name in store.list_folders("datasets")
        for version in dataset_versions(store, name)
    ]
    for manifest in _read(names, lambda pair: load_dataset(store, *pair)):
        source = manifest.source.model_dump(mode="json")
        yield DatasetRecord(manifest.name, manifest.version, manifest.counts.rows_kept, source)


def _runs(store: Store) -> Iterable[Record]:
    def read(name: str) -> RunManifest:
        return read_marker(store, f"runs/{name}/run.json", RunManifest)

    for manifest in _read(store.list_folders("runs"), read):
        section = manifest.spec.get("model")
        builder = section.get("builder") if isinstance(section, dict) else None
        yield RunRecord(
            name=manifest.run,
            dataset=manifest.identity.get("dataset", ""),
            code_digest=manifest.identity.get("model code", ""),
            spec_digest=digest_of(manifest.spec),
            builder=str(builder),
            code_files=tuple(sorted(manifest.code)),
            recipe_digest=recipe_digest_of(manifest.spec),
            seed=_seed(manifest.spec),
        )


def _models(store: Store) -> Iterable[Record]:
    names = store.list_folders(MODELS_FOLDER)
    for name, entries in zip(
        names, _read(names, lambda each: list_versions(store, each)), strict=True
    ):
        pointing = [(record.version, record.alias) for record in list_aliases(store, name)]
        for entry in entries:
            aliases = tuple(alias for version, alias in pointing if version == entry.version)
            record = _model_record(name, entry, aliases)
            if record is not None:
                yield record


def _model_record(name: str, entry: VersionEntry, aliases: tuple[str, ...]) -> ModelRecord | None:
    manifest, tombstone = entry.manifest, entry.tombstone
    if manifest is not None:
        facts: dict[str, Any] = {
            "metrics": dict(manifest.metrics),
            "created": when_in_words(manifest.created_unix_s),
        }
        revision = manifest.lineage.code_revision
        if revision is not None:
            facts["code revision"] = revision.commit + (", with changes" if revision.dirty else "")
        lineage = manifest.lineage.model_dump(mode="json")
        keeps_spec = manifest.spec is not None
        return ModelRecord(
            name, entry.version, lineage, facts, aliases, keeps_spec, _seed(manifest.spec)
        )
    if tombstone is not None:
        facts = {"deleted by": tombstone.who, "why": tombstone.why}
        lineage = tombstone.lineage.model_dump(mode="json")
        return ModelRecord(name, entry.version, lineage, facts, stored=False)
    return None


def _seed(spec: Mapping[str, Any] | None) -> int | None:
    train = spec.get("train") if spec else None
    return train.get("seed") if isinstance(train, dict) else None


def _scores(store: Store) -> Iterable[Record]:
    names = [
        (name, job)
        for name in store.list_folders("scores")
        for job in store.list_folders(f"scores/{name}")
    ]

    def read(pair: tuple[str, str]) -> Record:
        name, job = pair
        found = read_marker(store, f"scores/{name}/{job}/score.json", ScoreManifest)
        facts = {"input": found.input, "rows_scored": found.rows_scored}
        return ScoresRecord(name, job, found.model, found.model_version, facts)

    return _read(names, read)


def _read(keys: Iterable[Key], read: Callable[[Key], Read]) -> list[Read]:
    """What is read under each key; what a broken-off verb left or another just removed is not."""

    def one(key: Key) -> Read | None:
        try:
            return read(key)
        except NotFoundError:
            return None

    with ThreadPoolExecutor(READERS) as pool:
        return [found for found in pool.map(one, keys) if found is not None]
