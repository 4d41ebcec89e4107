"""What a model version says of where it comes from and what it has seen."""

from collections.abc import Sequence
from importlib.metadata import version as library_version

from shardline.artifacts.candidate import Candidate, recipe_digest
from shardline.artifacts.card import DataFacts
from shardline.artifacts.manifest import Lineage, Seen
from shardline.data.manifest import DatasetManifest
from shardline.data.schema import Column
from shardline.data.statistics.document import load_statistics
from shardline.store import Store

LIBRARIES = ("shardline", "keras", "tensorflow", "numpy")


def lineage_of(candidate: Candidate) -> Lineage:
    """What the version is made from."""
    return Lineage(
        dataset=candidate.dataset.name,
        dataset_version=candidate.dataset.version,
        run=candidate.checkpoint.run,
        step=candidate.checkpoint.step,
        checkpoint_digest=candidate.checkpoint.digest,
        spec_digest=candidate.spec.digest,
        recipe_digest=recipe_digest(candidate.spec),
        code_digest=candidate.code.digest,
        code_revision=candidate.code.revision,
        libraries={name: library_version(name) for name in LIBRARIES},
    )


def seen_values(dataset: DatasetManifest, inputs: Sequence[Column]) -> dict[str, Seen]:
    """What the train split holds of the inputs; nothing of those without statistics."""
    found = {}
    for column in inputs:
        statistics = dataset.statistics.get(column.name)
        if statistics is not None and statistics.count:
            texts = None if statistics.vocabulary is None else len(statistics.vocabulary)
            found[column.name] = Seen(min=statistics.min, max=statistics.max, texts=texts)
    return found


def data_facts(store: Store, dataset: DatasetManifest) -> DataFacts:
    """What a model card says of a dataset.

    Raises:
        IntegrityError: The file with its statistics is not the one that was written.
    """
    source, filled = dataset.source, {}
    files = "1 file" if source.num_files == 1 else f"{source.num_files} files"
    for name, record in dataset.cleaning.items():
        if record.touched.get("filled"):
            filled[name] = record.touched["filled"]
    return DataFacts(
        source=f"{files} ({source.format})",
        rows={name: split.rows for name, split in dataset.splits.items()},
        quarantined=dataset.counts.rows_quarantined,
        classes=_classes(store, dataset),
        filled=filled,
    )


def _classes(store: Store, dataset: DatasetManifest) -> tuple[tuple[str, dict[str, int]], ...]:
    if dataset.statistics_file is None:
        return ()
    balance = load_statistics(store, dataset).balance
    if balance is None:
        return ()
    return tuple(
        (each.name, {str(split): n for split, n in each.counts.items()}) for each in balance.classes
    )
