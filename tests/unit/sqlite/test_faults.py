"""Processes that race, die and come back late; disks that fill up; rows that are damaged."""

from __future__ import annotations

import os
import signal
import sqlite3
import subprocess
import threading
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing

import pytest

from celeriac.errors import DeadlineExceeded, EncodeError, StoreFull
from celeriac.model.message import Message
from celeriac.model.outcome import Action, Verdict
from celeriac.model.record import ResultRecord

SECONDS = 5.0
Start = Callable[..., subprocess.Popen[str]]


def _line(child: subprocess.Popen[str]) -> str:
    assert child.stdout is not None
    return child.stdout.readline().strip()


def _integrity(stores) -> str:
    with closing(sqlite3.connect(stores.path)) as connection:
        (found,) = connection.execute("PRAGMA integrity_check").fetchone()
    return str(found)


def test_processes_that_race_share_the_messages_without_doubles(live, start: Start, message) -> None:
    transport = live.transport()
    transport.publish([message(str(number)) for number in range(600)], timeout=SECONDS)

    workers = [start("work", f"w{number}") for number in range(3)]
    assert [_line(worker) for worker in workers] == ["ready"] * 3
    done = [int(_line(worker)) for worker in workers]

    assert sum(done) == 600
    (depth,) = transport.depths(["done"], timeout=SECONDS)
    assert depth.waiting == 600
    ids = [str(number) for number in range(600)]
    assert live.results().get(ids, timeout=SECONDS).keys() == set(ids)


@pytest.mark.timeout(90)
def test_a_kill_at_any_instant_loses_nothing_and_leaves_the_database_whole(live, start: Start) -> None:
    """Publishers and workers are killed in mid-flight; what was accepted is settled exactly once or still there."""
    live.transport()
    accepted = 0
    for round_ in range(4):
        worker = start("work", f"w{round_}", query="?lease_seconds=0.3")
        assert _line(worker) == "ready"
        publisher = start("publish", f"p{round_}", "100000")
        for _ in range(15 * (round_ + 1)):
            assert _line(publisher)
        for child in (publisher, worker):
            child.send_signal(signal.SIGKILL)
            child.wait(SECONDS)
        assert publisher.stdout is not None
        lines = 15 * (round_ + 1) + len(publisher.stdout.read().splitlines())
        accepted += 10 * lines
        assert _integrity(live) == "ok"

    # Each message is waiting, held by a dead worker, or settled; and settled means its follow-up is there.
    with closing(sqlite3.connect(live.path)) as connection:
        (messages,) = connection.execute("SELECT count(*) FROM message").fetchone()
        (placed,) = connection.execute("SELECT (SELECT count(*) FROM ready) + (SELECT count(*) FROM held)").fetchone()
        (results,) = connection.execute("SELECT count(*) FROM result").fetchone()
        (followups,) = connection.execute(
            "SELECT count(*) FROM ready JOIN queue ON queue.id = ready.queue WHERE name = 'done'"
        ).fetchone()
    # A killed publisher may have committed one batch that it did not live to report.
    assert accepted <= messages <= accepted + 4 * 10
    assert placed == messages
    assert results == followups > 0


def test_a_stopped_worker_that_comes_back_late_is_refused(live, start: Start, message) -> None:
    transport = live.transport(lease_seconds=0.2, holder="late")
    transport.publish([message("x")], timeout=SECONDS)
    (late,) = transport.receive(["q"], limit=1, timeout=0)
    other = start("hold", "other")
    assert _line(other) == "1"

    record = ResultRecord(id="x", state="SUCCESS", payload=b"late")
    verdict = Verdict(delivery=late, records=(record,), followups=(message("late", "next"),))
    refused = transport.settle([verdict], timeout=SECONDS)

    assert refused == [verdict]
    assert live.results().get(["x"], timeout=SECONDS) == {}
    assert transport.depths(["next"], timeout=SECONDS)[0].waiting == 0
    assert transport.renew(timeout=SECONDS) is False


def test_a_killed_holder_keeps_its_messages_until_its_lease_lapses(live, start: Start, message) -> None:
    transport = live.transport("?lease_seconds=0.5")
    transport.publish([message("x")], timeout=SECONDS)
    # The lease of the child is 30 s; it is shortened here instead of waiting for it.
    child = start("hold", "child")
    assert _line(child) == "1"
    os.kill(child.pid, signal.SIGKILL)
    child.wait(SECONDS)
    assert transport.receive(["q"], limit=1, timeout=0) == []

    with transport._database.write("test", SECONDS) as transaction:
        transaction.execute("UPDATE lease SET expires = ? WHERE holder = 'child'", (time.monotonic(),))

    (again,) = transport.receive(["q"], limit=1, timeout=0)
    assert again.deliveries == 2


def test_a_full_disk_refuses_a_publish_as_a_whole_and_keeps_what_was_accepted(live, message) -> None:
    transport = live.transport(max_bytes=400_000)
    bodies = [str(number) * 500 for number in range(10)]
    accepted = 0
    refusal = ""
    while not refusal:
        try:
            transport.publish([message(body) for body in bodies], timeout=SECONDS)
            accepted += len(bodies)
        except StoreFull as error:
            refusal = str(error)

    # Settling needs no more room than it frees, so the store gets out of this by itself.
    settled = 0
    while taken := transport.receive(["q"], limit=10, timeout=0):
        assert transport.settle([Verdict(delivery=one) for one in taken], timeout=SECONDS) == []
        settled += len(taken)

    assert settled == accepted > 0
    assert "nothing of it was stored" in refusal
    assert "max_bytes" in refusal
    transport.publish([message("room again")], timeout=SECONDS)
    assert _integrity(live) == "ok"


def test_a_lock_that_is_not_given_back_ends_in_a_deadline(live, message) -> None:
    transport = live.transport()
    with closing(sqlite3.connect(live.path, isolation_level=None)) as other:
        other.execute("BEGIN IMMEDIATE")
        started = time.monotonic()

        with pytest.raises(DeadlineExceeded, match="locked by another process"):
            transport.publish([message()], timeout=0.1)

        assert time.monotonic() - started < 2
        other.execute("ROLLBACK")
    transport.publish([message()], timeout=SECONDS)


def test_a_damaged_message_is_delivered_as_the_bytes_it_is_and_hinders_no_other(live, message) -> None:
    transport = live.transport()
    transport.publish([message("before"), message("broken"), message("after")], timeout=SECONDS)
    with transport._database.write("test", SECONDS) as transaction:
        transaction.execute("UPDATE message SET text = '{\"body\":' WHERE id = 2")

    before, broken, after = transport.receive(["q"], limit=3, timeout=0)

    assert (before.message.body, after.message.body) == (b"before", b"after")
    assert broken.message.body == b'{"body":'
    assert broken.message.content_type == "application/octet-stream"
    assert transport.settle([Verdict(delivery=broken, action=Action.DEAD, reason="damaged")], timeout=SECONDS) == []
    assert transport.letters(limit=1, timeout=SECONDS)[0].message.body == b'{"body":'


@pytest.mark.parametrize(
    "headers",
    [{"text": "\ud800"}, {"value": object()}, {"deep": []}],
    ids=["lone surrogate", "no JSON", "endless"],
)
def test_headers_that_cannot_be_written_are_refused_with_the_whole_batch(live, message, headers) -> None:
    if "deep" in headers:
        headers["deep"].append(headers)
    transport = live.transport()

    with pytest.raises(EncodeError, match="headers"):
        transport.publish([message("fine"), message("bad", headers=headers)], timeout=SECONDS)

    assert transport.depths(timeout=SECONDS) == []


@pytest.mark.parametrize("size", [0, 16 * 1024, 16 * 1024 + 1, 3_000_000])
def test_a_body_of_any_size_and_content_comes_back_equal(live, message, size: int) -> None:
    transport = live.transport()
    body = (bytes(range(256)) * (size // 256 + 1))[:size]
    sent = message(body, headers={"a": [1, None, "é\x00\n"]}, content_type="x/y", content_encoding="binary")

    transport.publish([sent], timeout=SECONDS)
    (browsed,) = transport.browse("q", limit=1, timeout=SECONDS)
    (taken,) = transport.receive(["q"], limit=1, timeout=0)

    assert taken.message == browsed == sent
    transport.settle([Verdict(delivery=taken)], timeout=SECONDS)
    with transport._database.read("test", SECONDS) as connection:
        assert connection.execute("SELECT (SELECT count(*) FROM body) + (SELECT count(*) FROM message)").fetchone() == (
            0,
        )


def test_a_take_of_large_messages_ends_in_time_and_in_order(live, message, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("celeriac_sqlite._taking._MOST_BYTES", 100_000)
    transport = live.transport()
    transport.publish([message(f"{number}" * 40_000) for number in range(5)] + [message("small")], timeout=SECONDS)

    takes = []
    while taken := transport.receive(["q"], limit=100, timeout=0):
        takes.append([one.message.body[:1] for one in taken])

    assert takes == [[b"0", b"1"], [b"2", b"3"], [b"4", b"s"]]


@pytest.mark.skipif(not hasattr(os, "fork"), reason="no fork here")
@pytest.mark.filterwarnings("ignore:.*multi-threaded.*fork:DeprecationWarning")
def test_a_fork_leaves_the_parent_its_connection_and_the_child_an_error(live, message) -> None:
    transport = live.transport()
    transport.publish([message("before")], timeout=SECONDS)

    child = os.fork()
    if child == 0:
        code = 1
        try:
            transport.publish([message("not here")], timeout=SECONDS)
        except ConnectionError as error:
            own = live.transport(holder="child")
            own.publish([message("child")], timeout=SECONDS)
            own.close()
            code = 0 if "before a fork" in str(error) else 2
        finally:
            os._exit(code)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
    transport.publish([message("after")], timeout=SECONDS)

    found = transport.receive(["q"], limit=9, timeout=0)
    assert [one.message.body for one in found] == [b"before", b"child", b"after"]


def test_the_write_ahead_log_stays_bounded_beside_readers_without_a_pause(
    live, message, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Readers that overlap keep SQLite from starting the log anew by itself; the renewal sees to it."""
    monkeypatch.setattr("celeriac_sqlite._database._MOST_WAL_BYTES", 1_000_000)
    transport = live.transport(synchronous="off")
    log = live.path.with_name("queue.db-wal")
    over = threading.Event()

    def read() -> None:
        reader = live.transport(holder="reader")
        while not over.is_set():
            reader.depths(timeout=SECONDS)

    with ThreadPoolExecutor(2) as pool:
        readers = [pool.submit(read) for _ in range(2)]
        written = 0
        try:
            for _ in range(40):
                transport.publish([message("x" * 10_000) for _ in range(50)], timeout=SECONDS)
                written += 50 * 10_000
                transport.renew(timeout=SECONDS)
        finally:
            over.set()
        for reader in readers:
            reader.result(SECONDS)

    assert log.stat().st_size < 3_000_000 < written


def test_a_million_delayed_messages_would_not_slow_a_take(live, message) -> None:
    """A hundred thousand here: the time of a take must not follow their number."""
    transport = live.transport(synchronous="off")
    later = time.time() + 86_400
    batch = [Message(body=b"", routing_key="q", due=later + number) for number in range(2_000)]
    transport.publish([message("now")], timeout=SECONDS)
    for _ in range(10):
        transport.publish(batch, timeout=SECONDS)
    with transport._database.write("test", 60) as transaction:
        transaction.execute(
            "WITH RECURSIVE n(i) AS (SELECT 0 UNION ALL SELECT i + 1 FROM n WHERE i < 80000)"
            " INSERT INTO delayed SELECT ? + i, 1000000 + i, 1, 0, 0, 0 FROM n",
            (later,),
        )
    started = time.thread_time()

    (taken,) = transport.receive(["q"], limit=100, timeout=0)
    transport.settle([Verdict(delivery=taken)], timeout=SECONDS)

    assert time.thread_time() - started < 0.02
