"""No room left, or nowhere to write: a clear error, and nothing that was accepted is lost."""

from __future__ import annotations

import subprocess
import sys

import pytest
from fleet import wait_until

from celeriac import Celeriac
from celeriac.errors import ReadOnlyStore, StoreFull

pytestmark = [pytest.mark.fault, pytest.mark.timeout(120)]


@pytest.fixture
def fleet(fleet):
    """The same fleet on a disk with room for half a megabyte."""
    fleet.environment["FAULTS_BROKER"] += "?max_bytes=500000"
    return fleet


def test_what_a_full_broker_had_accepted_runs_and_then_there_is_room_again(fleet, client):
    accepted = 0
    caught = None
    while caught is None:
        try:
            client.quiet.delay(accepted, "x" * 2000)
            accepted += 1
        except StoreFull as error:
            caught = error

    assert accepted > 50
    assert "queue.db" in str(caught)

    fleet.start()
    wait_until(lambda: len(fleet.runs()) == accepted, 60, "everything accepted runs")
    wait_until(lambda: empty(client), 30, "everything is settled")
    client.quiet.delay(accepted, "x" * 2000)
    wait_until(lambda: accepted in fleet.runs(), 30, "there is room again")
    assert {len(pids) for pids in fleet.runs().values()} == {1}


def test_a_batch_that_does_not_fit_is_refused_whole(fleet, client):
    with pytest.raises(StoreFull):
        client.app.publish_many([client.quiet.s(number, "x" * 2000) for number in range(1000)])

    assert empty(client)


@pytest.mark.skipif(sys.platform != "linux", reason="needs a folder that not even root can write: Linux's /sys")
def test_a_directory_that_cannot_be_written_is_a_clear_error_at_the_caller_and_of_the_worker(tmp_path):
    url = "sqlite:////sys/celeriac/queue.db"
    with Celeriac("nowhere", broker=url, set_as_current=False) as app, pytest.raises(ReadOnlyStore) as caught:
        app.send_task("anything")
    (tmp_path / "nowhere.py").write_text(
        f"from celeriac import Celeriac\napp = Celeriac('nowhere', broker='{url}', broker_connection_retry=False)\n"
    )

    worker = subprocess.run(
        [sys.executable, "-m", "celeriac", "-A", "nowhere", "worker", "-P", "solo"],
        cwd=tmp_path, capture_output=True, text=True, timeout=60, check=False,
    )  # fmt: skip

    assert "/sys/celeriac" in str(caught.value)
    assert worker.returncode != 0
    assert "/sys/celeriac" in worker.stdout + worker.stderr
    assert "Traceback" not in worker.stderr


def empty(client):
    depths = client.app.connections.transport().depths(timeout=10)
    return sum(depth.waiting + depth.delayed + depth.held for depth in depths) == 0
