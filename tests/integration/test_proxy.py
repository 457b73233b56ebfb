"""The proxy of the fault tests does to connections what it says, no more and no less."""

from __future__ import annotations

import socket
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress

import pytest
from proxy import Proxy
from running import eventually


def echo(connection: socket.socket) -> None:
    with connection, suppress(OSError):
        while data := connection.recv(65536):
            connection.sendall(data)


@contextmanager
def echoing() -> Iterator[int]:
    """Run a server that answers every byte with the same."""
    with socket.create_server(("127.0.0.1", 0)) as listener:

        def serve() -> None:
            with suppress(OSError):
                while True:
                    connection, _ = listener.accept()
                    threading.Thread(target=echo, args=(connection,), daemon=True).start()

        threading.Thread(target=serve, daemon=True).start()
        yield listener.getsockname()[1]
        listener.shutdown(socket.SHUT_RDWR)


@pytest.fixture
def proxy() -> Iterator[Proxy]:
    with echoing() as port, Proxy(port) as proxy:
        yield proxy


@pytest.fixture
def client(proxy: Proxy) -> Iterator[socket.socket]:
    with socket.create_connection(("127.0.0.1", proxy.port), timeout=10) as client:
        yield client


def read(client: socket.socket, count: int) -> bytes:
    found = b""
    while len(found) < count and (data := client.recv(count - len(found))):
        found += data
    return found


def ends(client: socket.socket) -> type[Exception] | None:
    """Read to the end and say how the connection ended: None is in good order."""
    try:
        while client.recv(65536):
            pass
    except ConnectionError as error:
        return type(error)
    return None


def test_a_healthy_proxy_passes_everything_on_and_counts_it(proxy, client):
    sent = bytes(range(256)) * 8192
    threading.Thread(target=client.sendall, args=(sent,), daemon=True).start()

    assert read(client, len(sent)) == sent
    assert proxy.bytes == {"requests": len(sent), "answers": len(sent)}
    assert (proxy.connections, proxy.open, proxy.breaks) == (1, 1, 0)


@pytest.mark.parametrize("after", [0, 1, 7, 12])
def test_answers_are_cut_after_so_many_bytes_and_these_are_delivered(proxy, client, after):
    client.sendall(b"before")
    assert read(client, 6) == b"before"

    proxy.cut(after, reset=False)
    client.sendall(b"hello, world!")

    assert read(client, 13) == b"hello, world!"[:after]
    assert (proxy.breaks, proxy.armed) == (1, 0)


def test_requests_are_cut_so_that_the_server_sees_a_part_only(proxy, client):
    proxy.cut(5, "requests")

    client.sendall(b"hello, world!")

    assert ends(client) in {None, ConnectionResetError}
    assert proxy.bytes["requests"] == 5


def test_a_reset_is_seen_as_a_reset(proxy, client):
    proxy.cut(0, reset=True)

    client.sendall(b"hello")

    assert ends(client) is ConnectionResetError


def test_only_the_connection_that_sent_a_text_is_cut_and_only_from_then_on(proxy, client):
    proxy.cut(3, seen=b"farther", reset=False)
    with socket.create_connection(("127.0.0.1", proxy.port), timeout=10) as other:
        for each in (client, other):
            each.sendall(b"another")
            assert read(each, 7) == b"another"

        client.sendall(b"farther")
        other.sendall(b"goes on")

        assert read(client, 8) == b"far"
        assert read(other, 7) == b"goes on"


def test_a_cut_comes_again_and_again_until_the_proxy_is_healed(proxy):
    proxy.cut(4, every=True, reset=False)
    for _ in range(3):
        with socket.create_connection(("127.0.0.1", proxy.port), timeout=10) as client:
            client.sendall(b"hello")
            assert read(client, 5) == b"hell"

    proxy.heal()

    with socket.create_connection(("127.0.0.1", proxy.port), timeout=10) as client:
        client.sendall(b"hello")
        assert read(client, 5) == b"hello"
    assert proxy.breaks == 3


def test_what_is_sent_into_silence_arrives_when_it_ends(proxy, client):
    proxy.silence()
    client.sendall(b"hello")
    client.settimeout(0.2)

    with pytest.raises(TimeoutError):
        client.recv(1)
    client.settimeout(10)
    proxy.heal()

    assert read(client, 5) == b"hello"


def test_a_swallowed_connection_stays_a_black_hole_and_a_new_one_is_whole(proxy, client):
    client.sendall(b"a")
    assert read(client, 1) == b"a"
    proxy.swallow()
    client.sendall(b"hello")
    client.settimeout(0.2)
    proxy.heal()

    with pytest.raises(TimeoutError):
        client.recv(1)
    with socket.create_connection(("127.0.0.1", proxy.port), timeout=10) as other:
        other.sendall(b"hello")
        assert read(other, 5) == b"hello"


def test_new_connections_are_refused_while_old_ones_go_on(proxy, client):
    client.sendall(b"a")
    assert read(client, 1) == b"a"
    proxy.refuse()

    with pytest.raises(ConnectionRefusedError):
        socket.create_connection(("127.0.0.1", proxy.port), timeout=10)
    client.sendall(b"b")

    assert read(client, 1) == b"b"
    proxy.heal()
    socket.create_connection(("127.0.0.1", proxy.port), timeout=10).close()


def test_every_standing_connection_is_dropped(proxy, client):
    client.sendall(b"a")
    assert read(client, 1) == b"a"

    proxy.drop()

    assert ends(client) is ConnectionResetError
    eventually(lambda: proxy.open == 0, "no connection stands")


def test_latency_delays_each_way_and_many_requests_at_once_only_once(proxy, client):
    proxy.latency = 0.1
    begin = time.monotonic()

    for _ in range(20):
        client.sendall(b"x")
        time.sleep(0.001)

    assert read(client, 20) == b"x" * 20
    assert 0.2 <= time.monotonic() - begin < 2.0


def test_bandwidth_bounds_what_passes_in_a_second(proxy, client):
    proxy.bandwidth = 100_000
    begin = time.monotonic()

    client.sendall(b"x" * 30_000)

    assert read(client, 30_000) == b"x" * 30_000
    assert time.monotonic() - begin >= 0.3


def test_a_server_that_is_not_there_ends_the_connection():
    with Proxy(1) as proxy, socket.create_connection(("127.0.0.1", proxy.port), timeout=10) as client:
        assert ends(client) in {None, ConnectionResetError}


def test_a_unix_socket_is_reached_too(tmp_path):
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(str(tmp_path / "s"))
        listener.listen()
        thread = threading.Thread(target=lambda: echo(listener.accept()[0]), daemon=True)
        thread.start()

        with Proxy(path=str(tmp_path / "s")) as proxy:
            with socket.create_connection(("127.0.0.1", proxy.port), timeout=10) as client:
                client.sendall(b"hello")
                assert read(client, 5) == b"hello"
            thread.join(10)
