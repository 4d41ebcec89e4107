"""The registry on real servers that stumble: racing promoters, racing claims, deaths on the way."""

import itertools
from collections import Counter

import pytest
from tests.fault_proxy import Fault, FaultProxy, dies_after
from tests.sample_registry import AUTHOR, in_parallel, point, publish_versions

from shardline.artifacts.aliases import list_aliases, read_alias
from shardline.artifacts.author import Author
from shardline.artifacts.registry import claim_version, list_versions
from shardline.artifacts.rollback import roll_back
from shardline.errors import ShardlineError
from shardline.store import Store, retrying

NUM_WRITERS = 8
NUM_ROUNDS = 20
NUM_EXPORTERS = 20
REFUSALS = (Fault("error", 409), Fault("error", 412))
FAULTS = (
    Fault("error", 500),
    Fault("mistaken", 500),
    Fault("error", 503),
    Fault("lost"),
    Fault("reset"),
)
EVERY = {"PUT": 4, "GET": 15}

_roots = itertools.count()


@pytest.fixture(params=["moto", "ministack", "rgw"])
def s3_server(request, running):
    """Every test runs once on each."""
    return running(request.param)


@pytest.fixture
def proxy(any_s3, monkeypatch):
    monkeypatch.setattr(retrying, "FIRST_PAUSE_S", 0.005)
    monkeypatch.setattr(retrying, "MAX_ATTEMPTS", 10)
    with FaultProxy(any_s3.endpoint).running() as proxy:
        monkeypatch.setenv("AWS_ENDPOINT_URL", proxy.endpoint)
        yield proxy


@pytest.fixture
def store(any_s3, proxy):
    return Store(f"s3://{any_s3.bucket}/registry-{next(_roots)}")


def stumbling():
    """Every so many requests one goes wrong, each time otherwise; writes are also refused."""
    counts = Counter()
    kinds = {"PUT": itertools.cycle(FAULTS + REFUSALS), "GET": itertools.cycle(FAULTS)}

    def plan(request):
        counts[request.method] += 1
        every = EVERY.get(request.method)
        return next(kinds[request.method]) if every and not counts[request.method] % every else None

    return plan


def assert_linear(history):
    befores = [move.from_version for move in history]
    assert befores == [None, *(move.to_version for move in history[:-1])]


def test_racing_promoters_on_a_bad_line_win_one_after_the_other(store, proxy):
    """Every move that was reported is in the history once, and none that was not."""
    publish_versions(store, *range(1, NUM_WRITERS + 1))
    proxy.follow(stumbling())

    def promote(writer):
        won = []
        for number in range(NUM_ROUNDS):
            # A version of one's own, so that no round finds its work done by another.
            target, why = writer + 1, f"{writer}-{number}"
            record = point(store, target, why=why, author=Author(f"writer {writer}"))
            if any(move.why == why for move in record.history):
                won.append(why)
        return won

    reported = [why for won in in_parallel(promote, NUM_WRITERS) for why in won]
    assert {fault for _, fault in proxy.fired} == {*FAULTS, *REFUSALS}
    proxy.follow(lambda request: None)
    record = read_alias(store, "tiny", "live")
    assert_linear(record.history)
    assert Counter(move.why for move in record.history) == Counter(reported)
    assert len({move.id for move in record.history}) == len(record.history) > NUM_WRITERS
    assert record.version == record.history[-1].to_version


def test_racing_exporters_on_a_bad_line_get_distinct_numbers(store, proxy):
    proxy.follow(stumbling())
    numbers = in_parallel(
        lambda n: claim_version(store, "tiny", author=Author(f"exporter {n}")), NUM_EXPORTERS
    )
    assert proxy.fired
    proxy.follow(lambda request: None)
    assert sorted(numbers) == list(range(1, NUM_EXPORTERS + 1))
    claimed = {entry.version: entry.claim.who for entry in list_versions(store, "tiny")}
    assert claimed == {number: f"exporter {n}" for n, number in enumerate(numbers)}


def promote(store, number):
    return lambda: point(store, 1 + number % 2)


def promote_first(store, number):
    return lambda: point(store, 1, f"fresh-{number}")


def roll_back_live(store, number):
    point(store, 1)
    point(store, 2)
    return lambda: roll_back(store, "tiny", "live", to=1, why="", author=AUTHOR)


@pytest.mark.parametrize("prepared", [promote, promote_first, roll_back_live])
def test_store_that_dies_after_any_request_leaves_the_old_or_the_new_pointer(
    store, proxy, prepared, monkeypatch
):
    monkeypatch.setattr(retrying, "MAX_ATTEMPTS", 1)
    publish_versions(store, 1, 2)
    point(store, 1)
    ends = set()
    for number in range(100):
        act = prepared(store, number)
        proxy.follow(dies_after(number, answering_last=False))
        try:
            act()
        except ShardlineError:
            ends.add("died")
        else:
            ends.add("done")
        died = bool(proxy.fired)
        proxy.follow(lambda request: None)
        for record in list_aliases(store, "tiny"):
            assert_linear(record.history)
            assert record.version == record.history[-1].to_version in (1, 2)
        act()  # the same command continues
        if not died:
            break
    assert ends == {"died", "done"}
