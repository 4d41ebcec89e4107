"""In which order a folder is deleted, so that a broken-off deletion leaves nothing half there."""

from collections.abc import Iterable


def deletion_order(keys: Iterable[str]) -> list[list[str]]:
    """Groups of keys, each to be gone before the next is touched.

    Markers go before what they vouch for, and the deeper ones first: a run's checkpoints before
    what says whose they are.
    """
    markers: dict[int, list[str]] = {}
    others = []
    for key in sorted(keys):
        if key.endswith(".json"):
            markers.setdefault(key.count("/"), []).append(key)
        else:
            others.append(key)
    groups = [markers[depth] for depth in sorted(markers, reverse=True)]
    return [*groups, others] if others else groups
