"""Joins are counted where Celery's workers count; what these do is done here by hand."""

from __future__ import annotations

import pytest

from celeriac.model.join import UNPLACED, Growth, Join, Part
from celeriac.model.message import Message
from celeriac.model.outcome import Verdict
from celeriac.model.record import GROUP_PREFIX
from celeriac_redis.results import RedisResultStore
from celeriac_redis.transport import RedisTransport

SECONDS = 10.0
QUEUE = "celeriac.joins"
BASE = f"{GROUP_PREFIX}g"


def message(text: str) -> Message:
    return Message(body=text.encode(), routing_key=QUEUE, headers={"id": text})


def join(size: int, **terms: object) -> Join:
    return Join(id="g", size=size, message=message("ours"), **{"successes": size, **terms})


def part(place: int, *, succeeded: bool = True, value: object = None) -> Part:
    payload = f'[1, "id-{place}", "SUCCESS", "{value}"]'.encode()
    return Part(join="g", member=f"id-{place}", place=place, succeeded=succeeded, payload=payload)


def theirs(place: int, *, member: str = "", value: object = None, expires_seconds: float | None = 100.0) -> Part:
    member = member or f"id-{place}"
    payload = f'[1, "{member}", "SUCCESS", "{value}"]'.encode()
    return Part(
        join="g",
        member=member,
        place=place,
        succeeded=True,
        payload=payload,
        message=message(f"theirs {place}"),
        expires_seconds=expires_seconds,
    )


class Bench:
    """Each way to give parts, and Celery's own commands."""

    def __init__(self, store: RedisResultStore, transport: RedisTransport, link: object, way: str) -> None:
        self.store, self.transport, self.link, self.way = store, transport, link, way

    def run(self, *command: object) -> object:
        return self.link.run(*(str(word) for word in command), timeout=SECONDS)

    def open(self, opened: Join) -> None:
        if self.way == "settled":
            self.transport.settle([Verdict(delivery=None, joins=(opened,))], timeout=SECONDS)
        else:
            self.store.open_joins([opened], timeout=SECONDS)

    def give(self, *parts: Part) -> list[str]:
        if self.way == "given":
            return [each.body.decode() for each in self.store.give(parts, timeout=SECONDS)]
        self.transport.settle([Verdict(delivery=None, parts=parts)], timeout=SECONDS)
        found = self.transport.receive([QUEUE], limit=10, timeout=0.0)
        return [delivery.message.body.decode() for delivery in found]

    def grow(self, growth: Growth) -> None:
        if self.way == "settled":
            self.transport.settle([Verdict(delivery=None, grows=(growth,))], timeout=SECONDS)
        else:
            self.store.grow([growth], timeout=SECONDS)

    def close(self) -> None:
        if self.way == "settled":
            self.transport.settle([Verdict(delivery=None, closes=("g",))], timeout=SECONDS)
        else:
            self.store.close_joins(["g"], timeout=SECONDS)

    def places(self) -> list[int]:
        return [each.place for each in self.store.parts("g", timeout=SECONDS)]

    def kept(self) -> set[str]:
        return {key.decode().removeprefix(BASE) for key in self.run("KEYS", f"{BASE}*")}


@pytest.fixture(params=["given", "settled"])
def bench(opened, url, link, request) -> Bench:
    store, transport = opened(RedisResultStore, url), opened(RedisTransport, url)
    assert transport.commits_with(store)
    return Bench(store, transport, link, request.param)


def test_an_open_join_tells_celerys_workers_its_size_and_them_what_ours_gave(bench):
    bench.open(join(2, expires_seconds=100.0))

    assert bench.give(part(1, value="one")) == []

    assert bench.run("GET", f"{BASE}.s") == b"2"
    assert bench.run("ZRANGE", f"{BASE}.j", 0, -1, "WITHSCORES") == [part(1, value="one").payload, b"1"]
    assert bench.run("SMEMBERS", f"{BASE}.d") == [b"id-1:1"]
    assert all(90_000 < bench.run("PTTL", BASE + suffix) <= 100_000 for suffix in (".s", ".j", ".d"))


def test_a_join_is_complete_with_the_last_part_whoever_gave_the_others(bench):
    bench.open(join(3))
    bench.run("ZADD", f"{BASE}.j", 0, "theirs")
    bench.run("SADD", f"{BASE}.d", "id-0:0")

    assert [bench.give(part(2)), bench.give(part(0)), bench.give(part(1))] == [[], [], ["ours"]]
    assert bench.places() == [0, 1, 2]


def test_a_join_that_a_worker_of_celerys_ends_tells_nothing_here(bench):
    bench.open(join(1))
    bench.run("SET", f"{BASE}.c", "a token of theirs")

    assert bench.give(part(0)) == []
    bench.close()

    assert bench.run("GET", f"{BASE}.c") == b"a token of theirs"


def test_a_join_whose_claim_lapsed_is_told_with_a_part_that_comes_again(bench):
    bench.open(join(1))
    bench.run("SET", f"{BASE}.c", "a token of theirs")
    bench.give(part(0))

    bench.run("DEL", f"{BASE}.c")

    assert bench.give(part(0)) == ["ours"]


def test_what_comes_after_a_worker_of_celerys_is_done_changes_nothing(bench):
    bench.open(join(1))
    bench.run("DEL", f"{BASE}.s")
    bench.run("SET", f"{BASE}.c", "done")

    assert bench.give(part(0, succeeded=False)) == []
    bench.grow(Growth(join="g", member="new"))

    assert bench.places() == []
    assert bench.kept() == {".c"}


def test_a_late_failure_does_not_begin_anew_what_was_done_and_forgotten(bench):
    bench.open(join(2))
    bench.run("DEL", f"{BASE}.s")

    assert bench.give(part(0, succeeded=False)) == []


def test_a_member_counts_once_whatever_it_gives_the_second_time(bench):
    bench.open(join(2))
    bench.give(part(0, value="first"))

    assert bench.give(part(0, value="second")) == []
    assert bench.run("ZRANGE", f"{BASE}.j", 0, -1) == [part(0, value="first").payload]


@pytest.mark.parametrize(("failures", "told"), [(1, [["ours"], []]), (3, [[], ["ours"]])])
def test_a_failure_ends_the_wait_where_the_policy_says_so(bench, failures, told):
    bench.open(join(2, failures=failures))

    assert [bench.give(part(0, succeeded=False)), bench.give(part(1))] == told


def test_a_join_grows_by_each_member_once_where_celerys_workers_see_it(bench):
    bench.open(join(1))
    for _ in range(2):
        bench.grow(Growth(join="g", member="new"))

    assert bench.run("GET", f"{BASE}.t") == b"1"
    assert [bench.give(part(0)), bench.give(part(7))] == [[], ["ours"]]


def test_a_closed_join_keeps_a_word_for_celerys_workers_and_nothing_else(bench):
    bench.open(join(1))
    bench.give(part(0))

    bench.close()

    assert bench.kept() == {".c"}
    assert bench.run("GET", f"{BASE}.c") == b"done"
    assert 0 < bench.run("PTTL", f"{BASE}.c") <= 300_000
    assert (bench.give(part(0)), bench.places()) == ([], [])


def test_a_chord_of_a_celery_client_is_told_with_the_message_of_the_last_part(bench):
    bench.run("SET", f"{BASE}.s", 2)

    assert [bench.give(theirs(1)), bench.give(theirs(0))] == [[], ["theirs 0"]]
    assert bench.places() == [0, 1]
    bench.close()
    assert bench.kept() == {".c"}


def test_a_chord_of_a_celery_client_waits_until_its_size_is_known(bench):
    assert bench.give(theirs(0)) == []
    assert 90_000 < bench.run("PTTL", f"{BASE}.j") <= 100_000

    bench.run("SET", f"{BASE}.s", 2)
    bench.run("INCR", f"{BASE}.t")

    assert [bench.give(theirs(1)), bench.give(theirs(UNPLACED, member="last"))] == [[], [f"theirs {UNPLACED}"]]
    assert bench.places() == [0, 1, UNPLACED]
    assert b"last:+inf" in bench.run("SMEMBERS", f"{BASE}.d")


def test_members_of_a_celery_clients_chord_count_once_also_in_one_batch(bench):
    bench.run("SET", f"{BASE}.s", 2)

    assert bench.give(theirs(0), theirs(0, value="again")) == []
    assert bench.give(theirs(0), theirs(1), theirs(1)) == ["theirs 1"]


def test_a_chord_of_a_celery_client_grows_once_by_each_member(bench):
    bench.run("SET", f"{BASE}.s", 1)
    for _ in range(2):
        bench.grow(Growth(join="g", member="new", theirs=True, expires_seconds=100.0))

    assert 90_000 < bench.run("PTTL", f"{BASE}.t") <= 100_000
    assert [bench.give(theirs(0)), bench.give(theirs(1))] == [[], ["theirs 1"]]


def test_parts_without_order_are_added_as_celerys_workers_add_them(bench):
    bench.run("SET", f"{BASE}.s", 2)
    bench.run("RPUSH", f"{BASE}.j", "theirs")

    assert bench.give(theirs(5)) == ["theirs 5"]
    assert [each.payload for each in bench.store.parts("g", timeout=SECONDS)] == [b"theirs", theirs(5).payload]


def test_a_complete_chord_is_told_again_to_who_gives_again_until_it_is_closed(bench):
    bench.run("SET", f"{BASE}.s", 1)
    bench.give(theirs(0))

    again = bench.store.give([theirs(0)], timeout=SECONDS)

    assert [each.body for each in again] == [b"theirs 0"]
    assert bench.store.give([theirs(1)], timeout=SECONDS) == []
    bench.close()
    assert bench.store.give([theirs(0)], timeout=SECONDS) == []


def test_a_quorum_is_complete_with_what_ours_gave_or_when_all_have_ended(bench):
    terms = {"successes": 2, "failures": 3}
    bench.open(join(4, **terms))

    assert [bench.give(part(0)), bench.give(part(1))] == [[], ["ours"]]


def test_a_quorum_is_complete_when_all_have_ended_whoever_ran_them(bench):
    bench.open(join(3, successes=2, failures=2))
    for place in range(2):
        bench.run("ZADD", f"{BASE}.j", place, f"theirs {place}")
        bench.run("SADD", f"{BASE}.d", f"id-{place}:{place}")

    assert bench.give(part(2)) == ["ours"]


def test_what_an_open_join_would_publish_is_told_and_of_a_closed_one_nothing(bench):
    bench.open(join(2))
    opened = bench.store.message("g", timeout=SECONDS)
    bench.close()

    assert opened == message("ours")
    assert bench.store.message("g", timeout=SECONDS) is None
    assert bench.store.message("unknown", timeout=SECONDS) is None
    assert bench.kept() == set()
