"""A dataset version as one self-contained HTML page."""

from collections.abc import Sequence

from shardline.data.manifest import DatasetManifest
from shardline.data.page.cleaning import cleaning_section
from shardline.data.page.columns import columns_section
from shardline.data.page.elements import document
from shardline.data.page.sections import (
    advice_section,
    heading,
    label_section,
    quarantine_section,
    relevance_section,
    twins_section,
)
from shardline.data.page.style import STYLE
from shardline.data.quarantine_summary import QuarantineReason
from shardline.data.statistics.document import DatasetStatistics


def dataset_page(
    manifest: DatasetManifest,
    statistics: DatasetStatistics,
    quarantine: Sequence[QuarantineReason],
) -> str:
    """HTML that needs nothing else: no script, no font, no request.

    Args:
        manifest: The dataset version.
        statistics: What was measured of it.
        quarantine: Why rows were set aside.
    """
    parts = (
        heading(manifest),
        advice_section(manifest, statistics),
        label_section(manifest, statistics),
        relevance_section(statistics),
        twins_section(statistics),
        columns_section(statistics),
        cleaning_section(manifest),
        quarantine_section(manifest, quarantine),
    )
    title = f"{manifest.name} {manifest.version}"
    return document(title, STYLE, [part for part in parts if part is not None])
