"""The link to Redis under a bad network: a call that fails says so in time, and no later call reads its answer."""

from __future__ import annotations

import threading
import time

import pytest

pytest.importorskip("celeriac_redis.transport")
import redis_servers

if not redis_servers.installed():
    pytest.skip("redis-server is not installed", allow_module_level=True)

from proxy import Proxy
from redis_groups import redis_cluster, redis_sentinels
from redis_servers import redis_server, tls_server
from running import eventually

from celeriac.errors import ConfigurationError, DeadlineExceeded
from celeriac.model.address import Address
from celeriac.spi.service import read_options

link_module = pytest.importorskip("celeriac_redis.link")
location = pytest.importorskip("celeriac_redis.location")
plugin = pytest.importorskip("celeriac_redis.plugin")
replies = pytest.importorskip("celeriac_redis.replies")
Link, LinkLost, Script = link_module.Link, link_module.LinkLost, link_module.Script

ECHO = Script("echo", "return ARGV[1]")
ADD = Script("add", "return redis.call('INCRBY', KEYS[1], ARGV[1])")


def link_to(url, **options):
    address = Address.parse(url)
    return Link(location.locate(address, read_options(plugin.CONNECTION_OPTIONS, address, options, source="test")))


@pytest.fixture(scope="module")
def server():
    with redis_server() as server:
        yield server


@pytest.fixture
def proxy(server):
    server.run("FLUSHALL")
    with Proxy(server.port) as proxy:
        yield proxy


@pytest.fixture
def link(proxy):
    link = link_to(f"redis://127.0.0.1:{proxy.port}/0")
    link.open(5)
    yield link
    link.close()


def calls(link, text):
    return {
        "run": lambda: link.run("ECHO", text, timeout=5),
        "pipeline": lambda: link.pipeline([("ECHO", text)] * 3, timeout=5)[2],
        "transaction": lambda: link.pipeline([("ECHO", text)] * 3, timeout=5, transaction=True)[2],
        "script": lambda: link.script(ECHO, ["k"], [text], timeout=5),
    }


@pytest.mark.parametrize("direction", ["answers", "requests"])
@pytest.mark.parametrize("reset", [True, False], ids=["reset", "end"])
@pytest.mark.parametrize("kind", ["run", "pipeline", "transaction", "script"])
def test_a_call_whose_bytes_are_cut_anywhere_fails_and_the_next_one_reads_its_own_answer(
    link, proxy, direction, reset, kind
):
    assert calls(link, "first")[kind]() == b"first"  # a script is sent in full only once
    before = dict(proxy.bytes)
    assert calls(link, "first")[kind]() == b"first"
    size = proxy.bytes[direction] - before[direction]

    for cut in range(0, size, max(1, size // 25)):
        proxy.cut(cut, direction, reset=reset)
        with pytest.raises(LinkLost):
            calls(link, f"lost {cut}")[kind]()
        assert calls(link, f"found {cut}")[kind]() == b"found %d" % cut

    assert proxy.armed == 0


def test_an_answer_that_comes_too_late_is_read_by_nobody(link, proxy):
    proxy.latency = 0.3
    with pytest.raises(LinkLost):
        link.run("ECHO", "late", timeout=0.2)
    proxy.latency = 0.0

    for number in range(200):
        assert link.run("ECHO", number, timeout=5) == str(number).encode()


@pytest.mark.parametrize("timeout", [0.05, 0.5])
def test_a_call_into_silence_ends_when_its_time_is_over(link, proxy, timeout):
    proxy.silence()
    begin = time.monotonic()

    for _ in range(3):
        with pytest.raises((LinkLost, DeadlineExceeded)):
            link.run("PING", timeout=timeout)

    assert time.monotonic() - begin < 3 * timeout + 2
    proxy.heal()
    assert link.run("ECHO", "back", timeout=5) == b"back"


def test_a_store_that_refuses_connections_is_told_at_once(link, proxy):
    proxy.refuse()
    proxy.drop()

    with pytest.raises(LinkLost):
        link.run("PING", timeout=20)
    with pytest.raises(LinkLost, match="cannot connect"):
        link.run("PING", timeout=20)

    proxy.heal()
    assert link.run("ECHO", "back", timeout=5) == b"back"


def test_every_thread_reads_its_own_answers_while_connections_break_all_the_time(link, proxy):
    wrong, lost, right = [], [], []

    def talk(name):
        for number in range(150):
            try:
                answer = link.run("ECHO", f"{name} {number}", timeout=5)
            except LinkLost:
                lost.append(number)
            else:
                (right if answer == f"{name} {number}".encode() else wrong).append(answer)

    proxy.cut(211, every=True)
    threads = [threading.Thread(target=talk, args=(name,)) for name in "abcd"]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(20)

    assert wrong == []
    assert lost
    assert right
    assert len(right) + len(lost) == 600


def test_a_wire_for_blocking_use_tells_that_it_broke_and_that_nothing_came(link, proxy):
    wire = link.connection(timeout=5)
    with pytest.raises(replies.NoReply):
        wire.read(0)
    with pytest.raises(replies.NoReply):
        wire.read(0.05)

    proxy.drop()

    with pytest.raises(LinkLost):
        wire.read(5)
    wire.close()


def test_a_paused_server_keeps_nobody_waiting_beyond_the_time_and_is_of_use_again(server):
    link = link_to(server.url)
    link.open(5)

    with server.paused(), pytest.raises(LinkLost):
        link.run("PING", timeout=0.3)

    assert link.run("ECHO", "back", timeout=5) == b"back"
    link.close()


def test_a_script_is_known_again_after_a_flush_and_after_a_restart():
    with redis_server() as server:
        link = link_to(server.url)
        link.open(5)
        assert link.script(ADD, ["n"], [1], timeout=5) == 1

        server.run("SCRIPT", "FLUSH")
        assert link.script(ADD, ["n"], [1], timeout=5) == 2
        server.run("SCRIPT", "FLUSH")
        assert link.scripts(ADD, [(["n"], [1]), (["n"], [10])], timeout=5) == [3, 13]
        server.restart()
        with pytest.raises(LinkLost):
            link.run("PING", timeout=5)

        assert link.script(ADD, ["n"], [1], timeout=5) == 1
        link.close()


def test_a_server_that_became_a_replica_is_lost_and_of_use_when_it_is_a_primary_again():
    with redis_server() as primary, redis_server() as server:
        link = link_to(server.url)
        link.open(5)
        server.run("REPLICAOF", "127.0.0.1", primary.port)

        with pytest.raises(LinkLost, match="replica"):
            link.run("SET", "k", "v", timeout=5)
        with pytest.raises(LinkLost, match="replica"):
            link.script(ADD, ["n"], [1], timeout=5)
        server.run("REPLICAOF", "NO", "ONE")

        assert link.script(ADD, ["n"], [1], timeout=5) == 1
        link.close()


def test_a_password_that_was_changed_is_asked_for_anew():
    with redis_server(
        "--user", "worker", "on", ">first", "~*", "&*", "+@all", user="worker", password="first"
    ) as server:
        told = ["first"]
        link = link_to(
            f"redis://127.0.0.1:{server.port}/0", credential_provider=lambda: ("worker", told[-1]), max_connections=1
        )
        link.open(5)

        server.run("ACL", "SETUSER", "worker", "resetpass", ">second")
        with server.client(username="worker", password="second") as client:
            client.execute_command("CLIENT", "KILL", "TYPE", "normal", "SKIPME", "yes")
        with pytest.raises(LinkLost):
            link.run("PING", timeout=5)
        with pytest.raises(LinkLost, match="cannot connect"):
            link.run("PING", timeout=5)
        told.append("second")

        assert link.run("ECHO", "in", timeout=5) == b"in"
        link.close()


def test_a_password_of_the_url_that_is_wrong_says_so_and_hides_it():
    with redis_server("--requirepass", "right", password="right") as server:
        link = link_to(f"redis://:wrongpassword@127.0.0.1:{server.port}/0")

        with pytest.raises(ConfigurationError) as caught:
            link.open(5)

    assert "wrongpassword" not in str(caught.value)


def test_a_wire_under_tls_waits_in_silence_as_any_other():
    with tls_server() as server:
        link = link_to(server.url)
        link.open(5)
        wire = link.connection(timeout=5)

        with pytest.raises(replies.NoReply):
            wire.read(0)
        with pytest.raises(replies.NoReply):
            wire.read(0.05)
        wire.send(b"PING\r\n", 5)

        assert wire.read(5) == b"PONG"
        wire.close()
        link.close()


def test_large_answers_come_whole_over_a_slow_line(link, proxy):
    text = "x" * 300_000
    proxy.bandwidth = 1_000_000

    assert link.run("ECHO", text, timeout=20) == text.encode()


def test_a_link_follows_the_sentinels_to_the_new_primary():
    with redis_sentinels() as trio:
        link = link_to(trio.url)
        link.open(5)
        link.run("SET", "k", "before", timeout=5)
        link.run("WAIT", 1, 5000, timeout=10)

        trio.fail_over()

        eventually(lambda: answered(link, "SET", "k", "after"), "the link finds the new primary", 20)
        assert trio.primary.run("GET", "k") == b"after"
        link.close()


def test_a_link_follows_a_slot_that_moves_to_another_node_of_a_cluster():
    with redis_cluster() as cluster:
        link = link_to(cluster.url)
        link.open(5)
        assert link.script(ADD, ["{tag}n"], [1], timeout=5) == 1
        link.run("DEL", "{tag}n", timeout=5)
        target = next(node for node in cluster.nodes if node is not cluster.owner("{tag}"))

        cluster.begin_moving("{tag}", target)
        assert link.script(ADD, ["{tag}n"], [2], timeout=5) == 2
        assert link.pipeline([("GET", "{tag}n"), ("GET", "other")], timeout=5) == [b"2", None]
        cluster.end_moving("{tag}", target)

        assert link.script(ADD, ["{tag}n"], [3], timeout=5) == 5
        assert cluster.owner("{tag}") is target
        link.close()


def answered(link, *command):
    try:
        return link.run(*command, timeout=2) is not None
    except (LinkLost, DeadlineExceeded):
        return False
