from __future__ import annotations

import json
import pickle
from concurrent.futures import ThreadPoolExecutor

import pytest
from running import eventually

from celeriac.errors import EncodeError, StoreError, StoreFull, StoreLost
from celeriac.model.record import FAILURE, REVOKED, STARTED, SUCCESS, ResultRecord
from celeriac_redis.results import RedisResultStore

SECONDS = 10.0


def record(id_: str, state: str = SUCCESS, **fields: object) -> ResultRecord:
    payload = json.dumps({"status": state, "result": None, "traceback": None, "task_id": id_}).encode()
    return ResultRecord(id=id_, state=state, payload=payload, **fields)


@pytest.fixture
def store(opened, url) -> RedisResultStore:
    return opened(RedisResultStore, url)


def states(store: RedisResultStore, *ids: str) -> dict[str, str]:
    return {id_: found.state for id_, found in store.get(ids, timeout=SECONDS).items()}


def test_a_result_lies_where_celery_looks_for_it_and_expires(store, link):
    store.put([record("1", expires_seconds=100.0), record("2")], timeout=SECONDS)

    assert link.run("GET", "celery-task-meta-1", timeout=SECONDS) == record("1").payload
    assert 90_000 < link.run("PTTL", "celery-task-meta-1", timeout=SECONDS) <= 100_000
    assert link.run("PTTL", "celery-task-meta-2", timeout=SECONDS) == -1


def test_every_key_has_the_prefix_that_was_asked_for(opened, url, link):
    store = opened(RedisResultStore, url, global_keyprefix="mine:")

    store.put([record("1")], timeout=SECONDS)

    assert link.run("KEYS", "*", timeout=SECONDS) == [b"mine:celery-task-meta-1"]
    assert states(store, "1") == {"1": SUCCESS}


FOREIGN = [
    lambda state: json.dumps({"status": state, "result": {"status": "SUCCESS"}}).encode(),
    lambda state: json.dumps({"status": state, "result": 1}, separators=(",", ":")).encode(),
    lambda state: json.dumps({"task_id": "1", "result": {"status": "SUCCESS"}, "status": state}).encode(),
    *[lambda state, p=protocol: pickle.dumps({"status": state, "result": None}, p) for protocol in range(2, 6)],
    lambda state: b"\x81\xa6status" + bytes([0xA0 | len(state)]) + state.encode(),
    lambda state: f"result: null\nstatus: {state}\n".encode(),
]


@pytest.mark.parametrize("write", FOREIGN)
def test_what_a_celery_worker_wrote_is_kept_by_the_same_rule(store, link, write):
    for old, new, stays in [
        (SUCCESS, FAILURE, True),
        (FAILURE, STARTED, True),
        (REVOKED, FAILURE, False),
        (STARTED, SUCCESS, False),
    ]:
        link.run("SET", "celery-task-meta-1", write(old), timeout=SECONDS)

        store.put([record("1", new)], timeout=SECONDS)

        assert states(store, "1") == {"1": old if stays else new}


def test_what_is_no_result_gives_way(store, link):
    link.run("SET", "celery-task-meta-1", "something else", timeout=SECONDS)
    link.run("SET", "celery-task-meta-2", "[1]", timeout=SECONDS)
    link.run("LPUSH", "celery-task-meta-3", "a list", timeout=SECONDS)

    store.put([record(id_, STARTED) for id_ in "123"], timeout=SECONDS)

    assert states(store, *"123") == dict.fromkeys("123", STARTED)


def test_a_result_that_is_too_large_is_refused_and_nothing_of_its_batch_is_stored(opened, url):
    store = opened(RedisResultStore, url, result_max_bytes=200)
    large = ResultRecord(id="large", state=SUCCESS, payload=b"x" * 201)

    with pytest.raises(EncodeError, match="large has 201 bytes"):
        store.put([record("1"), large], timeout=SECONDS)

    assert states(store, "1", "large") == {}


def test_batches_larger_than_one_script_are_all_stored(store):
    many = [record(str(number)) for number in range(1201)]
    large = [ResultRecord(id=f"large{n}", state=SUCCESS, payload=bytes(3 << 20)) for n in range(4)]

    store.put([*many, *large], timeout=SECONDS)

    assert len(store.get([one.id for one in [*many, *large]], timeout=SECONDS)) == 1205


def test_a_full_memory_refuses_results(opened, connect, own_server):
    store, link = opened(RedisResultStore, own_server), connect(own_server)
    link.run("CONFIG", "SET", "maxmemory", "1", timeout=SECONDS)

    with pytest.raises(StoreFull, match="result_expires"):
        store.put([record("1")], timeout=SECONDS)


# -- waiting -----------------------------------------------------------------------------------------------


def channels(link) -> int:
    return len(link.run("PUBSUB", "CHANNELS", "celery-task-meta-*", timeout=SECONDS))


def test_a_celery_worker_is_heard_too(store, link):
    store.watch(["1"], timeout=SECONDS)
    document = json.dumps({"status": "SUCCESS", "result": 4}).encode()

    link.run("PUBLISH", "celery-task-meta-1", document, timeout=SECONDS)

    assert store.changed(timeout=SECONDS) == {"1": ResultRecord(id="1", state=SUCCESS, payload=document)}


def test_all_results_are_awaited_over_one_connection(opened, connect, own_server):
    store, link = opened(RedisResultStore, own_server), connect(own_server)
    ids = [str(number) for number in range(2500)]

    store.watch(ids, timeout=SECONDS)

    assert channels(link) == 2500
    assert link.run("CLIENT", "LIST", "TYPE", "pubsub", timeout=SECONDS).count(b"id=") == 1
    store.put([record(id_) for id_ in ids], timeout=SECONDS)
    found: dict[str, ResultRecord] = {}
    while len(found) < 2500:
        new = store.changed(timeout=SECONDS)
        assert new
        found.update(new)


def test_no_channel_and_no_key_is_left_behind(opened, connect, own_server):
    store, link = opened(RedisResultStore, own_server), connect(own_server)
    ids = [str(number) for number in range(1500)]
    store.watch(ids, timeout=SECONDS)
    store.put([record(id_, expires_seconds=60.0) for id_ in ids], timeout=SECONDS)

    store.unwatch(ids, timeout=SECONDS)
    store.delete(ids, timeout=SECONDS)

    eventually(lambda: channels(link) == 0, "channels are left")
    assert link.run("DBSIZE", timeout=SECONDS) == 0
    store.close()
    eventually(lambda: b"id=" not in link.run("CLIENT", "LIST", "TYPE", "pubsub", timeout=SECONDS), "it is open")


def test_watching_twice_subscribes_once(store, link):
    store.watch(["1", "1"], timeout=SECONDS)
    store.watch(["1"], timeout=SECONDS)

    store.unwatch(["1", "2"], timeout=SECONDS)

    eventually(lambda: channels(link) == 0, "the channel is left")
    store.watch(["1"], timeout=SECONDS)
    store.put([record("1")], timeout=SECONDS)
    assert set(store.changed(timeout=SECONDS)) == {"1"}


def test_what_is_stored_after_watching_is_announced_however_many_threads_watch(store, opened, url):
    writer = opened(RedisResultStore, url)

    def await_own(number: int) -> None:
        ids = [f"{number}-{each}" for each in range(40)]
        for id_ in ids:
            store.watch([id_], timeout=SECONDS)
            writer.put([record(id_)], timeout=SECONDS)

    found: set[str] = set()
    with ThreadPoolExecutor(5) as pool:
        working = [pool.submit(await_own, number) for number in range(5)]
        while len(found) < 200:
            new = store.changed(timeout=SECONDS)
            assert new
            found.update(new)
        for each in working:
            each.result(SECONDS)


def test_a_broken_subscription_is_told_to_who_waits_and_to_who_watches(opened, connect, own_server):
    store, link = opened(RedisResultStore, own_server), connect(own_server)
    store.watch(["1"], timeout=SECONDS)

    with ThreadPoolExecutor(1) as pool:
        waiting = pool.submit(store.changed, timeout=60)
        link.run("CLIENT", "KILL", "TYPE", "pubsub", timeout=SECONDS)
        with pytest.raises(StoreLost):
            waiting.result(SECONDS)
    with pytest.raises(StoreLost):
        store.watch(["2"], timeout=SECONDS)
    assert states(store, "1") == {}


def test_waiting_for_nothing_ends_after_its_time_or_with_the_store(store):
    assert store.changed(timeout=0.05) == {}

    with ThreadPoolExecutor(1) as pool:
        waiting = pool.submit(store.changed, timeout=60)
        store.close()
        assert waiting.result(SECONDS) == {}

    with pytest.raises(StoreError):
        store.watch(["1"], timeout=SECONDS)
