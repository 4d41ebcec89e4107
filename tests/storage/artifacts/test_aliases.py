"""Aliases: every move is one swap of the record that was decided on, and all are on record."""

import pytest
from tests.sample_registry import AUTHOR, in_parallel, manifest, point, publish_versions

from shardline.artifacts.aliases import list_aliases, read_alias
from shardline.artifacts.author import Author, current_author
from shardline.artifacts.gate import rows_in_words
from shardline.artifacts.registry import list_models
from shardline.artifacts.release import Gate, promote
from shardline.artifacts.rollback import holders, roll_back
from shardline.errors import ConflictError, GateError, IntegrityError, NotFoundError
from shardline.spec.output import Bound
from shardline.store import Store

NOT_WORSE = {"accuracy": Bound(min=0.5, max_regression=0.0)}


def evaluated(store, *accuracies, split="test"):
    """Versions 1, 2, … with these accuracies."""
    made = []
    for number, accuracy in enumerate(accuracies, start=1):
        publish_versions(store, number, metrics={"accuracy": accuracy}, split=split)
        made.append(manifest(number, metrics={"accuracy": accuracy}, split=split))
    return made


def promoted(store, version, bounds=None, *, alias="live", author=AUTHOR, **measure):
    return promote(store, version, alias, Gate(bounds or {}, **measure), why="w", author=author)


# Moves


def test_alias_racing_moves_are_all_in_the_history(any_store):
    publish_versions(any_store, *range(1, 7))
    in_parallel(lambda n: point(any_store, n + 1, why=f"{n}", author=Author(f"user {n}")))
    record = read_alias(any_store, "tiny", "live")
    assert sorted(m.to_version for m in record.history) == [1, 2, 3, 4, 5, 6]
    assert record.version == record.history[-1].to_version
    befores = [m.from_version for m in record.history]
    assert befores == [None, *(m.to_version for m in record.history[:-1])]
    assert all(m.who == f"user {m.why}" for m in record.history)


def test_alias_moved_to_where_it_is_changes_nothing(local):
    moments = iter((1.0, 2.0, 3.0))
    author = Author("first@host", clock=lambda: next(moments))
    point(local, 1, why="first", author=author)
    assert [m.why for m in point(local, 1, why="again", author=author).history] == ["first"]
    point(local, 2, why="second", author=author)
    (stored,) = list_aliases(local, "tiny")
    known = [(m.when_unix_s, m.who, m.from_version, m.to_version, m.why) for m in stored.history]
    assert known == [
        (1.0, "first@host", None, 1, "first"),
        (2.0, "first@host", 1, 2, "second"),
    ]


def test_alias_whose_move_was_answered_by_nobody_moves_once(local, monkeypatch):
    swap = Store.compare_and_swap

    def answer_lost(store, key, data, *, version):
        assert swap(store, key, data, version=version)
        return swap(store, key, data, version=version)

    point(local, 1)
    monkeypatch.setattr(Store, "compare_and_swap", answer_lost)
    record = point(local, 2)
    assert [m.to_version for m in record.history] == [1, 2]
    assert read_alias(local, "tiny", "live") == record


def test_alias_that_was_edited_is_named(local):
    local.write("models/tiny/aliases/live.json", b"{}")
    for look in (lambda: read_alias(local, "tiny", "live"), lambda: point(local, 1)):
        with pytest.raises(IntegrityError, match=r"models/tiny/aliases/live.json is no AliasRec"):
            look()


def test_alias_from_before_moves_said_who_is_read_and_moved(local):
    local.write(
        "models/tiny/aliases/live.json",
        b'{"format": 1, "model": "tiny", "alias": "live", "version": 1, "history": ['
        b'{"when_unix_s": 1.0, "from_version": null, "to_version": 1, "why": "promoted"}]}',
    )
    assert read_alias(local, "tiny", "live").history[0].who is None
    record = point(local, 2)
    assert [(m.who, m.to_version) for m in record.history] == [(None, 1), ("first@host", 2)]


def test_alias_that_is_just_being_made_does_not_exist_yet(local):
    publish_versions(local, 1)
    key = "models/tiny/aliases/live.json"
    empty = b'{"model": "tiny", "alias": "live", "version": null, "history": []}'
    local.write(key, empty)
    assert [m.aliases for m in list_models(local)] == [{}]
    with pytest.raises(NotFoundError, match=r"model 'tiny' has no alias 'live'; it has none;"):
        read_alias(local, "tiny", "live")
    assert point(local, 1).version == 1


def test_author_is_user_and_host_or_what_the_environment_says():
    assert "@" in current_author({}).who
    assert current_author({"SHARDLINE_USER": "release bot"}).who == "release bot"


# Promotion


def test_promote_inside_the_gate_moves_the_alias(local):
    (version,) = evaluated(local, 0.9)
    assert promoted(local, version, {"accuracy": Bound(min=0.9)}).version == 1
    assert read_alias(local, "tiny", "live").version == 1


@pytest.mark.parametrize(
    ("metrics", "reason"),
    [
        ({}, "it was never evaluated; run `shardline evaluate`, then export again"),
        ({"accuracy": 0.89}, "accuracy is 0.89, at least 0.9 is required"),
        ({"accuracy": float("nan")}, "accuracy is nan, at least 0.9 is required"),
        ({"loss": 0.1, "mae": 2.0}, "accuracy is not among its metrics (loss, mae)"),
    ],
)
def test_promote_outside_the_gate_leaves_the_alias(local, metrics, reason):
    point(local, 1)
    with pytest.raises(GateError) as caught:
        promoted(local, manifest(2, metrics=metrics), {"accuracy": Bound(min=0.9)})
    assert caught.value.message == (
        f"version 2 of model 'tiny' does not pass the gate: {reason}; alias 'live' was not moved."
    )
    assert read_alias(local, "tiny", "live").version == 1


def test_promote_of_what_is_worse_than_the_holder_leaves_the_alias(local):
    first, worse, better = evaluated(local, 0.8, 0.7, 0.9)
    promoted(local, first, NOT_WORSE)
    with pytest.raises(GateError, match=r"accuracy is 0.7, version 1 has 0.8 on the same rows"):
        promoted(local, worse, NOT_WORSE)
    assert promoted(local, worse, {"accuracy": Bound(min=0.5, max_regression=0.2)}).version == 2
    assert promoted(local, better, NOT_WORSE).version == 3


def test_promote_beside_a_holder_of_other_rows_has_it_measured_on_these(local):
    (first,) = evaluated(local, 0.99)
    second = manifest(2, metrics={"accuracy": 0.8}, split="test", dataset_version="v2")
    promoted(local, first)
    with pytest.raises(GateError) as caught:
        promoted(local, second, NOT_WORSE)
    assert caught.value.message == (
        "versions 2 and 1 of model 'tiny' were not evaluated on the same rows by the same builder "
        "(version 2 on test of tiny/v2; version 1 on test of tiny/v1), and the gate compares them; "
        "train, evaluate and export both on one dataset version, with one code and model.params."
    )
    asked = []

    def measure(held, candidate):
        asked.append((held.version, rows_in_words(candidate)))
        return {"accuracy": 0.75}

    assert promoted(local, second, NOT_WORSE, measure=measure).version == 2
    assert asked == [(1, "version 2 on test of tiny/v2")]


def test_promote_beside_a_holder_of_another_builder_has_it_measured_by_the_metrics_of_now(local):
    (first,) = evaluated(local, 0.99)
    promoted(local, first)
    other = manifest(2, metrics={"accuracy": 0.8}, split="test", code_digest="other")
    assert promoted(local, other, NOT_WORSE, measure=lambda *_: {"accuracy": 0.75}).version == 2


def test_promote_that_lost_a_race_is_judged_beside_the_new_holder(local, monkeypatch):
    first, second, third = evaluated(local, 0.7, 0.8, 0.9)
    promoted(local, first, NOT_WORSE)
    swap = Store.compare_and_swap

    def faster(store, key, data, *, version):
        monkeypatch.setattr(Store, "compare_and_swap", swap)
        promoted(local, third, NOT_WORSE, author=Author("second@host"))
        return swap(store, key, data, version=version)

    monkeypatch.setattr(Store, "compare_and_swap", faster)
    with pytest.raises(GateError, match=r"accuracy is 0.8, version 3 has 0.9 on the same rows"):
        promoted(local, second, NOT_WORSE)
    assert [m.to_version for m in read_alias(local, "tiny", "live").history] == [1, 3]


def test_promote_from_a_holder_that_was_removed_by_hand_passes(local):
    first, second = evaluated(local, 0.9, 0.8)
    promoted(local, first)
    local.delete_folder("models/tiny/1")
    assert promoted(local, second, NOT_WORSE).version == 2


# Rollback


def back(store, *, to=None, why="bad"):
    return roll_back(store, "tiny", "live", to=to, why=why, author=AUTHOR)


def test_rollback_goes_back_through_what_was_not_rolled_back(local):
    publish_versions(local, 1, 2, 3, 4)
    for number in (1, 2, 3):
        point(local, number)
    assert [back(local).version, back(local).version] == [2, 1]
    with pytest.raises(NotFoundError, match=r"alias 'live' of model 'tiny' has no version to go b"):
        back(local)
    point(local, 4)
    record = back(local, why="p99 doubled")
    assert record.version == 1
    last = record.history[-1]
    assert (last.action, last.from_version, last.to_version) == ("rollback", 4, 1)
    assert (last.who, last.why) == ("first@host", "p99 doubled")


def test_rollback_to_an_earlier_holder_and_to_none(local):
    publish_versions(local, 1, 2, 3, 4)
    for number in (1, 2, 3):
        point(local, number)
    assert back(local, to=1).version == 1
    with pytest.raises(NotFoundError) as caught:
        back(local, to=4)
    assert caught.value.message == (
        "alias 'live' of model 'tiny' never pointed to version 4; it pointed to 1, 2, 3: use "
        "`shardline promote`, which asks the gate."
    )
    assert back(local, to=1).history == read_alias(local, "tiny", "live").history
    with pytest.raises(NotFoundError, match=r"model 'tiny' has no alias 'prod'; set one with"):
        roll_back(local, "tiny", "prod", to=None, why="", author=AUTHOR)


def test_rollback_skips_what_is_gone(local):
    publish_versions(local, 1, 2, 3)
    for number in (1, 2, 3):
        point(local, number)
    local.delete_folder("models/tiny/2")
    with pytest.raises(NotFoundError, match=r"model 'tiny' has no version 2; it has 1, 3."):
        back(local, to=2)
    assert back(local).version == 1


def test_rollback_of_what_somebody_else_rolled_back_meanwhile_is_refused(local, monkeypatch):
    publish_versions(local, 1, 2, 3)
    for number in (1, 2, 3):
        point(local, number)
    swap = Store.compare_and_swap

    def faster(store, key, data, *, version):
        monkeypatch.setattr(Store, "compare_and_swap", swap)
        back(local)
        return swap(store, key, data, version=version)

    monkeypatch.setattr(Store, "compare_and_swap", faster)
    with pytest.raises(ConflictError, match=r"alias 'live' of model 'tiny' moved from 3 to 2 mean"):
        back(local)
    assert read_alias(local, "tiny", "live").version == 2


def test_holders_are_a_stack():
    class Move:
        def __init__(self, to_version, action="promote"):
            self.to_version, self.action = to_version, action

    moves = [Move(1), Move(2), Move(3), Move(1, "rollback"), Move(5), Move(2, "rollback")]
    assert [holders(moves[:end]) for end in range(len(moves) + 1)] == [
        [], [1], [1, 2], [1, 2, 3], [1], [1, 5], [1, 5, 2],
    ]  # fmt: skip
