"""What a killed worker of one side held is run by a worker of the other."""

from __future__ import annotations

import signal
import subprocess
import sys
import textwrap
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from amqp_sides import MARKS, SECONDS, both
from running import eventually

pytestmark = MARKS
PROGRAM = """
import pathlib, sys, time
from {module} import {kind}
app = {kind}("killed", broker=sys.argv[1], **{settings})

@app.task(name="proj.held", bind=True, acks_late=True, ignore_result=True)
def held(self, folder):
    pathlib.Path(folder, "began").write_text(self.request.id)
    time.sleep(600)

if {kind!r} == "Celery":
    app.worker_main(["worker", "-P", "solo", "-l", "ERROR", "--without-mingle", "--without-gossip"])
else:
    from celeriac.runtime.worker import Worker
    Worker(app, pool="threads", concurrency=1).run()
"""
SIDES = {"theirs": ("celery", "Celery"), "ours": ("celeriac", "Celeriac")}


@contextmanager
def program(side: str, url: str, folder: Path, settings: dict[str, str]) -> Iterator[subprocess.Popen[bytes]]:
    """Run a worker of a side in a process of its own, and kill it in the end."""
    module, kind = SIDES[side]
    source = folder / f"killed_{side}.py"
    source.write_text(textwrap.dedent(PROGRAM).format(module=module, kind=kind, settings=settings))
    with (folder / "output").open("wb") as output:
        process = subprocess.Popen([sys.executable, source, url], stdout=output, stderr=output)
        try:
            yield process
        finally:
            process.kill()
            process.wait()


@pytest.mark.parametrize("settings", [{}, {"task_default_queue_type": "quorum"}], ids=["classic", "quorum"])
@pytest.mark.parametrize("killed", ["theirs", "ours"])
def test_what_a_killed_worker_held_is_run_by_the_other_side(tmp_path, killed, settings):
    with both(ours=settings, theirs=settings) as shared:
        survivor = "ours" if killed == "theirs" else "theirs"
        for app in (shared.ours, shared.served):

            @app.task(name="proj.held", shared=False, bind=True, acks_late=True)
            def held(self, folder):
                return [self.app.main, self.request.delivery_info.get("redelivered")]

        result = shared.client(survivor).send_task("proj.held", (str(tmp_path),))
        with program(killed, shared.url, tmp_path, settings) as process:
            began = tmp_path / "began"
            eventually(
                lambda: began.exists() and began.read_text() == result.id,
                "the task is held",
                SECONDS,
            )
            process.send_signal(signal.SIGKILL)
            process.wait()

            with shared.worker_of(survivor):
                ran_on, redelivered = result.get(timeout=SECONDS)

        assert ran_on == survivor
        assert redelivered is True
