"""The one door to bytes: local folders and S3 behind one set of operations."""

from shardline.store.local_file import NO_SPACE, PARTIAL_PREFIX
from shardline.store.markers import Marker, commit_marker, dump_marker, parse_marker, read_marker
from shardline.store.sink import Sink
from shardline.store.store import Entry, Store, open_store, read_verified

__all__ = [
    "NO_SPACE",
    "PARTIAL_PREFIX",
    "Entry",
    "Marker",
    "Sink",
    "Store",
    "commit_marker",
    "dump_marker",
    "open_store",
    "parse_marker",
    "read_marker",
    "read_verified",
]
