"""The coordinator between processes and over restarts. The rest is in the contract suite."""

from __future__ import annotations

import pytest

from celeriac.errors import ConfigurationError
from celeriac.testing.clock import VirtualClock

SECONDS = 5.0
DAY = 86_400.0


def test_tokens_grow_whoever_gets_the_lease_in_whatever_process(live, start) -> None:
    children = [start("contend", f"owner{number}", "40") for number in range(3)]

    tokens = []
    for child in children:
        assert child.stdout is not None
        tokens.append([int(line) for line in child.stdout.read().split()])
        assert child.wait(SECONDS) == 0

    assert all(own == sorted(set(own)) for own in tokens)
    everything = [token for own in tokens for token in own]
    assert len(set(everything)) == len(everything) > 0


def _restart(stores) -> None:
    """Start the machine anew: the date goes on, the monotonic clock begins at 0."""
    moment = stores.clock.time()
    stores.clock = VirtualClock(moment)


def test_a_lease_and_a_seat_end_with_the_machine_and_a_set_outlives_it(stores, clock: VirtualClock) -> None:
    clock.advance(100 * DAY)
    before = stores.coordinator()
    token = before.lease("leader", "a", ttl=60, timeout=SECONDS)
    assert before.enter("key", "a", limit=1, ttl=60, timeout=SECONDS)
    before.remember("revoked", ["task"], ttl=30 * DAY, timeout=SECONDS)
    before.close()

    _restart(stores)
    after = stores.coordinator()

    assert after.lease("leader", "b", ttl=60, timeout=SECONDS) > token
    assert after.enter("key", "b", limit=1, ttl=60, timeout=SECONDS)
    assert after.recall("revoked", ["task", "other"], timeout=SECONDS) == {"task"}


def test_a_bucket_is_full_after_a_restart_and_then_empties(stores, clock: VirtualClock) -> None:
    clock.advance(DAY)
    before = stores.coordinator()
    assert before.take("b", rate=0.001, capacity=1, timeout=SECONDS) == 0.0
    assert before.take("b", rate=0.001, capacity=1, timeout=SECONDS) == pytest.approx(1000)

    _restart(stores)
    after = stores.coordinator()

    assert after.take("b", rate=0.001, capacity=1, timeout=SECONDS) == 0.0
    assert after.take("b", rate=0.001, capacity=1, timeout=SECONDS) == pytest.approx(1000)


def test_more_than_a_bucket_holds_is_refused(stores) -> None:
    with pytest.raises(ConfigurationError, match="can never give 3"):
        stores.coordinator().take("b", rate=1, capacity=2, amount=3, timeout=SECONDS)


def test_what_has_lapsed_does_not_pile_up(stores, clock: VirtualClock) -> None:
    coordinator = stores.coordinator()
    for number in range(100):
        coordinator.lease(f"lease-{number}", "a", ttl=1, timeout=SECONDS)
        coordinator.take(f"bucket-{number}", rate=10, capacity=1, timeout=SECONDS)
        coordinator.enter(f"key-{number}", "a", limit=1, ttl=1, timeout=SECONDS)
        coordinator.remember("set", [f"member-{number}"], ttl=1, timeout=SECONDS)
        clock.advance(2)

    with coordinator._database.read("test", SECONDS) as connection:
        counts = [
            connection.execute(f"SELECT count(*) FROM {table}").fetchone()[0]
            for table in ("lock", "bucket", "seat", "member")
        ]
    assert max(counts) <= 2
