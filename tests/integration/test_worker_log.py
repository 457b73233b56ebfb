"""What `celeriac worker` logs: a line for each task, nothing that is secret, and JSON that programs can read."""

from __future__ import annotations

import json
import signal
import subprocess
import sys

import pytest

from celeriac import Celeriac

SECRET = "hunter2"  # what must never be read anywhere

TASKS = """
from celeriac import Celeriac
app = Celeriac("logged")

@app.task(name="add")
def add(x, y=None):
    return x

@app.task(name="fail")
def fail(x):
    raise ValueError("cannot reach redis://user:hunter2@box/0")
"""


@pytest.fixture
def logged(tmp_path):
    """Run a worker on one task that succeeds and one that fails, given a secret; return its lines."""
    (tmp_path / "logged.py").write_text(TASKS)
    url = f"sqlite:///{tmp_path / 'queue.db'}"

    def run(form):
        command = [
            sys.executable, "-m", "celeriac", "-A", "logged", "-b", url, "--result-backend", url,
            "worker", "-P", "solo", "--log-format", form,
        ]  # fmt: skip
        with subprocess.Popen(
            command, cwd=tmp_path, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
        ) as process:
            with Celeriac("client", broker=url, backend=url, set_as_current=False) as client:
                client.send_task("add", (SECRET,), {"y": f"redis://u:{SECRET}@box"}).get(timeout=20)
                client.send_task("fail", (SECRET,)).get(timeout=20, propagate=False)
                client.send_task("unknown", (SECRET,))
                client.send_task("add", (SECRET,)).get(timeout=20)
            process.send_signal(signal.SIGTERM)
            output = process.communicate(timeout=20)[0]
        assert process.returncode == 0, output
        return output.splitlines()

    return run


@pytest.mark.parametrize("form", ["text", "json"])
def test_no_argument_and_no_password_is_in_the_log(logged, form):
    lines = logged(form)

    assert not [line for line in lines if SECRET in line]
    assert [line for line in lines if "redis://user:**@box/0" in line]


def test_each_line_of_json_parses_and_says_which_event_it_is(logged):
    records = [json.loads(line) for line in logged("json")]

    assert all(record.get("event") for record in records), records
    settled = [(record["event"], record["task"]) for record in records if record["event"].startswith("task_")]
    assert settled == [
        ("task_success", "add"), ("task_failure", "fail"), ("task_unknown", "unknown"), ("task_success", "add"),
    ]  # fmt: skip
    assert all(record["task_id"] for record in records if record["event"].startswith("task_"))


def test_the_text_of_an_unexpected_failure_has_its_traceback(logged):
    lines = logged("text")

    assert [line for line in lines if 'raise ValueError("cannot reach' in line]


def test_an_unreachable_broker_is_named_without_its_password(tmp_path):
    (tmp_path / "logged.py").write_text(TASKS)
    url = f"nosuch://user:{SECRET}@box/0"
    command = [sys.executable, "-m", "celeriac", "-A", "logged", "-b", url, "worker", "-P", "solo"]

    ended = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, timeout=20, check=False)

    assert ended.returncode != 0
    assert SECRET not in ended.stdout + ended.stderr
    assert "nosuch" in ended.stderr
