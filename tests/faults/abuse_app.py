"""Tasks that do what tasks must not do."""

import contextlib
import ctypes
import os
import resource
import signal
import socket
import sys
import threading
import time
from pathlib import Path

from celeriac import Celeriac

HOME = Path(os.environ["FAULTS_HOME"])

app = Celeriac(
    "abuse",
    broker=os.environ["FAULTS_BROKER"],
    broker_transport_options={"lease_seconds": 10.0},
    task_reject_on_worker_lost=False,
)


@app.task
def ping() -> int:
    return os.getpid()


@app.task
def sleeps() -> None:
    time.sleep(60)


@app.task
def computes() -> None:
    while True:
        pass


@app.task
def computes_in_c() -> None:
    3 ** (10**9)


@app.task
def waits_for_a_peer() -> None:
    ours, _theirs = socket.socketpair()
    ours.recv(1)


@app.task
def swallows() -> None:
    while True:
        with contextlib.suppress(BaseException):
            while True:
                time.sleep(0.05)


@app.task
def ignores_signals() -> None:
    for number in (signal.SIGTERM, signal.SIGINT, signal.SIGQUIT, signal.SIGHUP, signal.SIGUSR1, signal.SIGALRM):
        signal.signal(number, signal.SIG_IGN)
    time.sleep(60)


@app.task
def forks() -> None:
    """Leave a child that holds everything open that this process had open."""
    child = os.fork()
    if child == 0:
        time.sleep(600)
        os._exit(0)
    with open(HOME / "orphans", "a") as file:
        file.write(f"{child}\n")


@app.task
def forks_and_sleeps() -> None:
    forks.run()
    time.sleep(60)


@app.task
def forks_and_returns_twice() -> int:
    return os.fork()


@app.task
def starts_threads() -> int:
    for _ in range(50):
        threading.Thread(target=time.sleep, args=(600,), daemon=True).start()
    return threading.active_count()


@app.task
def closes_descriptors() -> None:
    os.closerange(0, 4096)


@app.task
def exits() -> None:
    sys.exit(3)


@app.task
def leaves() -> None:
    os._exit(3)


@app.task
def segfaults() -> None:
    ctypes.string_at(0)


@app.task
def is_killed() -> None:
    os.kill(os.getpid(), signal.SIGKILL)


@app.task
def is_stopped() -> None:
    os.kill(os.getpid(), signal.SIGSTOP)


@app.task
def allocates() -> None:
    before = resource.getrlimit(resource.RLIMIT_AS)
    size = int(Path("/proc/self/statm").read_text().split()[0]) * resource.getpagesize()
    resource.setrlimit(resource.RLIMIT_AS, (size + (256 << 20), before[1]))
    try:
        bytearray(1 << 30)
    finally:
        resource.setrlimit(resource.RLIMIT_AS, before)


@app.task
def prints() -> None:
    for _ in range(2000):
        print("x" * 1000)


@app.task
def recurses() -> None:
    recurses.run()


@app.task(reject_on_worker_lost=True, max_deliveries=1000, ignore_result=True)
def tick(number: int) -> None:
    """Do a little, in C and in Python, so that a signal finds it anywhere."""
    sum(range(number % 5000))
