"""Rollbacks: an alias goes back to a version that held it before."""

from collections.abc import Sequence

from shardline.artifacts.aliases import AliasMove, AliasRecord, Decide, Decision, move_alias
from shardline.artifacts.author import Author
from shardline.artifacts.registry import check_exists, versions
from shardline.errors import ConflictError, NotFoundError
from shardline.store import Store


def roll_back(
    store: Store, model: str, alias: str, *, to: int | None, why: str, author: Author
) -> AliasRecord:
    """Point an alias at a version that held it before, by default the one before this.

    It passed a gate then, so none is asked now.

    Raises:
        NotFoundError: There is no such version to go back to.
        ConflictError: Somebody moved the alias first, so that it is another version to leave.
    """
    decide = _going_back(store, model, alias, to=to, why=why)
    return move_alias(store, model, alias, decide, author=author)


def holders(history: Sequence[AliasMove]) -> list[int]:
    """The versions to go back through, the current one last.

    A promotion puts its version on top. A rollback takes off everything above the version that it
    went to, so nobody goes back to what was rolled back.
    """
    stack: list[int] = []
    for move in history:
        if move.action == "rollback" and move.to_version in stack:
            while stack[-1] != move.to_version:
                stack.pop()
        else:
            stack.append(move.to_version)
    return stack


def _going_back(store: Store, model: str, alias: str, *, to: int | None, why: str) -> Decide:
    left: list[int] = []

    def decide(current: AliasRecord) -> Decision | None:
        if current.version is None:
            raise NotFoundError(
                f"model {model!r} has no alias {alias!r}; set one with `shardline promote`."
            )
        left.append(current.version)
        if to is None and current.version != left[0]:
            raise ConflictError(
                f"alias {alias!r} of model {model!r} moved from {left[0]} to {current.version} "
                "meanwhile; look at its history, then say where to with --to."
            )
        target = _earlier(store, current) if to is None else to
        held = [move.to_version for move in current.history]
        if target not in held:
            known = ", ".join(map(str, dict.fromkeys(held)))
            raise NotFoundError(
                f"alias {alias!r} of model {model!r} never pointed to version {target}; it pointed "
                f"to {known}: use `shardline promote`, which asks the gate."
            )
        check_exists(store, model, target)
        return None if target == current.version else Decision(target, why, "rollback")

    return decide


def _earlier(store: Store, current: AliasRecord) -> int:
    """The last version under the current one that is still there."""
    published = versions(store, current.model)
    earlier = holders(current.history)[:-1]
    found = [n for n in earlier if n in published and n != current.version]
    if not found:
        raise NotFoundError(
            f"alias {current.alias!r} of model {current.model!r} has no version to go back to; it "
            f"has pointed to nothing that is left before {current.version}."
        )
    return found[-1]
