"""A module of tasks that does at import what forking processes fear: it starts threads and opens TLS connections."""

import hashlib
import logging
import os
import socket
import ssl
import threading
import time

from celeriac import Celeriac

log = logging.getLogger("threads_app")

app = Celeriac("threads", broker=os.environ["FAULTS_BROKER"], task_time_limit=60.0)

TLS = ssl.create_default_context(cafile=os.environ["FAULTS_AUTHORITY"])
PORT = int(os.environ["FAULTS_TLS_PORT"])


def connected() -> ssl.SSLSocket:
    return TLS.wrap_socket(socket.create_connection(("localhost", PORT), 10), server_hostname="localhost")


def asked(connection: ssl.SSLSocket) -> bytes:
    connection.sendall(b"hello")
    return connection.recv(5)


def busy() -> None:
    """Hold the locks of logging, of the resolver, of memory and of TLS as often as possible."""
    connection = connected()
    while True:
        log.debug("busy")
        socket.getaddrinfo("localhost", PORT)
        hashlib.sha256(os.urandom(4096)).hexdigest()
        asked(connection)
        time.sleep(0.001)


CONNECTION = connected()
asked(CONNECTION)
for _ in range(3):
    threading.Thread(target=busy, daemon=True).start()


@app.task
def work(number: int) -> int:
    log.info("work %d", number)
    socket.getaddrinfo("localhost", PORT)
    with connected() as connection:
        assert asked(connection) == b"hello"
    thread = threading.Thread(target=hashlib.sha256, args=(os.urandom(4096),))
    thread.start()
    thread.join()
    return os.getpid()
