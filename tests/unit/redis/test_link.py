from __future__ import annotations

import signal
import subprocess
import sys
import threading
from concurrent.futures import ThreadPoolExecutor
from time import monotonic, sleep

import pytest
from running import eventually

from celeriac.errors import ConfigurationError, DeadlineExceeded, ReadOnlyStore, StoreError, StoreFull
from celeriac_redis import testing
from celeriac_redis.link import LinkLost, Script

SECONDS = 10.0
ECHO = Script("echo", "return {KEYS[1], ARGV[1]}")


def connections(link) -> int:
    return sum(b"cmd=client" not in line for line in link.run("CLIENT", "LIST", timeout=SECONDS).splitlines())


def test_a_command_is_answered_in_bytes_numbers_and_nothing(link):
    assert link.run("SET", "key", "naïve", timeout=SECONDS) == b"OK"
    assert link.run(b"GET", b"key", timeout=SECONDS) == "naïve".encode()
    assert link.run("STRLEN", "key", timeout=SECONDS) == 6
    assert link.run("GET", "unknown", timeout=SECONDS) is None


def test_a_pipeline_is_answered_in_order(link):
    replies = link.pipeline([("SET", "key", 1), ("INCR", "key"), ("GET", "key")], timeout=SECONDS)

    assert replies == [b"OK", 2, b"2"]
    assert link.pipeline([], timeout=SECONDS) == []


def test_the_first_error_of_a_pipeline_is_raised_and_its_connection_stays_of_use(link):
    with pytest.raises(StoreError, match="INCR key"):
        link.pipeline([("SET", "key", "text"), ("INCR", "key"), ("LPUSH", "key", 1)], timeout=SECONDS)

    assert link.run("GET", "key", timeout=SECONDS) == b"text"


def test_errors_of_a_pipeline_may_be_had_beside_the_answers(link):
    replies = link.pipeline([("SET", "key", 1), ("LPUSH", "key", 1)], timeout=SECONDS, raise_errors=False)

    assert replies[0] == b"OK"
    assert isinstance(replies[1], StoreError)


def test_a_transaction_takes_effect_as_a_whole_or_not_at_all(link):
    commands = [("SET", "one", 1), ("INCR", "one")]

    assert link.pipeline(commands, timeout=SECONDS, transaction=True) == [b"OK", 2]
    with pytest.raises(StoreError, match="unknown command"):
        link.pipeline([("SET", "one", 5), ("NOSUCHCOMMAND",)], timeout=SECONDS, transaction=True)
    assert link.run("GET", "one", timeout=SECONDS) == b"2"


def test_a_script_is_known_to_the_server_after_its_first_run(link):
    assert link.script(ECHO, ["key"], ["value"], timeout=SECONDS) == [b"key", b"value"]
    assert link.run("SCRIPT", "EXISTS", ECHO.sha, timeout=SECONDS) == [1]


def test_a_script_that_the_server_forgot_is_sent_again(link):
    link.script(ECHO, ["key"], ["value"], timeout=SECONDS)
    link.run("SCRIPT", "FLUSH", timeout=SECONDS)

    assert link.script(ECHO, ["key"], ["value"], timeout=SECONDS) == [b"key", b"value"]


def test_one_script_runs_many_times_in_one_round_trip_also_when_forgotten(link):
    link.run("SCRIPT", "FLUSH", timeout=SECONDS)
    calls = [([f"key{number}"], [number]) for number in range(5)]

    for _ in range(2):
        assert link.scripts(ECHO, calls, timeout=SECONDS) == [[b"key%d" % n, b"%d" % n] for n in range(5)]


def test_no_answer_in_time_is_a_lost_connection(link):
    start = monotonic()

    with pytest.raises(LinkLost, match="not known"):
        link.run("BLPOP", "empty", 0, timeout=0.2)

    assert monotonic() - start < SECONDS


def test_an_answer_that_comes_late_is_read_by_nobody(link):
    with pytest.raises(LinkLost):
        link.run("BLPOP", "empty", 0, timeout=0.1)

    link.run("RPUSH", "empty", "late", timeout=SECONDS)

    assert link.run("ECHO", "mine", timeout=SECONDS) == b"mine"


def test_a_connection_is_thrown_away_when_an_exception_comes_in_between(link):
    def interrupt(*_: object) -> None:
        raise KeyboardInterrupt

    before = signal.signal(signal.SIGALRM, interrupt)
    timer = signal.setitimer(signal.ITIMER_REAL, 0.2)
    try:
        with pytest.raises(KeyboardInterrupt):
            link.run("BLPOP", "empty", 0, timeout=SECONDS)
    finally:
        signal.setitimer(signal.ITIMER_REAL, *timer)
        signal.signal(signal.SIGALRM, before)
    link.run("RPUSH", "empty", "late", timeout=SECONDS)

    assert link.run("ECHO", "mine", timeout=SECONDS) == b"mine"


def test_nothing_is_sent_after_the_deadline(link):
    with pytest.raises(DeadlineExceeded):
        link.run("SET", "key", 1, timeout=0.0)

    assert link.run("GET", "key", timeout=SECONDS) is None


def test_a_connection_that_the_server_closed_is_lost_once(connect, own_server):
    link, other = connect(own_server), connect(own_server)
    link.run("PING", timeout=SECONDS)
    other.run("CLIENT", "KILL", "TYPE", "normal", timeout=SECONDS)

    with pytest.raises(LinkLost):
        link.run("PING", timeout=SECONDS)
    assert link.run("PING", timeout=SECONDS) == b"PONG"


def test_a_connection_that_lay_idle_is_looked_at_before_it_is_used(connect, own_server):
    link, other = connect(own_server), connect(own_server)
    other.run("CLIENT", "KILL", "TYPE", "normal", timeout=SECONDS)
    sleep(1.1)  # as long as a connection is trusted

    assert link.run("PING", timeout=SECONDS) == b"PONG"


def test_threads_get_their_own_answers(link):
    def ask(number: int) -> bool:
        return all(link.run("ECHO", f"{number} {n}", timeout=SECONDS) == f"{number} {n}".encode() for n in range(200))

    with ThreadPoolExecutor(8) as pool:
        assert all(pool.map(ask, range(8)))


def test_connections_beyond_those_that_are_kept_are_closed(connect, own_server):
    link = connect(own_server, max_connections=2)
    barrier = threading.Barrier(6)

    def ask(_: int) -> None:
        barrier.wait(SECONDS)
        link.run("BLPOP", "empty", 0.2, timeout=SECONDS)

    with ThreadPoolExecutor(6) as pool:
        list(pool.map(ask, range(6)))

    eventually(lambda: connections(link) <= 2, "the others were not closed")


def test_closing_ends_a_call_that_waits_and_refuses_later_ones(link):
    def ask() -> None:
        with pytest.raises(LinkLost):
            link.run("BLPOP", "empty", 0, timeout=60)

    with ThreadPoolExecutor(1) as pool:
        asking = pool.submit(ask)
        other = testing.connect(link.location.label)
        eventually(lambda: b"cmd=blpop" in other.run("CLIENT", "LIST", timeout=SECONDS), "it does not wait")
        other.close()
        link.close()
        asking.result(SECONDS)

    with pytest.raises(LinkLost, match="closed"):
        link.run("PING", timeout=SECONDS)


def test_closing_hangs_up_a_connection_of_its_own(link):
    wire = link.connection(timeout=SECONDS)
    link.close()

    with pytest.raises(LinkLost):
        wire.read(SECONDS)
    wire.close()


FORKING = """
import os, sys
from celeriac_redis import testing

link = testing.connect(sys.argv[1])
link.open(10)
link.run("SET", "key", "parent", timeout=10)
child = os.fork()
if not child:
    fine = link.run("ECHO", "child", timeout=10) == b"child"
    link.close()
    os._exit(0 if fine else 1)
status = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
assert link.run("GET", "key", timeout=10) == b"parent"
assert b"id=" in link.run("CLIENT", "LIST", timeout=10)
link.close()
sys.exit(status)
"""


def test_a_forked_process_has_its_own_connections_and_leaves_those_of_its_parent_alone(url):
    done = subprocess.run([sys.executable, "-W", "error", "-c", FORKING, url], timeout=25, check=False)

    assert done.returncode == 0


# -- what the server refuses -------------------------------------------------------------------------------


def test_a_full_memory_is_a_full_store_and_a_script_does_nothing_then(connect, own_server):
    link = connect(own_server)
    link.run("CONFIG", "SET", "maxmemory", "1", timeout=SECONDS)
    script = Script("fill", "redis.call('SET', KEYS[1], 1) redis.call('SET', KEYS[2], 1)")

    for write in (
        lambda: link.run("SET", "key", 1, timeout=SECONDS),
        lambda: link.script(script, ["key", "other"], [], timeout=SECONDS),
        lambda: link.pipeline([("SET", "key", 1)], timeout=SECONDS, transaction=True),
    ):
        with pytest.raises(StoreFull, match="maxmemory"):
            write()

    assert link.run("DBSIZE", timeout=SECONDS) == 0


def test_a_key_of_another_kind_is_named(link):
    link.run("SET", "mine", 1, timeout=SECONDS)

    with pytest.raises(StoreError, match=r"LPUSH mine.*another kind"):
        link.run("LPUSH", "mine", 1, timeout=SECONDS)
    with pytest.raises(StoreError, match=r"push mine.*another kind"):
        link.script(Script("push", "return redis.call('LPUSH', KEYS[1], 1)"), ["mine"], [], timeout=SECONDS)


def test_a_replica_is_of_no_use(connect, own_server):
    link = connect(own_server)
    link.run("REPLICAOF", "127.0.0.1", 1, timeout=SECONDS)

    with pytest.raises(LinkLost, match="replica"):
        link.run("SET", "key", 1, timeout=SECONDS)
    link.run("REPLICAOF", "NO", "ONE", timeout=SECONDS)
    assert link.run("SET", "key", 1, timeout=SECONDS) == b"OK"


def test_a_server_that_wants_replicas_first_takes_no_writes(connect, own_server):
    link = connect(own_server)
    link.run("CONFIG", "SET", "min-replicas-to-write", 1, timeout=SECONDS)

    with pytest.raises(ReadOnlyStore, match="replicas"):
        link.run("SET", "key", 1, timeout=SECONDS)


def test_a_wrong_password_is_said_without_it(connect, own_server):
    connect(own_server).run("ACL", "SETUSER", "anna", "on", ">right", "allkeys", "+@all", timeout=SECONDS)
    place = own_server.removeprefix("redis+socket://")

    with pytest.raises(ConfigurationError) as refused:
        connect(f"redis+socket://anna:wrong-secret@{place}")

    assert "password" in str(refused.value)
    assert "wrong-secret" not in str(refused.value)
    assert connect(f"redis+socket://anna:right@{place}").run("ACL", "WHOAMI", timeout=SECONDS) == b"anna"


def test_a_missing_password_is_said(connect, own_server):
    connect(own_server).run("CONFIG", "SET", "requirepass", "secret", timeout=SECONDS)

    with pytest.raises(ConfigurationError, match="user and password into the URL"):
        connect(own_server)


def test_a_missing_right_is_said(connect, own_server):
    connect(own_server).run("ACL", "SETUSER", "anna", "on", ">pass", "~mine:*", "+@all", timeout=SECONDS)
    link = connect(own_server.replace("://", "://anna:pass@"))

    with pytest.raises(StoreError, match=r"SET yours.*ACL SETUSER"):
        link.run("SET", "yours", 1, timeout=SECONDS)


def test_credentials_are_asked_for_at_each_new_connection(connect, own_server):
    admin = connect(own_server)
    admin.run("ACL", "SETUSER", "anna", "on", ">one", "allkeys", "+@all", timeout=SECONDS)
    tokens = ["two", "one"]
    link = connect(own_server, credential_provider=lambda: ("anna", tokens.pop()))

    admin.run("ACL", "SETUSER", "anna", ">two", "<one", timeout=SECONDS)
    admin.run("CLIENT", "KILL", "USER", "anna", timeout=SECONDS)

    with pytest.raises(LinkLost):
        link.run("PING", timeout=SECONDS)
    assert link.run("ACL", "WHOAMI", timeout=SECONDS) == b"anna"
    assert tokens == []


def test_credentials_that_are_refused_may_be_better_next_time(connect, own_server):
    connect(own_server).run("ACL", "SETUSER", "anna", "on", ">one", "allkeys", "+@all", timeout=SECONDS)

    with pytest.raises(LinkLost):
        connect(own_server, credential_provider=lambda: ("anna", "stale"))


def test_nobody_at_the_address_is_a_lost_connection(connect):
    with pytest.raises(LinkLost, match="cannot connect"):
        connect("redis://127.0.0.1:1/0")


# -- what a server must be like ----------------------------------------------------------------------------


@pytest.mark.parametrize("policy", ["allkeys-lru", "volatile-ttl"])
def test_a_server_that_would_drop_keys_is_refused_with_the_fix(connect, own_server, policy):
    link = connect(own_server)
    link.run("CONFIG", "SET", "maxmemory-policy", policy, timeout=SECONDS)
    assert connect(own_server).run("PING", timeout=SECONDS) == b"PONG"

    link.run("CONFIG", "SET", "maxmemory", "100mb", timeout=SECONDS)

    with pytest.raises(ConfigurationError, match=rf"{policy}.*maxmemory-policy noeviction"):
        connect(own_server)
    assert connect(own_server, allow_eviction=True).run("PING", timeout=SECONDS) == b"PONG"


def test_a_server_that_does_not_let_us_ask_is_trusted(connect, own_server):
    admin = connect(own_server)
    admin.run("CONFIG", "SET", "maxmemory-policy", "allkeys-lru", "maxmemory", "100mb", timeout=SECONDS)
    admin.run("ACL", "SETUSER", "anna", "on", ">pass", "allkeys", "+@all", "-info", "-config", timeout=SECONDS)

    assert connect(own_server.replace("://", "://anna:pass@")).run("ECHO", "x", timeout=SECONDS) == b"x"
