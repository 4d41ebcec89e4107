"""The quarantine in short: how many rows for which kind of reason, with examples."""

import re
from collections import Counter
from dataclasses import dataclass

import orjson

from shardline.data.manifest import DatasetManifest
from shardline.data.quarantine import QUARANTINE_KEY, Rejected
from shardline.store import Store

NUM_EXAMPLES = 3
# The offending value stands before what was expected; without it, reasons become kinds.
VALUE = re.compile(r"\b(is|has shape|has) .+, (?=(expected|above|below|most|which) )")
DETAIL = re.compile(r" \(.*\)$")


@dataclass(frozen=True)
class QuarantineReason:
    """Rows that were set aside for one kind of reason."""

    reason: str
    """Without the offending value."""
    rows: int
    examples: tuple[Rejected, ...]


def summarise_quarantine(store: Store, manifest: DatasetManifest) -> tuple[QuarantineReason, ...]:
    """All kinds of reasons, most frequent first; a part of the quarantine is read at a time."""
    if not manifest.counts.rows_quarantined:
        return ()
    counts: Counter[str] = Counter()
    examples: dict[str, list[Rejected]] = {}
    folder = f"{manifest.folder}/{QUARANTINE_KEY.rpartition('/')[0]}/"
    for key in sorted(entry.key for entry in store.scan(folder)):
        for line in store.read(key).splitlines():
            record = orjson.loads(line)
            kind = reason_kind(record["reason"])
            counts[kind] += 1
            known = examples.setdefault(kind, [])
            if len(known) < NUM_EXAMPLES:
                known.append(Rejected(record["reason"], record["file"], record["row"]))
    ranked = sorted(counts.items(), key=lambda item: (-item[1], item[0]))
    return tuple(QuarantineReason(kind, rows, tuple(examples[kind])) for kind, rows in ranked)


def reason_kind(reason: str) -> str:
    """A reason without the value that this one row had."""
    return DETAIL.sub("", VALUE.sub(r"\1 …, ", reason))
