"""Where the rows of a dataset come from: files to read, how to read them, and what they contain."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

from shardline.data.python_source import write_tables
from shardline.data.scratch import asking_for_room
from shardline.data.sources import (
    Content,
    SourceFiles,
    fingerprint,
    list_source,
    read_contents,
)
from shardline.data.units import UNIT_BYTES, Unit, plan_units
from shardline.spec.data import (
    ArrowSource,
    DataSpec,
    ImagesSource,
    LabelsTable,
    PythonSource,
    Source,
)

KnownContents = Callable[[str], Mapping[tuple[str, str], Content]]


def _nothing_known(_uri: str) -> Mapping[tuple[str, str], Content]:
    return {}


@dataclass(frozen=True)
class Origin:
    """A source whose bytes have been read once."""

    uri: str
    files: SourceFiles
    """What rows are read from: tables, or images in class folders."""
    source: Source | LabelsTable
    """How they are read."""
    contents: dict[str, Content]
    """Of the files, by name."""
    images: SourceFiles | None = None
    """What the rows of a table of labels name."""
    image_contents: dict[str, Content] | None = None

    @property
    def num_files(self) -> int:
        """All files, tables of labels included."""
        return len(self.files.files) + len(self.images.files if self.images else ())

    @property
    def num_bytes(self) -> int:
        """Size of all files, tables of labels aside."""
        return sum(file.size for file in self.bulk.files)

    @property
    def bulk(self) -> SourceFiles:
        """The files that are large: those of rows, or the images that rows name."""
        return self.images or self.files

    @property
    def bulk_contents(self) -> dict[str, Content]:
        """Of these files, by name."""
        return self.contents if self.image_contents is None else self.image_contents

    @property
    def fingerprint(self) -> str:
        """Sha256 over every file's relative name and content."""
        return fingerprint(self._all_contents)

    @property
    def digests(self) -> dict[str, str]:
        """Sha256 of every file, by relative name."""
        return {name: content.sha256 for name, content in sorted(self._all_contents.items())}

    @property
    def grows(self) -> bool:
        """Whether files may be added: a folder's or a glob's."""
        return all(file.stamp for file in self.bulk.files)

    @property
    def is_everywhere(self) -> bool:
        """Whether any machine can read it; files, and what Python made, are on this one."""
        return not self.bulk.store.uri.startswith("file://")

    @property
    def has_types(self) -> bool:
        """Whether the format has types; otherwise text that reads as a number counts as one."""
        return self.source.format != "csv"

    @property
    def _all_contents(self) -> dict[str, Content]:
        if self.image_contents is None:
            return self.contents
        labels = {f"labels: {name}": content for name, content in self.contents.items()}
        return self.image_contents | labels

    def units(self, *, unit_bytes: int | None = None) -> list[Unit]:
        """The pieces of work, in the order of files and rows."""
        unit_bytes = unit_bytes or UNIT_BYTES
        quoted = {name for name, content in self.contents.items() if content.has_quotes}
        return plan_units(self.files, self.source, whole=quoted, unit_bytes=unit_bytes)


def find_origin(
    data: DataSpec, *, base: Path, folder: Path, known: KnownContents = _nothing_known
) -> Origin:
    """List a source and read all of it once; tables that Python makes are written down first.

    Args:
        data: The spec's section.
        base: Folder that relative paths count from.
        folder: On local disk, empty, for tables that Python makes.
        known: By location of the source, contents by name and stamp that need no reading.

    Raises:
        DataError: There is no such source, or it may not be read.
    """
    source = data.source
    if isinstance(source, PythonSource):
        with asking_for_room(folder):
            write_tables(source, folder)
        made = ArrowSource(format="arrow", path=str(folder))
        files = list_source(made, base=base)
        return Origin(source.path, files, made, read_contents(files))
    files = list_source(source, base=base)
    contents = read_contents(files, known(files.uri))
    if not isinstance(source, ImagesSource) or source.labels is None:
        return Origin(files.uri, files, source, contents)
    tables = list_source(source.labels, base=base, key="data.source.labels.path")
    return Origin(files.uri, tables, source.labels, read_contents(tables), files, contents)
