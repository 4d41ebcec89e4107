"""A run as its record in the store describes it: its spec and code, wherever they came from."""

import re
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from shardline.errors import ModelError, NotFoundError
from shardline.model.code import collect_code
from shardline.spec import Spec
from shardline.spec.base import NAME_PATTERN
from shardline.spec.loading import apply_override, check_spec
from shardline.spec.locations import absolute
from shardline.spec.revision import leave_revision
from shardline.store import Store
from shardline.training.run import RunManifest, read_run

_REFERENCE = re.compile(r"^(?P<run>[^@]+?)(?:@(?P<step>\d+))?$")
SPEC_SUFFIXES = (".yaml", ".yml")


@dataclass(frozen=True)
class RunReference:
    """`RUN` or `RUN@STEP`."""

    run: str
    step: int | None


def parse_run(text: str) -> RunReference | None:
    """The run that an argument names; None if it is the path of a spec file."""
    found = _REFERENCE.match(text)
    if text.endswith(SPEC_SUFFIXES) or Path(text).is_file() or found is None:
        return None
    if not re.match(NAME_PATTERN, found["run"]):
        return None
    return RunReference(found["run"], int(found["step"]) if found["step"] else None)


@contextmanager
def recorded_spec(store_uri: str, run: str, *, overrides: Iterable[str] = ()) -> Iterator[Spec]:
    """The spec that a run was trained with last, the builder's code beside it for the block.

    Args:
        store_uri: Folder or URI of the store, wherever it was when the run began.
        run: Its name.
        overrides: `a.b=value` assignments.

    Raises:
        NotFoundError: The store has no record of it.
        IntegrityError: The record is damaged.
        ModelError: The record lacks the builder's code, which was a Python function.
    """
    store = Store(absolute(store_uri, base=Path.cwd()))
    record = _record(store, run)
    values: dict[str, Any] = {**record.spec, "store": store.uri}
    for override in overrides:
        apply_override(values, override)
    with TemporaryDirectory(prefix="shardline-run-") as folder:
        for path, text in record.code.items():
            _write_below(Path(folder), path, text)
        leave_revision(Path(folder), record.code_revision)
        where = store.uri_of(f"runs/{run}/run.json")
        spec = check_spec(values, where=where).located_at(Path(folder))
        _check_code(spec, record)
        yield spec


def _record(store: Store, run: str) -> RunManifest:
    try:
        return read_run(store, run)
    except NotFoundError as error:
        raise NotFoundError(
            f"store {store.uri} has no record of a run {run!r}; check --store and the name, or "
            "name the SPEC file and --step."
        ) from error


def _write_below(folder: Path, path: str, text: str) -> None:
    """A file of the record; a path that leads elsewhere was not written by shardline."""
    file = folder / path
    if not file.resolve().is_relative_to(folder.resolve()):
        raise ModelError(f"the run's record holds code at {path!r}, outside its own folder.")
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text(text, encoding="utf-8")


def _check_code(spec: Spec, record: RunManifest) -> None:
    """Refuse a record that does not hold the code that the run was begun with."""
    try:
        digest = collect_code(spec).digest
    except ModelError:
        digest = ""
    if digest != record.identity.get("model code"):
        raise ModelError(
            f"run {record.run!r} was begun with builder {spec.model.builder!r}, whose code its "
            "record does not hold: a Python function, or a module that was installed; call "
            "shardline.export(spec, step=STEP) where that is at hand, or name the SPEC file and "
            "--step."
        )
