"""Deletion: what an alias points to stays, under every interleaving with those who move it."""

from functools import partial

import pytest
from tests.interleavings import Killed, explored, memory_store, random_orders
from tests.sample_registry import AUTHOR, point, publish_versions

from shardline.artifacts.aliases import list_aliases, read_alias
from shardline.artifacts.author import Author
from shardline.artifacts.deletion import delete_version
from shardline.artifacts.registry import list_versions, resolve, versions
from shardline.artifacts.rollback import roll_back
from shardline.artifacts.tombstones import Tombstone, find_tombstone
from shardline.errors import ConflictError, InUseError, NotFoundError
from shardline.store import Store


@pytest.fixture
def local(tmp_path):
    store = Store(f"file://{tmp_path}/registry")
    publish_versions(store, 1, 2, 3)
    return store


def test_delete_leaves_nothing_but_who_when_and_why(local):
    delete_version(local, "tiny", 2, why="biased", author=AUTHOR)
    assert [entry.key for entry in local.scan("models/tiny/2")] == []
    assert versions(local, "tiny") == [1, 3]
    listed = {entry.version: entry for entry in list_versions(local, "tiny")}
    assert [listed[n].status for n in (1, 2, 3)] == ["published", "deleted", "published"]
    gone = listed[2].tombstone
    assert (gone.who, gone.when_unix_s, gone.why) == ("first@host", 1.0, "biased")


def test_delete_what_an_alias_points_to_is_refused(local):
    point(local, 2, "production")
    point(local, 2, "staging")
    with pytest.raises(InUseError) as caught:
        delete_version(local, "tiny", 2, why="", author=AUTHOR)
    assert caught.value.message == (
        "version 2 of model 'tiny' is what production and staging points to; move the alias to "
        "another version first."
    )
    assert versions(local, "tiny") == [1, 2, 3]
    point(local, 1, "production")
    point(local, 1, "staging")
    delete_version(local, "tiny", 2, why="", author=AUTHOR)
    assert versions(local, "tiny") == [1, 3]


def test_delete_what_is_not_there_is_refused_and_again_is_fine(local):
    with pytest.raises(NotFoundError, match=r"model 'tiny' has no version 9; it has 1, 2, 3."):
        delete_version(local, "tiny", 9, why="", author=AUTHOR)
    first = delete_version(local, "tiny", 3, why="one", author=AUTHOR)
    assert delete_version(local, "tiny", 3, why="two", author=Author("second")) == first


def test_promotion_of_a_deleted_version_is_refused(local):
    delete_version(local, "tiny", 3, why="", author=AUTHOR)
    with pytest.raises(InUseError, match=r"version 3 of model 'tiny' was deleted by first@host on"):
        point(local, 3)
    assert list_aliases(local, "tiny") == []


# Every interleaving


@pytest.fixture(scope="module")
def three_versions():
    with pytest.MonkeyPatch.context() as patch:
        store, memory = memory_store(patch)
        publish_versions(store, 1, 2, 3)
        yield store, memory, dict(memory.objects)


def is_shared(key):
    """What the protocol is about; everything else nobody else writes."""
    return "/aliases/" in key or "/deleted/" in key or key.endswith("/model.json")


def raced(three_versions, prepare, processes, **options):
    """What the processes ended with, and the store, for every order."""
    store, memory, objects = three_versions
    memory.objects = dict(objects)
    prepare(store)
    bound = {name: partial(act, store) for name, act in processes.items()}
    for done in explored(memory, bound, is_shared=is_shared, **options):
        yield store, done


def check_consistent(store, done):
    """Aliases point to versions that are there, and a history says how they came there."""
    for record in list_aliases(store, "tiny"):
        assert resolve(store, "tiny", alias=record.alias).version == record.version, done.steps
        before = None
        for move in record.history:
            assert move.from_version == before, done.steps
            before = move.to_version
        assert record.version == before, done.steps
    refused = (InUseError, ConflictError, NotFoundError, Killed)
    for result in done.results.values():
        assert not isinstance(result, BaseException) or isinstance(result, refused), done.steps


def delete_3(store):
    return delete_version(store, "tiny", 3, why="", author=AUTHOR)


def promote_3(store):
    return point(store, resolve(store, "tiny", version=3).version)


def back(store):
    return roll_back(store, "tiny", "live", to=None, why="", author=AUTHOR)


def held_by(*numbers):
    def prepare(store):
        for number in numbers:
            point(store, number)

    return prepare


RACES = {
    "promotion": (held_by(1), {"delete": delete_3, "move": promote_3}),
    "first promotion": (held_by(), {"delete": delete_3, "move": promote_3}),
    "rollback": (held_by(3, 1), {"delete": delete_3, "move": back}),
}
MOST_OPERATIONS = 40


@pytest.mark.parametrize("race", RACES)
def test_delete_and_move_in_every_order_one_of_them_is_refused(three_versions, race):
    ends = set()
    for store, done in raced(three_versions, *RACES[race]):
        check_consistent(store, done)
        refused = {name for name, end in done.results.items() if isinstance(end, Exception)}
        assert refused, done.steps  # it cannot be deleted and pointed to
        assert ("delete" in refused) == (3 in versions(store, "tiny")), done.steps
        ends.add(frozenset(refused))
    assert {frozenset(["delete"]), frozenset(["move"])} <= ends


@pytest.mark.parametrize("mortal", ["delete", "move"])
@pytest.mark.parametrize("race", RACES)
def test_death_of_either_at_any_point_leaves_no_alias_to_nothing(three_versions, race, mortal):
    for life in range(MOST_OPERATIONS):
        deaths = 0
        for store, done in raced(three_versions, *RACES[race], lives={mortal: life}):
            check_consistent(store, done)
            deaths += isinstance(done.results[mortal], Killed)
            try:
                delete_3(store)  # whoever comes next can finish
            except InUseError:
                assert read_alias(store, "tiny", "live").version == 3, done.steps
                assert find_tombstone(store, "tiny", 3) is None, done.steps
            else:
                assert 3 not in versions(store, "tiny"), done.steps
            check_consistent(store, done)
        if not deaths:
            break
    assert not deaths
    assert life > 3


def test_two_deletions_and_a_promotion_leave_no_alias_to_nothing(three_versions):
    processes = {"delete": delete_3, "again": delete_3, "move": promote_3}
    orders = partial(random_orders, count=150, seed=1)
    moved = 0
    for store, done in raced(three_versions, held_by(1), processes, orders=orders):
        check_consistent(store, done)
        deleted = any(isinstance(done.results[name], Tombstone) for name in ("delete", "again"))
        assert deleted == (3 not in versions(store, "tiny")), done.steps
        moved += read_alias(store, "tiny", "live").version == 3
    assert 0 < moved < 150
