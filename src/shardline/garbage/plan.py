"""Which of a store's contents is garbage: a pure function of plain data and the time.

Garbage is what no verb would ever read again: folders whose marker never came, what a dead process
parked, leases that have run out, and dataset versions that nothing mentions. Numbers of versions
that are taken stay, published or not, and so does whatever is not named as shardline names things.
"""

import re
from collections import defaultdict
from collections.abc import Collection, Iterable, Iterator, Mapping
from dataclasses import dataclass

from shardline.artifacts.leases import holds
from shardline.garbage.contents import Contents
from shardline.store.leftovers import Stored

# A run that wrote something so recently may still be training.
LIVE_S = 3600.0
SECONDS_PER_HOUR = 3600.0


@dataclass(frozen=True)
class Removal:
    """Objects that go together."""

    kind: str
    key: str
    """Of the object, or the folder with a slash at its end."""
    reason: str
    objects: tuple[Stored, ...]

    @property
    def size_bytes(self) -> int:
        """Of all objects."""
        return sum(each.size for each in self.objects)

    @property
    def newest_unix_s(self) -> float:
        """When the last of them was written."""
        return max(each.modified_unix_s for each in self.objects)


@dataclass(frozen=True)
class _Folder:
    """A kind of folder that is garbage as a whole, without a marker."""

    kind: str
    pattern: re.Pattern[str]
    marker: str | None
    reason: str


_FOLDERS = (
    _Folder(
        "checkpoint",
        re.compile(r"runs/[^/]+/checkpoints/step-\d{8,}/"),
        "checkpoint.json",
        "was never committed, or is superseded and no longer read",
    ),
    _Folder("ray notes", re.compile(r"runs/[^/]+/ray/"), None, "was Ray's, of a run that ended"),
    _Folder(
        "model version",
        re.compile(r"models/[^/]+/\d+/"),
        "model.json",
        "was never published; its number stays taken",
    ),
    _Folder(
        "dataset version",
        re.compile(r"datasets/[^/]+/[0-9a-f]{12}/"),
        "dataset.json",
        "was never committed; prepare makes it anew",
    ),
    _Folder(
        "scores",
        re.compile(r"scores/[^/]+/v\d+-[0-9a-f]{12}/"),
        "score.json",
        "was never completed; score makes it anew",
    ),
    _Folder(
        "parked rows",
        re.compile(r"scratch/[^/]+-[0-9a-f]{16}/"),
        None,
        "is of a prepare that ended",
    ),
)
# Other applications may have uploads under way in the bucket.
_OURS = ("datasets/", "pieces/", "runs/", "models/", "scores/", "scratch/")
_DATASET = re.compile(r"datasets/[^/]+/[0-9a-f]{12}/")
_PIECE = re.compile(r"(pieces/[^/]+/)[0-9a-f]{32}\.(arrow|json)$")
_LEASE = re.compile(r"runs/[^/]+/checkpoints/[^/]+/readers/[^/]+\.json$")
_RUN = re.compile(r"runs/[^/]+/")


def removals(contents: Contents, *, now_unix_s: float, grace_s: float) -> list[Removal]:
    """What may go, by key.

    Args:
        contents: Of the store.
        now_unix_s: The time.
        grace_s: What has an object younger than this stays, as somebody may be at it.
    """
    found = [
        *_unmarked(contents, now_unix_s),
        *_unused_datasets(contents),
        *_unlisted_pieces(contents),
        *_ended_leases(contents, now_unix_s),
        *_broken_off(contents),
    ]
    live = _live_runs(contents, now_unix_s)
    taken: set[Stored] = set()
    planned = []
    for removal in sorted(found, key=lambda each: (each.key, -len(each.objects))):
        run = _RUN.match(removal.key)
        is_young = now_unix_s - removal.newest_unix_s < grace_s
        if is_young or (run and run[0] in live) or taken.issuperset(removal.objects):
            continue
        taken.update(removal.objects)
        planned.append(removal)
    return planned


def mentioned(dataset_version: str, references: Iterable[str]) -> bool:
    """Whether any document mentions a dataset version."""
    return any(dataset_version in text for text in references)


def _unmarked(contents: Contents, now_unix_s: float) -> Iterator[Removal]:
    everything = {each.key for each in contents.objects}
    for kind in _FOLDERS:
        for folder, objects in _by_folder(contents.objects, kind.pattern).items():
            keys = {each.key for each in objects}
            is_read = any(holds(key, now_unix_s=now_unix_s) for key in keys if _LEASE.match(key))
            is_marked = kind.marker is not None and f"{folder}{kind.marker}" in keys
            if not is_read and not is_marked and _is_ours(folder, everything):
                yield Removal(kind.kind, folder, kind.reason, tuple(objects))


def _is_ours(folder: str, keys: Collection[str]) -> bool:
    """Models may have been put there by hand, as TensorFlow Serving has them; ours have claims."""
    top, name, number, *_ = folder.split("/")
    return top != "models" or f"models/{name}/claims/{number}" in keys


def _unused_datasets(contents: Contents) -> Iterator[Removal]:
    for folder, objects in _by_folder(contents.objects, _DATASET).items():
        version = folder.split("/")[2]
        is_committed = any(each.key == f"{folder}dataset.json" for each in objects)
        if is_committed and not mentioned(version, contents.references):
            reason = (
                "is neither the current one nor of any run, model or score; prepare makes it anew"
            )
            yield Removal("dataset version", folder, reason, tuple(objects))


def _unlisted_pieces(contents: Contents) -> Iterator[Removal]:
    unlisted: dict[str, list[Stored]] = defaultdict(list)
    for each in contents.objects:
        piece = _PIECE.match(each.key)
        if piece and each.key not in contents.pieces:
            unlisted[piece[1]].append(each)
    for folder, objects in unlisted.items():
        reason = "are rows that the dataset prepared last does not consist of"
        yield Removal("pieces", folder, reason, tuple(objects))


def _ended_leases(contents: Contents, now_unix_s: float) -> Iterator[Removal]:
    for each in contents.objects:
        if _LEASE.match(each.key) and not holds(each.key, now_unix_s=now_unix_s):
            yield Removal("lease", each.key, "has run out; its reader is dead", (each,))


def _broken_off(contents: Contents) -> Iterator[Removal]:
    for each in contents.broken_off:
        if not each.key.startswith(_OURS):
            continue
        kind = "upload" if each.upload_id else "partial file"
        yield Removal(kind, each.key, "is of a write that broke off", (each,))


def _live_runs(contents: Contents, now_unix_s: float) -> set[str]:
    return {
        run[0]
        for each in contents.objects
        if (run := _RUN.match(each.key)) and now_unix_s - each.modified_unix_s < LIVE_S
    }


def _by_folder(objects: Iterable[Stored], pattern: re.Pattern[str]) -> Mapping[str, list[Stored]]:
    found: dict[str, list[Stored]] = defaultdict(list)
    for each in objects:
        if folder := pattern.match(each.key):
            found[folder[0]].append(each)
    return found
