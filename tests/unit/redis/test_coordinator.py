from __future__ import annotations

import math

import pytest
from running import eventually

from celeriac.errors import ConfigurationError
from celeriac_redis.coordinator import RedisCoordinator

SECONDS = 10.0


@pytest.fixture
def coordinator(opened, url) -> RedisCoordinator:
    return opened(RedisCoordinator, url)


def test_every_key_is_under_the_projects_name_and_the_users_prefix(opened, url, link):
    coordinator = opened(RedisCoordinator, url, global_keyprefix="mine:")

    coordinator.lease("a", "anna", ttl=60, timeout=SECONDS)
    coordinator.take("b", rate=1, capacity=5, timeout=SECONDS)
    coordinator.enter("c", "anna", limit=1, ttl=60, timeout=SECONDS)
    coordinator.remember("d", ["x"], ttl=60, timeout=SECONDS)

    assert sorted(link.run("KEYS", "*", timeout=SECONDS)) == [
        b"mine:celeriac:bucket:b",
        b"mine:celeriac:lease:a",
        b"mine:celeriac:semaphore:c",
        b"mine:celeriac:set:d",
    ]


def test_what_has_lapsed_leaves_no_key_behind(coordinator, link):
    coordinator.take("b", rate=100, capacity=5, timeout=SECONDS)
    coordinator.enter("c", "anna", limit=1, ttl=0.05, timeout=SECONDS)
    coordinator.enter("c", "bert", limit=1, ttl=0.05, timeout=SECONDS)
    coordinator.remember("d", ["x", "y"], ttl=0.05, timeout=SECONDS)

    eventually(lambda: link.run("DBSIZE", timeout=SECONDS) == 0, "keys are left")


def test_what_is_left_or_removed_leaves_no_key_behind(coordinator, link):
    coordinator.enter("c", "anna", limit=1, ttl=60, timeout=SECONDS)
    coordinator.remember("d", ["x"], ttl=60, timeout=SECONDS)

    coordinator.enter("c", "anna", limit=1, ttl=0, timeout=SECONDS)
    coordinator.remember("d", ["x"], ttl=0, timeout=SECONDS)

    assert link.run("DBSIZE", timeout=SECONDS) == 0


def test_a_key_lives_as_long_as_the_last_of_what_it_holds(coordinator, link):
    coordinator.enter("c", "anna", limit=2, ttl=100, timeout=SECONDS)
    coordinator.enter("c", "bert", limit=2, ttl=10, timeout=SECONDS)
    coordinator.remember("d", ["x"], ttl=100, timeout=SECONDS)
    coordinator.remember("d", ["y"], ttl=10, timeout=SECONDS)
    coordinator.lease("a", "anna", ttl=100, timeout=SECONDS)

    for key in ("semaphore:c", "set:d", "lease:a"):
        assert link.run("PTTL", f"celeriac:{key}", timeout=SECONDS) > 90_000


def test_a_token_grows_also_when_the_servers_clock_went_back(coordinator, link):
    first = coordinator.lease("a", "anna", ttl=60, timeout=SECONDS)
    coordinator.lease("a", "anna", ttl=0, timeout=SECONDS)
    assert first is not None
    ahead = first + 10**12
    link.run("HSET", "celeriac:lease:a", "token", ahead, timeout=SECONDS)

    assert coordinator.lease("a", "bert", ttl=60, timeout=SECONDS) == ahead + 1


def test_a_set_may_be_of_any_size(coordinator):
    members = [f"member-{number}" for number in range(5000)]

    coordinator.remember("d", members, ttl=60, timeout=SECONDS)

    assert coordinator.recall("d", [*members, "other"], timeout=SECONDS) == set(members)
    coordinator.remember("d", members[1:], ttl=0, timeout=SECONDS)
    assert coordinator.recall("d", members, timeout=SECONDS) == {members[0]}


def test_a_bucket_that_never_fills_says_so(coordinator, link):
    assert coordinator.take("b", rate=0, capacity=1, timeout=SECONDS) == 0.0
    assert coordinator.take("b", rate=0, capacity=1, timeout=SECONDS) == math.inf
    assert link.run("PTTL", "celeriac:bucket:b", timeout=SECONDS) == -1

    with pytest.raises(ConfigurationError, match="Raise its capacity"):
        coordinator.take("b", rate=1, capacity=1, amount=2, timeout=SECONDS)
