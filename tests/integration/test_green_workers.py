"""Workers whose tasks run on greenlets."""

from __future__ import annotations

import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from green import GreenWorkers
from running import eventually

from celeriac import Celeriac
from celeriac.errors import TimeLimitExceeded
from celeriac.kernel import plugins

POOLS = [pool for pool in ("gevent", "eventlet") if pool in plugins.names("pool")]
PATIENCE = 60
pytestmark = pytest.mark.timeout(180)


@pytest.fixture(params=POOLS)
def pool(request):
    return request.param


@pytest.fixture
def broker(tmp_path):
    return f"sqlite:///{tmp_path / 'queue.db'}"


@pytest.fixture
def workers(tmp_path, broker):
    with GreenWorkers(tmp_path, broker) as workers:
        yield workers


@pytest.fixture
def client(broker):
    with Celeriac("green", broker=broker, backend=broker, set_as_current=False) as app:
        yield app


def send(client, name, *args):
    return client.send_task(f"green_app.{name}", args=args)


def depth(client):
    return client.connections.transport().depths(["celery"], timeout=5)[0]


def notes(path: Path) -> int:
    return path.read_text().count("began") if path.exists() else 0


def test_every_task_brings_its_own_result(workers, client, pool):
    workers.start(pool, 100)

    results = {n: send(client, "add", n, n) for n in range(300)}

    assert {n: result.get(timeout=PATIENCE) for n, result in results.items()} == {n: 2 * n for n in range(300)}


def test_a_thousand_tasks_that_wait_a_second_take_little_longer_than_one(workers, client, pool):
    workers.start(pool, 1000)
    began = time.monotonic()

    results = [send(client, name, 1.0) for name in ["nap", "async_nap"] * 500]
    ended = [result.get(timeout=PATIENCE) for result in results]

    assert ended == [1.0] * 1000
    assert time.monotonic() - began < PATIENCE  # one after the other they would take a thousand


def test_what_is_short_does_not_wait_for_what_is_long(workers, client, pool, tmp_path):
    workers.start(pool, 2)
    long = send(client, "noted_nap", 60.0, str(tmp_path / "note"))
    eventually(lambda: notes(tmp_path / "note"), "the long one runs", PATIENCE)

    short = [send(client, "add", n, 1) for n in range(100)]

    assert [result.get(timeout=PATIENCE) for result in short] == list(range(1, 101))
    assert not long.ready()


@pytest.mark.parametrize("task", ["tidies_up", "tidies_up_async"])
def test_a_task_is_told_of_its_soft_limit_and_may_tidy_up(workers, client, pool, task):
    workers.start(pool)

    assert send(client, task).get(timeout=PATIENCE) == "tidied"


def test_a_task_that_swallows_everything_ends_at_its_hard_limit_and_its_slot_is_free(workers, client, pool):
    workers.start(pool, 1)
    endless, next_one = send(client, "swallows_everything"), send(client, "add", 1, 1)

    assert next_one.get(timeout=PATIENCE) == 2
    with pytest.raises(TimeLimitExceeded, match=r"0\.3"):
        endless.get(timeout=PATIENCE)


def test_a_warm_stop_waits_for_what_runs_and_hands_back_the_rest(workers, client, pool, tmp_path):
    worker = workers.start(pool, 1)
    running = send(client, "noted_nap", 2.0, str(tmp_path / "note"))
    eventually(lambda: notes(tmp_path / "note"), "it runs", PATIENCE)
    send(client, "add", 1, 1)

    worker.send_signal(signal.SIGTERM)

    assert worker.wait(PATIENCE) == 0
    assert running.get(timeout=PATIENCE) == "ended"
    assert (depth(client).waiting, depth(client).held) == (1, 0)


@pytest.mark.parametrize("signals", [[signal.SIGQUIT], [signal.SIGINT, signal.SIGINT]], ids=["QUIT", "INT-twice"])
def test_a_cold_stop_hands_back_what_runs(workers, client, pool, tmp_path, signals):
    worker = workers.start(pool)
    send(client, "noted_nap", 60.0, str(tmp_path / "note"))
    eventually(lambda: notes(tmp_path / "note"), "it runs", PATIENCE)

    worker.send_signal(signals[0])
    for number in signals[1:]:
        eventually(lambda: "shutdown" in workers.log(worker), "it heard the first", PATIENCE)
        worker.send_signal(number)

    assert worker.wait(PATIENCE) == 1
    assert (depth(client).waiting, depth(client).held) == (1, 0)


def test_a_task_that_does_not_wait_is_named_while_it_runs_and_afterwards(workers, client, pool, tmp_path):
    worker = workers.start(pool)

    result = send(client, "compute", 5.0, str(tmp_path / "note"))
    ended = result.get(timeout=PATIENCE)
    eventually(lambda: "nothing else could run for" in workers.log(worker), "the time is told", PATIENCE)

    assert ended == "ended"
    while_it_ran, _, _ = workers.log(worker).partition("succeeded in")
    assert "nothing else has run for" in while_it_ran
    assert f"task green_app.compute[{result.id}] does not wait" in while_it_ran
    assert "while time.monotonic() < end" in while_it_ran


def test_the_third_signal_ends_a_worker_whose_task_does_not_wait(workers, client, pool, tmp_path):
    worker = workers.start(pool)
    send(client, "compute", 60.0, str(tmp_path / "note"))
    eventually(lambda: notes(tmp_path / "note"), "it runs", PATIENCE)

    def again():
        worker.send_signal(signal.SIGTERM)
        time.sleep(0.5)
        return worker.poll() is not None

    eventually(again, "it ends", PATIENCE)

    assert worker.poll() == -signal.SIGTERM


def test_the_patch_comes_before_the_app_and_before_all_that_the_worker_imports(workers, client, pool):
    workers.start(pool)

    looks = send(client, "looks").get(timeout=PATIENCE)

    assert all(pool in str(module) for module in looks.values()), looks


SCRIPT = [str(Path(sys.executable).with_name("celeriac")), "-A", "green_app", "worker"]


@pytest.mark.parametrize("how", ["script", "variable", "argument"])
def test_the_pool_may_be_named_in_any_way_that_is_read_before_the_app(workers, client, pool, how):
    command = [*SCRIPT, *{"script": [f"--pool={pool}"], "variable": [], "argument": [f"worker_pool={pool}"]}[how]]
    variables = {"CELERIAC_WORKER_POOL": pool} if how == "variable" else {}

    workers.start(pool, command=command, **variables)

    looks = send(client, "looks").get(timeout=PATIENCE)
    assert all(pool in str(module) for module in looks.values()), looks


def test_a_pool_that_only_the_app_names_is_refused_with_the_fix(workers, pool):
    worker = workers.start(pool, command=SCRIPT, ready=False, GREEN_SETTING=pool)

    assert worker.wait(PATIENCE) != 0
    assert f"-P {pool}" in workers.log(worker)
    assert f"CELERIAC_WORKER_POOL={pool}" in workers.log(worker)


EMBEDDED = """
import sys
pool, patched = sys.argv[1:]
if patched == "patched":
    import importlib
    importlib.import_module(f"celeriac_{pool}.patches").patch()
from green_app import add, app
from celeriac.runtime.worker import Worker
import threading

worker = Worker(app, pool=pool, concurrency=3)
results = []
def use():
    worker.ready.wait(50)
    results.append(add.delay(20, 22).get(timeout=50))
    worker.stop()
threading.Thread(target=use, daemon=True).start()
print(worker.run(), results)
"""


def embedded(workers, pool, patched):
    return subprocess.run(
        [sys.executable, "-c", EMBEDDED, pool, patched],
        env=workers.environment,
        capture_output=True,
        text=True,
        timeout=PATIENCE,
        check=False,
    )


def test_a_program_that_patches_first_may_run_a_worker_itself(workers, pool):
    run = embedded(workers, pool, "patched")

    assert run.stdout == "0 [42]\n", run.stderr


def test_a_program_that_did_not_patch_is_told_how(workers, pool):
    run = embedded(workers, pool, "not")

    assert run.returncode == 1
    assert f"from celeriac_{pool}.patches import patch; patch()" in run.stderr


@pytest.mark.skipif("eventlet" not in POOLS, reason="the bundle eventlet is not installed")
def test_a_worker_on_eventlet_says_that_eventlet_is_being_retired(workers):
    worker = workers.start("eventlet")

    assert "eventlet is deprecated by its authors" in workers.log(worker)
