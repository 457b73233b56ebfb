"""A module of tasks that starts threads and opens TLS connections at import deadlocks no child, however many fork."""

from __future__ import annotations

import socket
import ssl
import threading
from collections.abc import Iterator

import pytest
import trustme
from fleet import Fleet

from celeriac import Celeriac
from celeriac.kernel import plugins

pytestmark = [
    pytest.mark.fault,
    pytest.mark.timeout(400),
    pytest.mark.skipif("prefork" not in plugins.names("pool"), reason="prefork is not installed"),
]

FORKS = 1000


def echo(connection: socket.socket) -> None:
    with connection:
        while data := connection.recv(100):
            connection.sendall(data)


@pytest.fixture
def tls_server(tmp_path) -> Iterator[dict[str, str]]:
    """Run a TLS server that says what it hears; its certificate is of a throwaway authority."""
    authority = trustme.CA()
    authority.cert_pem.write_to_path(str(tmp_path / "authority.pem"))
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    authority.issue_cert("localhost").configure_cert(context)
    listener = socket.create_server(("127.0.0.1", 0), backlog=128)

    def handle(raw: socket.socket) -> None:
        try:
            echo(context.wrap_socket(raw, server_side=True))
        except OSError:
            raw.close()

    def serve() -> None:
        while True:
            try:
                raw, _ = listener.accept()
            except OSError:
                return
            threading.Thread(target=handle, args=(raw,), daemon=True).start()

    threading.Thread(target=serve, daemon=True).start()
    yield {
        "FAULTS_AUTHORITY": str(tmp_path / "authority.pem"),
        "FAULTS_TLS_PORT": str(listener.getsockname()[1]),
    }
    listener.shutdown(socket.SHUT_RDWR)
    listener.close()


def test_threads_and_tls_at_import_deadlock_no_child(tmp_path, tls_server):
    with Fleet(tmp_path) as fleet, Celeriac("client", broker=fleet.environment["FAULTS_BROKER"]) as client:
        fleet.environment.update(tls_server)
        worker = fleet.start("-c", "3", "--max-tasks-per-child", "1", pool="prefork", app="threads_app")

        results = [client.send_task("threads_app.work", (number,)) for number in range(FORKS)]
        pids = [result.get(timeout=300) for result in results]

        assert len(set(pids)) == FORKS
        assert worker.poll() is None
        worker.terminate()
        assert worker.wait(30) == 0, fleet.log(worker)[-3000:]
